"""The tasks of a study: those of its cells' pipelines, each done once.

A cell is a pipeline whose folders are named by what they hold: `teach/DATA-3fa1b2c4`, with a short
digest of the task's key, which has all that decides its result. So cells that would do the same
have it in common, what was done is found again, and what differs in one cell is that cell's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from steper.artifact import as_json, settings_hash
from steper.pipeline.config import PipelineSettings
from steper.pipeline.plan import DERIVED, Advance, Stage, Task
from steper.pipeline.tasks import TaskList
from steper.pipeline.workspace import Workspace

DIGEST = 10
"""Hexadecimal digits of a folder's name: 2^40 keys."""


@dataclass
class CellWorkspace(Workspace):
    """A cell at work in the study's folder; `digests` are of its tasks' keys, by the task's id."""

    digests: Mapping[str, str] = field(default_factory=dict)

    def anew(self) -> CellWorkspace:
        """See `Workspace`."""
        return CellWorkspace(self.settings, self.out, digests=self.digests)

    def folder(self, stage: Stage, *names: str) -> Path:
        """See `Workspace`: the names of a task get its digest."""
        for count in range(len(names), 0, -1):
            task = "/".join(names[:count])
            if digest := self.digests.get(f"{stage}/{task}"):
                return self.out.joinpath(stage, f"{task}-{digest}", *names[count:])
        return self.out.joinpath(stage, *names)

    def test_questions(self, data: str) -> Path:
        """See `Workspace`: as many files as there are sets of test questions."""
        taught = self.digests[f"teach/{data}"]
        return self.out.joinpath("build", f"{data}-{taught}", super().test_questions(data).name)


@dataclass
class StudyWorkspace(Workspace):
    """What the tasks of a study are given: the workspace of each cell, of which one is at work.

    `settings` are those of the first cell.
    """

    cells: Mapping[str, CellWorkspace] = field(default_factory=dict)
    _at_work: str | None = None

    def anew(self) -> StudyWorkspace:
        """See `Workspace`."""
        cells = {name: cell.anew() for name, cell in self.cells.items()}
        return StudyWorkspace(self.settings, self.out, cells=cells)

    def cell(self, name: str) -> CellWorkspace:
        """A cell's workspace; what another one had open is closed."""
        if self._at_work not in (None, name):
            self.close()
        self._at_work = name
        return self.cells[name]

    def close(self) -> None:
        """Close all that is open."""
        if self._at_work is not None:
            self.cells[self._at_work].close()
        self._at_work = None


@dataclass(frozen=True)
class Cell:
    """A cell with its tasks, those that it shares with earlier cells included."""

    name: str
    workspace: CellWorkspace
    tasks: tuple[Task, ...]

    @property
    def unmade(self) -> set[str]:
        """The students that a task of its own makes."""
        students = self.workspace.settings.students.values()
        return {student.model for student in students if student.made_by}


def make_cell(name: str, settings: PipelineSettings, out: Path) -> Cell:
    """A cell of the study in the folder `out`; writes nothing."""
    plain = TaskList(Workspace(settings, out)).all()
    digests = {task.id: _digest(task) for task in plain}
    workspace = CellWorkspace(settings, out, digests=digests)
    placed = TaskList(workspace).all()
    tasks = tuple(
        replace(
            task,
            name=f"{task.name}-{digests[task.id]}",
            output=there.output,
            work=partial(_in_cell, cell=name, work=there.work),
            needs=tuple(f"{need}-{digests[need]}" for need in task.needs),
        )
        for task, there in zip(plain, placed, strict=True)
        if task.stage not in DERIVED
    )
    return Cell(name, workspace, tasks)


def _digest(task: Task) -> str:
    return settings_hash(as_json({"task": task.id, "key": task.key}))[:DIGEST]


def _in_cell(
    workspace: Workspace,
    overwrite: bool,
    advance: Advance,
    *,
    cell: str,
    work: Callable[[Workspace, bool, Advance], str],
) -> str:
    """A task's work in its own cell."""
    assert isinstance(workspace, StudyWorkspace)
    return work(workspace.cell(cell), overwrite, advance)
