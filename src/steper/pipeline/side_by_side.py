"""Tasks side by side: those that ask for a model in processes of their own, others in this one."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from typing import Protocol

from steper.errors import SteperError
from steper.pipeline.plan import Load, PlannedTask
from steper.pipeline.task_process import Message, TaskProcess, Tell
from steper.pipeline.watching import Clerk, do
from steper.pipeline.workspace import Workspace


class Room(Protocol):
    """Where tasks run, so many at once."""

    @property
    def count(self) -> int:
        """How many places there are."""

    def needed(self, load: Load) -> int:
        """How many of them a task takes."""

    def start(self, given: bytes, load: Load, place: int, tell: Tell) -> TaskProcess:
        """Start a task's process in a place, the first of those that it takes."""


class TaskTraceback(Exception):
    """The traceback of a task's own process: the cause of the error that it ended with."""


@dataclass(eq=False)
class _Running:
    """A task at work in its own process; `last` is the message that it ended with."""

    planned: PlannedTask
    places: list[int]
    last: Message | None = None
    process: TaskProcess = field(init=False)


Inbox = SimpleQueue[tuple[_Running, "Message | None"]]


@dataclass
class SideBySide:
    """Does tasks as soon as what they build on is done and there is room, first ones first.

    A task that fails lets all others go on that do not build on it.
    """

    workspace: Workspace
    clerk: Clerk
    room: Room
    _running: list[_Running] = field(default_factory=list)
    _errors: dict[str, Exception] = field(default_factory=dict)
    _inbox: Inbox = field(default_factory=SimpleQueue)

    def run(self, waiting: Sequence[PlannedTask]) -> None:
        """Do all tasks; raises, when no more can be done, what those that failed have raised."""
        self._waiting = list(waiting)
        self._undone = {planned.task.id for planned in waiting}
        self._free = list(range(self.room.count))
        try:
            self._begin_all()
            while self._running:
                self._take(*self._inbox.get())
                self._begin_all()
        finally:
            self._interrupt()
            self.clerk.tell_rest()
        self._raise([self._errors[p.task.id] for p in waiting if p.task.id in self._errors])

    def _begin_all(self) -> None:
        while planned := self._next():
            self._waiting.remove(planned)
            self.clerk.begin(planned)
            if planned.task.load == "none":
                self._do_here(planned)
            else:
                self._running.append(self._start(planned))

    def _next(self) -> PlannedTask | None:
        """The task to begin now: of those that build on nothing undone, the first."""
        ready = [p for p in self._waiting if not self._undone.intersection(p.task.needs)]
        here = [p for p in ready if p.task.load == "none"]
        if here or not ready:  # they are quick, and others wait for them
            return here[0] if here else None
        # No other in place of one that needs more room: it would never get it.
        return ready[0] if self.room.needed(ready[0].task.load) <= len(self._free) else None

    def _do_here(self, planned: PlannedTask) -> None:
        task = planned.task
        try:
            again = planned.state == "again"
            self._end(planned, do(task, self.workspace, again, self.clerk.advance(task)))
        except Exception as error:  # noqa: BLE001 - it is raised when the others are done
            self._fail(planned, error)
        except BaseException:
            self.clerk.stop(planned)
            raise
        finally:
            self.workspace.close()  # nothing is kept open that a process may replace

    def _start(self, planned: PlannedTask) -> _Running:
        task = planned.task
        places = [self._free.pop(0) for _ in range(self.room.needed(task.load))]
        running = _Running(planned, places)
        given = pickle.dumps((self.workspace.anew(), task, planned.state == "again"))
        tell = partial(self._put, running)
        running.process = self.room.start(given, task.load, places[0], tell)
        return running

    def _put(self, running: _Running, message: Message | None) -> None:
        self._inbox.put((running, message))

    def _take(self, running: _Running, message: Message | None) -> None:
        """A message of a task's process; None when it is over."""
        if message is not None and message[0] == "advanced":
            self.clerk.advance(running.planned.task)(*message[1])
        elif message is not None and message[0] == "logged":
            logging.getLogger(message[1].name).handle(message[1])  # as if it were logged here
        elif message is not None:
            running.last = message
        else:
            self._finish(running)

    def _finish(self, running: _Running) -> None:
        self._running.remove(running)
        self._free = sorted(self._free + running.places)
        how = running.process.wait()
        if running.last is None:
            self._fail(running.planned, SteperError(_killed(running.planned, how)))
            return
        kind, content = running.last
        if kind == "ended":
            self._end(running.planned, content)
        else:
            error, text = content
            error.__cause__ = TaskTraceback(f"\n{text}")
            self._fail(running.planned, error)

    def _end(self, planned: PlannedTask, summary: str) -> None:
        self._undone.remove(planned.task.id)
        self.clerk.end(planned, summary)

    def _fail(self, planned: PlannedTask, error: Exception) -> None:
        self.clerk.stop(planned)
        self._errors[planned.task.id] = error

    def _interrupt(self) -> None:
        """Let the tasks that are still at work stop where they can be taken up again."""
        for running in self._running:
            running.process.interrupt()
        try:
            for running in self._running:
                running.process.wait()
        except KeyboardInterrupt:  # a second one
            for running in self._running:
                running.process.kill()
            raise
        finally:
            for running in self._running:
                self.clerk.stop(running.planned)

    def _raise(self, errors: list[Exception]) -> None:
        """All errors as one; a bug goes before what the user can mend."""
        if bugs := [error for error in errors if not isinstance(error, SteperError)]:
            raise bugs[0]
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise SteperError("; also ".join(map(str, errors)))


def _killed(planned: PlannedTask, how: str) -> str:
    task = planned.task
    return (
        f"stage {task.stage} ({task.name}): its process ended {how}; where memory ran out, do one "
        "task after the other (--jobs 1)"
    )
