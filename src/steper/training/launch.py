"""A training in several processes of this machine, started and watched from one: by torchrun.

In: what `job.train` takes, and a number of processes. Out: what it returns. The processes call
`job.train` themselves (`python -m steper.training.launch ASKED`); the first writes a line of JSON
for each row of its log, and for an error of the user's.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from steper.errors import SteperError
from steper.text import visible
from steper.training.job import Progress, Trained, train
from steper.training.train_settings import TrainSettings

ROW, ERROR = "row", "error"
GRACE = 30.0
"""Seconds that processes get to end when the training is interrupted."""


def train_in_processes(
    processes: int,
    examples: Path | str,
    student: Path | str,
    out: Path | str,
    settings: TrainSettings,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    torchrun: Sequence[str] = (),
) -> Trained:
    """`job.train` in so many processes; `torchrun` are further options of it.

    Interrupted, it ends them, and the next call goes on from the last checkpoint. Raises what
    `job.train` raises, and SteperError where processes ended in another way; what they printed then
    stands on standard error.
    """
    settings = settings.model_copy(update={"processes": processes})
    asked = {
        "examples": str(examples),
        "student": str(student),
        "out": str(out),
        "settings": settings.model_dump(mode="json", exclude_unset=True),
        "overwrite": overwrite,
        "path": sys.path,
    }
    with tempfile.TemporaryFile() as said:  # it has no name: nothing is left where we are killed
        command = [sys.executable, "-m", "torch.distributed.run"]
        if not any(option.startswith(("--nnodes", "--rdzv", "--master")) for option in torchrun):
            command.append("--standalone")
        command += ["--nproc-per-node", str(processes), *torchrun]
        command += ["-m", "steper.training.launch", json.dumps(asked)]
        with _running(command, said) as process:
            assert process.stdout is not None
            error = _listen(process.stdout, progress)
            code = process.wait()
        if error is not None:
            raise SteperError(error)
        if code:
            said.seek(0)
            sys.stderr.write(visible(said.read().decode(errors="replace")))
            raise SteperError(
                f"{out}: the {processes} processes of its training ended with exit code {code}; "
                "what they said stands above"
            )
    # Complete by now: this reads it, and merges an adapter where that is asked for.
    return train(examples, student, out, settings)


@contextmanager
def _running(command: Sequence[str], errors: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose standard output is read; ended where the block is left before it is."""
    # Not in our own way of finding modules alone: the processes import from where this one does.
    where = os.pathsep.join(filter(None, (str(Path(__file__).parents[2]), _python_path())))
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,  # nothing is written: its end is ours, see `_end_with_parents`
        stdout=subprocess.PIPE,
        stderr=errors,
        env={**os.environ, "PYTHONPATH": where},
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for pipe in filter(None, (process.stdin, process.stdout)):
            pipe.close()


def _python_path() -> str:
    return os.environ.get("PYTHONPATH", "")


def _listen(lines: IO[bytes], progress: Progress | None) -> str | None:
    """Hand each row on; the message of an error of the user's, where there is one."""
    error = None
    for line in lines:
        message = _message(line)
        if message is None:
            sys.stderr.write(visible(line.decode(errors="replace")))  # what a library printed
        elif message[0] == ROW and progress is not None:
            progress(message[1])
        elif message[0] == ERROR:
            error = error or str(message[1])
    return error


def _message(line: bytes) -> tuple[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    is_ours = isinstance(value, list) and len(value) == 2 and value[0] in (ROW, ERROR)
    return (value[0], value[1]) if is_ours else None


def _say(kind: str, content: object) -> None:
    # One write: lines of several processes do not mix.
    os.write(1, json.dumps([kind, content]).encode() + b"\n")


def _end_with_parents() -> None:
    """End with torchrun, which puts its processes into sessions of their own: a kill misses them.

    And with who started torchrun, whose end closes the standard input that all of them have. They
    would hold the folder's lock, and wait for each other for good.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent and not select.select([0], [], [], 0.5)[0]:
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main(said: str) -> int:
    """One of the processes; the exit code. `said`: what `train_in_processes` asks, as JSON."""
    _end_with_parents()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    asked = json.loads(said)
    sys.path[:] = asked["path"]
    main_one = os.environ.get("RANK", "0") == "0"
    try:
        train(
            asked["examples"],
            asked["student"],
            asked["out"],
            TrainSettings.model_validate(asked["settings"]),
            overwrite=asked["overwrite"],
            progress=(lambda row: _say(ROW, row)) if main_one else None,
        )
    except SteperError as error:
        _say(ERROR, str(error))
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
