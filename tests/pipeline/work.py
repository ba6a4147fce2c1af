"""Work for the processes of tasks: told to do what a stage may do, without a model."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Bare:
    """A workspace of no more than its folder: importing the real one takes half a second."""

    out: Path

    def anew(self) -> Bare:
        return self

    def close(self) -> None:
        pass


def meet(workspace, overwrite, advance, *, first: Path, second: Path) -> str:
    """Done only beside another task that calls it with the files the other way round."""
    first.touch()
    while not second.exists():
        threading.Event().wait(0.01)
    return f"met {second.name}"


def answer(workspace, overwrite, advance, *, name: str) -> str:
    print("printed, not told")
    advance(1, 2, {"threads": os.environ.get("OMP_NUM_THREADS")})
    print("a warning", file=sys.stderr)
    return f"{name} in {workspace.out.name}, overwrite {overwrite}"


def log(workspace, overwrite, advance) -> str:
    logging.getLogger("steper.data").info("not told")
    logging.getLogger("steper.data").warning("%s: 3 facts are missing", "dev.json")
    return "logged"


def fail(workspace, overwrite, advance, *, error: Exception) -> str:
    raise error


def die(workspace, overwrite, advance) -> str:
    os.kill(os.getpid(), signal.SIGKILL)
    return ""


def lose_host(workspace, overwrite, advance, *, tried: Path) -> str:
    """The first time, ends the process that started this one; then works as others do."""
    if not tried.exists():
        tried.touch()
        os.kill(os.getppid(), signal.SIGKILL)
        threading.Event().wait(60)
    return "done elsewhere"


def wait(workspace, overwrite, advance, *, stopped: Path) -> str:
    """Never done; leaves a file behind when it is interrupted."""
    try:
        advance(1, None, None)
        threading.Event().wait(60)
    except KeyboardInterrupt:
        stopped.touch()
        raise
    return ""
