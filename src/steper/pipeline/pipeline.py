"""A pipeline as an object: its plan, its run, and what came out of it."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steper.errors import SettingsError
from steper.evaluation.compare import Comparison
from steper.pipeline.beforehand import check_beforehand, check_planned
from steper.pipeline.config import PipelineSettings
from steper.pipeline.do_tasks import do_tasks, work
from steper.pipeline.load import load_settings
from steper.pipeline.plan import (
    ASKS,
    PlannedTask,
    Stage,
    Stamps,
    Task,
    check_plan,
    make_plan,
    stages_left,
)
from steper.pipeline.tasks import TaskList
from steper.pipeline.watching import Nobody, Watcher
from steper.pipeline.workspace import Workspace
from steper.store import read_json
from steper.student import STEPER
from steper.text import brief


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

        Raises InputError where a file that the configuration names is missing or test questions are
        learnt from, ModelError where a model is missing, SettingsError for unknown stages.
        """
        self.workspace.check_questions()
        plan = make_plan(self.tasks.all(), Stamps(self.out), stages, overwrite_from)
        check_planned(self.settings, stages_left(plan), self.tasks.digests)
        return plan

    def _check(self, stages: Collection[Stage]) -> None:
        """Look for what these stages would fail on late."""
        check_beforehand(self.settings, stages, self.tasks.digests)
        if ASKS & set(stages):
            self.workspace.check_questions()

    def run(
        self,
        stages: Sequence[str] = (),
        overwrite_from: str | None = None,
        watcher: Watcher | None = None,
    ) -> Outcome:
        """Do all that is not done; the same call again goes on where an earlier one stopped.

        Tasks run side by side as far as `jobs` of the settings lets them, on the machines of a Ray
        cluster where `ray_address` names one.

        Raises, before anything is done, SettingsError where a stage was done with other settings
        or lacks what it builds on, and what `check_beforehand` raises; then whatever the stages
        raise, with the stage's name before it (side by side, when all that do not build on the
        stage are done).
        """
        watcher = watcher or Nobody()
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            return self._train_together(stages, overwrite_from, watcher)
        do_tasks(
            self.tasks.all(),
            self.workspace,
            self.settings.jobs,
            self.settings.ray_address,
            self._check,
            stages,
            overwrite_from,
            watcher,
        )
        return self.outcome()

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
                work(planned, self.workspace, _nothing)
                continue
            watcher.began(planned)
            began = time.monotonic()
            first_step = _StampsFirstStep(self.out, planned.task, watcher)
            summary = work(planned, self.workspace, first_step)
            seconds = time.monotonic() - began
            Stamps(self.out).write(planned.task, "complete", seconds)
            left = f"; trainings left: {len(waiting) - 1}, by the same command"
            watcher.ended(planned, summary + (left if len(waiting) > 1 else ""), seconds)
        return self.outcome()

    def outcome(self) -> Outcome:
        """What there is to read by now."""
        found, workspace = Outcome(self.out), self.workspace
        for data in workspace.tests:
            comparison, report = workspace.comparison_file(data), workspace.report_file(data)
            if comparison.exists():
                found.comparisons[data] = Comparison.model_validate(read_json(comparison))
            if report.exists():
                found.reports[data] = report
            for run in workspace.eval_runs(data) if data in workspace.data else ():
                if run.trained is not None and (run.trained / STEPER).exists():
                    found.students[run.trained] = str(workspace.searched(data))
        return found


@dataclass
class _StampsFirstStep:
    """What a task calls when it gets on: it is stamped the first time."""

    out: Path
    task: Task
    watcher: Watcher
    stamped: bool = False

    def __call__(self, done: int, total: int | None, detail: object) -> None:
        if not self.stamped:
            Stamps(self.out).write(self.task, "running")
            self.stamped = True
        self.watcher.advanced(self.task, done, total, detail)


@dataclass
class Outcome:
    """What there is by now: comparisons and reports by data set, students with their corpora."""

    out: Path
    comparisons: dict[str, Comparison] = field(default_factory=dict)
    reports: dict[str, Path] = field(default_factory=dict)
    students: dict[Path, str] = field(default_factory=dict)


def _nothing(done: int, total: int | None, detail: object) -> None:
    """Tell nobody."""
