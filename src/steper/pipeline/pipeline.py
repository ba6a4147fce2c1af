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
from steper.pipeline.plan import PlannedTask, Stamps, Task, check_plan, make_plan, stages_from
from steper.pipeline.tasks import TaskList
from steper.pipeline.workspace import Workspace
from steper.store import read_json
from steper.student import STEPER
from steper.text import brief


class Watcher(Protocol):
    """Who is told how a pipeline gets on."""

    def began(self, planned: PlannedTask) -> None:
        """A task begins."""

    def advanced(self, task: Task, done: int, total: int | None, detail: object) -> None:
        """A task got on; `detail` is the engine's Stats, a row of the training's log, or None."""

    def ended(self, planned: PlannedTask, summary: str, seconds: float) -> None:
        """A task is over, or was done already (`summary` is empty then)."""


class _Nobody:
    """A watcher that does nothing."""

    def began(self, planned: PlannedTask) -> None: ...

    def advanced(self, task: Task, done: int, total: int | None, detail: object) -> None: ...

    def ended(self, planned: PlannedTask, summary: str, seconds: float) -> None: ...


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
        return make_plan(self.tasks.all(), Stamps(self.out), stages, overwrite_from)

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
        watcher = watcher or _Nobody()
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            return self._train_together(stages, overwrite_from, watcher)
        stamps = Stamps(self.out)
        planned_tasks = self.plan(stages, overwrite_from)
        check_plan(planned_tasks, self.out)
        if any(p.wanted and p.state != "done" and p.task.stage == "train" for p in planned_tasks):
            # A missing package is told now, not when hours of teaching are over.
            import_module("steper.training.job")
        with stamps.locked():
            try:
                if overwrite_from:
                    anew = stages_from(overwrite_from)
                    stamps.make_stale(task for task in self.tasks.all() if task.stage in anew)
                for planned in make_plan(self.tasks.all(), stamps, stages):
                    if planned.wanted:
                        self._do(planned, stamps, watcher)
            finally:
                self.workspace.close()
        return self.outcome()

    def _do(self, planned: PlannedTask, stamps: Stamps, watcher: Watcher) -> None:
        task = planned.task
        if planned.state == "done":
            watcher.ended(planned, "", stamps.seconds(task))
            return
        watcher.began(planned)
        earlier = stamps.seconds(task) if planned.state == "resume" else 0.0
        began = time.monotonic()
        stamps.write(task, "running", earlier)
        try:
            summary = self._work(planned, watcher)
        except BaseException:
            stamps.write(task, "running", earlier + time.monotonic() - began)
            raise
        seconds = earlier + time.monotonic() - began
        stamps.write(task, "complete", seconds)
        watcher.ended(planned, summary, seconds)

    def _work(self, planned: PlannedTask, watcher: Watcher) -> str:
        task = planned.task

        def advance(done: int, total: int | None, detail: object) -> None:
            watcher.advanced(task, done, total, detail)

        with _named(task):
            return task.work(self.workspace, planned.state == "again", advance)

    def _train_together(
        self, stages: Sequence[str], overwrite_from: str | None, watcher: Watcher
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
        plan = self.plan(stages)
        check_plan(plan, self.out)
        waiting = [planned for planned in plan if planned.wanted and planned.state != "done"]
        main = int(os.environ.get("RANK", "0")) == 0
        for planned in waiting[:1]:
            if not main:
                self._work(planned, _Nobody())
                continue
            watcher.began(planned)
            began = time.monotonic()
            summary = self._work(planned, _StampsFirstStep(self.out, watcher))
            seconds = time.monotonic() - began
            Stamps(self.out).write(planned.task, "complete", seconds)
            left = f"; trainings left: {len(waiting) - 1}, by the same command"
            watcher.ended(planned, summary + (left if len(waiting) > 1 else ""), seconds)
        return self.outcome()

    def outcome(self) -> Outcome:
        """What there is to read by now."""
        found, workspace = Outcome(self.out), self.workspace
        for data in self.settings.data:
            comparison, report = workspace.comparison_file(data), workspace.report_file(data)
            if comparison.exists():
                found.comparisons[data] = Comparison.model_validate(read_json(comparison))
            if report.exists():
                found.reports[data] = report
            for run in workspace.eval_runs(data):
                if run.trained is not None and (run.trained / STEPER).exists():
                    found.students[run.trained] = str(workspace.searched(data))
        return found


@dataclass
class _StampsFirstStep(_Nobody):
    """A watcher of one task that stamps it when it gets on for the first time."""

    out: Path
    watcher: Watcher
    stamped: bool = False

    def advanced(self, task: Task, done: int, total: int | None, detail: object) -> None:
        """See Watcher."""
        if not self.stamped:
            Stamps(self.out).write(task, "running")
            self.stamped = True
        self.watcher.advanced(task, done, total, detail)


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
