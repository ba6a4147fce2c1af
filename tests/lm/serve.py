"""Real OpenAI-compatible servers for tests: `transformers serve` and llama.cpp's own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

START_SECONDS = 240


def free_port() -> int:
    """A TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def serve(path: Path | str) -> Iterator[str]:
    """Serve the model folder `path` on the CPU; gives the base_url. The model's name is `path`."""
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(path)]
    port = free_port()
    command += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    with _running(command, port, Path(path)) as url:
        yield url


@contextmanager
def serve_llama_cpp(path: Path | str, **parameters: object) -> Iterator[str]:
    """Serve the GGUF file `path` by llama.cpp's server with its `parameters`; gives the base_url.

    Skips the test where the package xllamacpp is not there.
    """
    pytest.importorskip("xllamacpp")
    port = free_port()
    command = [sys.executable, str(Path(__file__).with_name("llama_cpp.py")), str(path), str(port)]
    command += [f"{name}={json.dumps(value)}" for name, value in parameters.items()]
    with _running(command, port, Path(path)) as url:
        yield url


@contextmanager
def _running(command: list[str], port: int, path: Path) -> Iterator[str]:
    """The base_url of a server that `command` starts; its log is beside `path`."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    log = path.with_name(f"{path.name}.serve.log")
    with log.open("wb") as out:
        server = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=out,
            env=environment,
            start_new_session=True,
        )
    try:
        _await_health(server, f"http://127.0.0.1:{port}/health", log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.stdin.close()
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait(10)


def _await_health(server: subprocess.Popen, url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        try:
            if httpx.get(url, timeout=5, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.3)
    raise RuntimeError(f"the server did not start:\n{log.read_text()[-2000:]}")
