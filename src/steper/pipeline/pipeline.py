"""Run a pipeline: each task that is not done, in order, stamped when it begins and when it ends."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from steper.errors import SettingsError, SteperError
from steper.evaluation.compare import Comparison
from steper.pipeline.config import PipelineSettings
from steper.pipeline.load import load_settings
from steper.pipeline.plan import PlannedTask, Task, check_steps, make_steps, stages_from
from steper.pipeline.stages import comparison_file
from steper.pipeline.stamps import Stamps
from steper.pipeline.tasks import TaskList
from steper.pipeline.workspace import Workspace
from steper.store import read_json
from steper.student import STEPER
from steper.text import brief


class Watcher(Protocol):
    """Who is told how a pipeline gets on."""

    def began(self, step: PlannedTask) -> None:
        """A task begins."""

    def advanced(self, task: Task, done: int, total: int | None, detail: object) -> None:
        """A task got on; `detail` is the engine's Stats, a row of the training's log, or None."""

    def ended(self, step: PlannedTask, summary: str, seconds: float) -> None:
        """A task is over, or was done already (`summary` is empty then)."""


class Pipeline:
    """A pipeline in the folder `out`: `plan` says what is to be done, `run` does it."""

    def __init__(
        self,
        settings: PipelineSettings | Path | str,
        out: Path | str,
        before: tuple[Task, ...] = (),
        digests: Mapping[str, Any] | None = None,
    ) -> None:
        """`settings` may be the YAML file that holds them (see `load_settings` for its errors).

        `before` are tasks that all others build on, `digests` what stands for the files they make.
        """
        if not isinstance(settings, PipelineSettings):
            settings = load_settings(settings)
        self.settings = settings
        self.out = Path(out).absolute()
        self.workspace = Workspace(settings, self.out)
        self.tasks = TaskList(self.workspace, before, dict(digests or {}))

    def __repr__(self) -> str:
        return brief("Pipeline", repr(str(self.out)), *self.settings.data, *self.settings.recipes)

    def plan(
        self, stages: Sequence[str] = (), overwrite_from: str | None = None
    ) -> list[PlannedTask]:
        """All tasks with how far they are; writes nothing.

        Raises InputError where a file that the configuration names is missing, SettingsError for
        unknown stages.
        """
        return make_steps(self.tasks.all(), Stamps(self.out), stages, overwrite_from)

    def run(
        self,
        stages: Sequence[str] = (),
        overwrite_from: str | None = None,
        watcher: Watcher | None = None,
    ) -> Outcome:
        """Do all that is not done; the same call again goes on where an earlier one stopped.

        Raises, before anything is done, SettingsError where a stage was done with other settings
        or lacks what it builds on, MissingExtraError where training is to be done without its
        packages; then whatever the stages raise, with the stage's name before it.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            return self._train_together(stages, overwrite_from, watcher)
        stamps = Stamps(self.out)
        steps = self.plan(stages, overwrite_from)
        check_steps(steps, self.out)
        if any(s.wanted and s.state != "done" and s.task.stage == "train" for s in steps):
            # A missing package is told now, not when hours of teaching are over.
            import_module("steper.training.job")
        stamps.lock()
        try:
            stamps.reload()
            if overwrite_from:
                anew = stages_from(overwrite_from)
                stamps.make_stale(t.id for t in self.tasks.all() if t.stage in anew)
            for step in make_steps(self.tasks.all(), stamps, stages):
                if step.wanted:
                    self._do(step, stamps, watcher)
        finally:
            self.workspace.close()
            stamps.unlock()
        return self.outcome()

    def _do(self, step: PlannedTask, stamps: Stamps, watcher: Watcher | None) -> None:
        task = step.task
        if step.state == "done":
            if watcher:
                watcher.ended(step, "", float(stamps.get(task.id).get("seconds", 0.0)))
            return
        if watcher:
            watcher.began(step)
        earlier = float(stamps.get(task.id).get("seconds", 0.0)) if step.state == "resume" else 0.0
        began = time.monotonic()
        stamps.write(task.id, "running", task.key, earlier)
        try:
            summary = self._work(step, watcher)
        except BaseException:
            stamps.write(task.id, "running", task.key, earlier + time.monotonic() - began)
            raise
        seconds = earlier + time.monotonic() - began
        stamps.write(task.id, "complete", task.key, seconds)
        if watcher:
            watcher.ended(step, summary, seconds)

    def _work(self, step: PlannedTask, watcher: Watcher | None) -> str:
        task = step.task

        def advance(done: int, total: int | None, detail: object) -> None:
            if watcher:
                watcher.advanced(task, done, total, detail)

        with _named(task):
            return task.work(self.workspace, step.state == "again", advance)

    def _train_together(
        self, stages: Sequence[str], overwrite_from: str | None, watcher: Watcher | None
    ) -> Outcome:
        """Under torchrun: one training that is not done, in every process; the first stamps it.

        One a call, because process groups of torch do not outlive a training reliably: a second
        one in the same processes was seen to hang. Nothing is stamped before the first step, when
        every process has made its plan, so that none sees another plan than the others; from then
        on a training that was killed is resumed, also one that was to be done anew.
        """
        if list(stages) != ["train"] or overwrite_from:
            raise SettingsError(
                "several processes run together, which only training can make use of: run the "
                "stages up to build in one process (with --overwrite-from, where it is wanted), "
                "then torchrun … --stages train, then the rest"
            )
        steps = self.plan(stages)
        check_steps(steps, self.out)
        main = int(os.environ.get("RANK", "0")) == 0
        waiting = [step for step in steps if step.wanted and step.state != "done"]
        for step in waiting[:1]:
            if main and watcher:
                watcher.began(step)
            began = time.monotonic()
            summary = self._work(step, _Beginning(self.out, watcher) if main else None)
            seconds = time.monotonic() - began
            if main:
                Stamps(self.out).write(step.task.id, "complete", step.task.key, seconds)
            if main and watcher:
                left = f"; trainings left: {len(waiting) - 1}, by the same command"
                watcher.ended(step, summary + (left if len(waiting) > 1 else ""), seconds)
        return self.outcome()

    def outcome(self) -> Outcome:
        """What there is to read by now."""
        found = Outcome(self.out)
        for data in self.settings.data:
            path = comparison_file(self.out, data)
            if path.exists():
                found.comparisons[data] = Comparison.model_validate(read_json(path))
            if self.tasks.report_file(data).exists():
                found.reports[data] = self.tasks.report_file(data)
            for who in self.tasks.asked(data):
                if who.folder is not None and (who.folder / STEPER).exists():
                    searched = self.workspace.index(data) or self.settings.data[data].corpus
                    found.students[who.folder] = str(searched)
        return found


@dataclass
class _Beginning:
    """A watcher of one task that stamps it when it gets on for the first time."""

    out: Path
    watcher: Watcher | None
    stamped: bool = False

    def began(self, step: PlannedTask) -> None:
        """See Watcher; told by the pipeline itself."""

    def advanced(self, task: Task, done: int, total: int | None, detail: object) -> None:
        """See Watcher."""
        if not self.stamped:
            Stamps(self.out).write(task.id, "running", task.key, 0.0)
            self.stamped = True
        if self.watcher:
            self.watcher.advanced(task, done, total, detail)

    def ended(self, step: PlannedTask, summary: str, seconds: float) -> None:
        """See Watcher; told by the pipeline itself."""


@dataclass
class Outcome:
    """What there is by now: comparisons and reports by data set, students with their corpora."""

    out: Path
    comparisons: dict[str, Comparison] = field(default_factory=dict)
    reports: dict[str, Path] = field(default_factory=dict)
    students: dict[Path, str] = field(default_factory=dict)


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
