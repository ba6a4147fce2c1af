"""The process of one task, `steper.pipeline.worker`, as the pipeline sees it."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from threading import Thread
from typing import IO, Any, Protocol

from steper.text import visible

QUIET = {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}

Message = tuple[str, Any]
"""What a task's process tells; see `steper.pipeline.worker`."""

Show = Callable[[str], object]

Tell = Callable[["Message | None"], None]
"""Called from a thread with each message, at last with None."""


class TaskProcess(Protocol):
    """A task at work elsewhere."""

    def interrupt(self) -> None:
        """Let it stop where it can be taken up again."""

    def kill(self) -> None:
        """End it at once."""

    def wait(self) -> str:
        """Wait for its end; what ended it, for a task that did not tell."""


class LocalProcess:
    """A task's process on this machine. It is interrupted when this one is no more.

    `given` are the workspace, the task and whether to replace what is there, pickled.
    """

    def __init__(
        self,
        given: bytes,
        environment: Mapping[str, str],
        tell: Tell,
        show: Show | None = None,
    ) -> None:
        """`show` gets the lines that it prints; without, they go to this process' own errors."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "steper.pipeline.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**QUIET, **os.environ, **environment},
            start_new_session=True,  # Ctrl-C is passed on once, by closing its input
        )
        assert self._process.stdin is not None
        self._input = self._process.stdin
        self._threads = [
            Thread(target=_forward, args=(self._process.stderr, show or show_here), daemon=True),
            Thread(target=_listen, args=(self._process.stdout, tell), daemon=True),
        ]
        with suppress(BrokenPipeError):  # it is dead already, which `_listen` finds out
            self._input.write(pickle.dumps(sys.path))
            self._input.write(given)
            self._input.flush()
        for thread in self._threads:
            thread.start()

    def interrupt(self) -> None:
        """Let the task stop where it can be taken up again."""
        self._input.close()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def wait(self) -> str:
        """Wait until all that it wrote has been read; how it ended."""
        with self._process:  # which closes its pipes
            for thread in self._threads:
                thread.join()
        code = self._process.returncode
        return f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"


def _listen(messages: Any, tell: Tell) -> None:
    """In a thread: what a task's process tells, up to its end."""
    try:
        while True:
            tell(pickle.load(messages))
    except (EOFError, pickle.UnpicklingError):  # or it was killed in the middle of a message
        tell(None)


def show_here(line: str) -> None:
    """Print a line of a task's among those of the pipeline."""
    sys.stderr.write(line)


def _forward(lines: IO[bytes], show: Show) -> None:
    """In a thread: what a task's process prints is shown, line by line."""
    for line in lines:
        show(visible(line.decode(errors="replace")))
