"""A study in a folder: its cells' tasks as one list, and what it ends in.

    study = Study(load_study("study.yaml"), "runs/study")
    study.plan()
    study.run().results

The folder holds the outputs of all tasks (see `cells`), `study.json` (everything that was found),
`tables.md`, `tables.csv`, `tables.tex`, `plots/` and `report.html`.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from steper.artifact import as_json, settings_hash
from steper.errors import SettingsError
from steper.pipeline.beforehand import check_beforehand, check_planned
from steper.pipeline.do_tasks import do_tasks
from steper.pipeline.plan import (
    ASKS,
    Advance,
    PlannedTask,
    Stage,
    Stamps,
    Task,
    make_plan,
    stages_left,
)
from steper.pipeline.watching import Nobody, Watcher
from steper.pipeline.workspace import Workspace
from steper.store import read_json, write_json
from steper.studies.cells import Cell, StudyWorkspace, make_cell
from steper.studies.page import what_differs, write_page
from steper.studies.plots import write_plots
from steper.studies.results import StudyResults, check_rows, find_results
from steper.studies.study_file import StudyFile
from steper.studies.tables import write_tables
from steper.text import brief

RESULTS, REPORT = "study.json", "report.html"


@dataclass(frozen=True)
class StudyOutcome:
    """Where a study is, and what it found; None where it is not done."""

    out: Path
    results: StudyResults | None

    @property
    def report(self) -> Path:
        """The page."""
        return self.out / REPORT


class Study:
    """A study in the folder `out`: `plan` says what is to be done, `run` does it."""

    def __init__(self, file: StudyFile, out: Path | str) -> None:
        """Raises InputError where the files that a cell names are missing, and see `check_rows`."""
        self.file = file
        self.out = Path(out).absolute()
        made = {name: make_cell(name, settings, self.out) for name, settings in file.cells.items()}
        self.cells: dict[str, Cell] = made
        workspaces = {name: cell.workspace for name, cell in made.items()}
        self.workspace = StudyWorkspace(file.common, self.out, cells=workspaces)
        check_rows(file.settings, workspaces)
        self.tasks = [*self._shared_tasks().values(), self._last_task()]

    def __repr__(self) -> str:
        return brief("Study", repr(str(self.out)), *self.cells)

    def _shared_tasks(self) -> dict[str, Task]:
        """The tasks of all cells by id: what is the same in two of them is one task."""
        tasks: dict[str, Task] = {}
        for cell in self.cells.values():
            for task in cell.tasks:
                tasks.setdefault(task.id, task)
        return tasks

    def _last_task(self) -> Task:
        """The task that compares all runs and writes tables, plots and page."""
        runs = [task for task in self._shared_tasks().values() if task.stage == "eval"]
        common = self.file.common
        key = {
            "study": self.file.settings.model_dump(mode="json"),
            "cells": list(self.cells),
            "metrics": list(common.evaluate.metrics),
            "baselines": {
                name: cell.workspace.settings.baseline for name, cell in self.cells.items()
            },
            "bootstrap": common.evaluate.bootstrap.model_dump(mode="json"),
            "after": {task.id: settings_hash(as_json(task.key)) for task in runs},
        }
        work = partial(finish, file=self.file)
        needs = tuple(task.id for task in runs)
        return Task("report", "study", self.out / REPORT, key, work, needs)

    def plan(
        self, stages: Sequence[str] = (), overwrite_from: str | None = None
    ) -> list[PlannedTask]:
        """All tasks with how far they are; writes nothing.

        Raises SettingsError for unknown stages, InputError where test questions are learnt from,
        ModelError where a cell's model is missing.
        """
        for cell in self.cells.values():
            cell.workspace.check_questions()
        plan = make_plan(self.tasks, Stamps(self.out), stages, overwrite_from)
        for cell in self.cells.values():
            check_planned(cell.workspace.settings, stages_left(plan), cell.unmade)
        return plan

    def run(
        self,
        stages: Sequence[str] = (),
        overwrite_from: str | None = None,
        watcher: Watcher | None = None,
    ) -> StudyOutcome:
        """Do all that is not done; the same call again goes on where an earlier one stopped.

        Errors: see `steper.pipeline.pipeline.Pipeline.run`.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise SettingsError(
                "several processes run together, which a study makes no use of: start it in one; "
                "`steper run` trains a model in several"
            )
        common = self.file.common
        do_tasks(
            self.tasks,
            self.workspace,
            common.jobs,
            common.ray_address,
            self._check,
            stages,
            overwrite_from,
            watcher or Nobody(),
        )
        return self.outcome()

    def _check(self, stages: Collection[Stage]) -> None:
        """Look in each cell for what these stages would fail on late."""
        for cell in self.cells.values():
            check_beforehand(cell.workspace.settings, stages, cell.unmade)
            if ASKS & set(stages):
                cell.workspace.check_questions()

    def outcome(self) -> StudyOutcome:
        """What there is to read by now."""
        path = self.out / RESULTS
        found = StudyResults.model_validate(read_json(path)) if path.exists() else None
        return StudyOutcome(self.out, found)


def finish(workspace: Workspace, overwrite: bool, advance: Advance, *, file: StudyFile) -> str:
    """Compare all runs, and write what a study ends in into its folder."""
    assert isinstance(workspace, StudyWorkspace)
    out = workspace.out
    results = find_results(file.name, file.settings, workspace.cells)
    write_json(out / RESULTS, results.model_dump(mode="json"))
    write_tables(results, out)
    write_plots(results, out / "plots")
    write_page(results, out / REPORT, what_differs(file))
    return f"{len(results.row_names)} rows on {', '.join(results.tests)}"
