"""The process of one task: `python -m steper.pipeline.worker`, started by `side_by_side`.

Reads, pickled, where modules are found, then the workspace, the task and whether to replace what is
there. Writes pickled messages: `("advanced", (done, total, detail))` for each step, `("logged",
record)` for what is logged, at last `("ended", summary)` or `("failed", (error, traceback))`. When
its input is closed, because the pipeline was interrupted or is no more, it is interrupted itself
and leaves the task to be resumed.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from logging.handlers import QueueHandler
from queue import SimpleQueue
from typing import Any

INTERRUPTED = 130


class PipelineHandler(QueueHandler):
    """Sends records to the pipeline, which says once what several tasks would say."""

    def __init__(self, send: Callable[[str, object], None]) -> None:
        super().__init__(SimpleQueue())
        self._send = send

    def enqueue(self, record: logging.LogRecord) -> None:
        """Send a record; nothing where the pipeline is no more."""
        with suppress(BrokenPipeError):
            self._send("logged", record)


def main() -> int:
    """Do the task that standard input holds; the exit code."""
    messages = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no message
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell's `&` leaves SIGINT ignored
        signal.signal(number, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT,))  # Ray blocks it in what it starts
    sending = threading.Lock()  # models log in threads of their own

    def send(kind: str, content: object) -> None:
        with sending:
            pickle.dump((kind, content), messages)
            messages.flush()

    logging.getLogger().addHandler(PipelineHandler(send))  # without a format: the pipeline has one

    try:
        sys.path[:] = pickle.load(sys.stdin.buffer)
        workspace, task, overwrite = pickle.load(sys.stdin.buffer)
        threading.Thread(target=_end_with_input, daemon=True).start()
        send(*_outcome(workspace, task, overwrite, send))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the pipeline was killed
        with suppress(BrokenPipeError):
            messages.close()
    return 0


def _outcome(workspace: Any, task: Any, overwrite: bool, send: Any) -> tuple[str, object]:
    from steper.pipeline.watching import do

    def advance(*step: object) -> None:
        send("advanced", step)

    try:
        return "ended", do(task, workspace, overwrite, advance)
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - the pipeline raises it
        return "failed", (_picklable(error), traceback.format_exc())
    finally:
        workspace.close()


def _picklable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - whatever pickle meets in it
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _end_with_input() -> None:
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    sys.exit(main())
