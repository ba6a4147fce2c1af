"""Who is told how a pipeline gets on, and the stamps that go with it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from steper.errors import SettingsError, SteperError
from steper.pipeline.plan import Advance, PlannedTask, Stamps, Task

if TYPE_CHECKING:
    from steper.pipeline.workspace import Workspace


class Watcher(Protocol):
    """Who is told how a pipeline gets on."""

    def began(self, planned: PlannedTask) -> None:
        """A task begins."""

    def advanced(self, task: Task, done: int, total: int | None, detail: object) -> None:
        """A task got on; `detail` is the engine's Stats, a row of the training's log, or None."""

    def ended(self, planned: PlannedTask, summary: str, seconds: float) -> None:
        """A task is over, or was done already (`summary` is empty then)."""


class Nobody:
    """A watcher that does nothing."""

    def began(self, planned: PlannedTask) -> None: ...

    def advanced(self, task: Task, done: int, total: int | None, detail: object) -> None: ...

    def ended(self, planned: PlannedTask, summary: str, seconds: float) -> None: ...


@dataclass
class Clerk:
    """Stamps each task when it begins and when it is over, and tells the watcher.

    Tasks of the `plan` that end out of turn are told of in their turn, so that what a pipeline
    prints does not depend on how fast each was.
    """

    plan: Sequence[PlannedTask]
    stamps: Stamps
    watcher: Watcher
    _began: dict[str, float] = field(default_factory=dict)
    _over: dict[str, tuple[PlannedTask, str, float]] = field(default_factory=dict)
    _failed: set[str] = field(default_factory=set)
    _told: int = 0

    def begin(self, planned: PlannedTask) -> None:
        """A task begins, or goes on."""
        earlier = self.stamps.seconds(planned.task) if planned.state == "resume" else 0.0
        self._began[planned.task.id] = time.monotonic() - earlier
        self.watcher.began(planned)
        self.stamps.write(planned.task, "running", earlier)

    def advance(self, task: Task) -> Advance:
        """What a task calls when it gets on."""
        return lambda done, total, detail: self.watcher.advanced(task, done, total, detail)

    def end(self, planned: PlannedTask, summary: str) -> None:
        """A task is done."""
        seconds = self._seconds(planned.task)
        self.stamps.write(planned.task, "complete", seconds)
        self._over[planned.task.id] = (planned, summary, seconds)
        self._tell()

    def stop(self, planned: PlannedTask) -> None:
        """A task failed or was interrupted; it is taken up again by the next run."""
        self.stamps.write(planned.task, "running", self._seconds(planned.task))
        self._failed.add(planned.task.id)
        self._tell()

    def skip(self, planned: PlannedTask) -> None:
        """A task had been done before."""
        self._over[planned.task.id] = (planned, "", self.stamps.seconds(planned.task))
        self._tell()

    def _seconds(self, task: Task) -> float:
        return time.monotonic() - self._began[task.id]

    def _tell(self) -> None:
        """Tell of all that are over up to the first that is not."""
        for planned in self.plan[self._told :]:
            if over := self._over.pop(planned.task.id, None):
                self.watcher.ended(*over)
            elif planned.task.id not in self._failed:
                break
            self._told += 1

    def tell_rest(self) -> None:
        """Tell of those that are over though one before them is not."""
        for over in self._over.values():
            self.watcher.ended(*over)
        self._over.clear()


def do(task: Task, workspace: Workspace, overwrite: bool, advance: Advance) -> str:
    """A task's work; its errors name the stage."""
    with _named(task):
        return task.work(workspace, overwrite, advance)


@contextmanager
def _named(task: Task) -> Iterator[None]:
    """Put the stage's name before an error's text, and how to begin it anew where that helps."""
    try:
        yield
    except SteperError as error:
        text = str(error)
        if isinstance(error, SettingsError) and "--overwrite" in text:
            text = f"{text} (here: --overwrite-from {task.stage})"
        raise type(error)(f"stage {task.stage} ({task.name}): {text}") from error
