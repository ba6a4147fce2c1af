"""From settings to tasks: what a pipeline has to do, in order, and how far each task is.

A task's key holds all that decides its result: its settings, hashes of the files that it reads, and
the keys of the tasks that it builds on. So a change anywhere shows in every task that it concerns,
before anything is run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from steper.artifact import as_json, listed, settings_hash
from steper.errors import SettingsError, unknown_name
from steper.pipeline.stamps import Stamps

if TYPE_CHECKING:
    from steper.pipeline.workspace import Workspace

Stage = Literal[
    "stand-ins", "world", "index", "teach", "build", "train", "eval", "compare", "report"
]
STAGES: tuple[Stage, ...] = get_args(Stage)

DERIVED: tuple[Stage, ...] = ("compare", "report")
"""Stages that cost nothing: they are done anew without asking where something has changed."""

State = Literal["to do", "resume", "done", "again", "differs"]

Advance = Callable[[int, "int | None", object], None]
"""Told how many of how many are done, with what the stage itself reports (Stats, a log's row)."""


@dataclass(frozen=True)
class Task:
    """One piece of a stage: `work(workspace, overwrite, advance)` does it and says what came out.

    `output` is a file that is there when it is done; `needs` are the ids of the tasks before it.
    """

    stage: Stage
    name: str
    output: Path
    key: dict[str, Any]
    work: Callable[[Workspace, bool, Advance], str] = field(repr=False)
    needs: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """`stage/name`."""
        return f"{self.stage}/{self.name}"

    def describe(self) -> str:
        """`train steper-0 (small)`-like words for messages."""
        return f"{self.stage} {self.name}"


def chained(own: dict[str, Any], needs: Sequence[Task]) -> dict[str, Any]:
    """A task's key: its own settings, and the short hashes of the keys that it builds on."""
    return {**own, "after": {task.id: settings_hash(as_json(task.key)) for task in needs}}


@dataclass(frozen=True)
class PlannedTask:
    """A task of the plan with how far it is, and why it is not done where it differs."""

    task: Task
    state: State
    reasons: tuple[str, ...] = ()
    wanted: bool = True


def make_steps(
    tasks: Sequence[Task],
    stamps: Stamps,
    stages: Sequence[str] = (),
    overwrite_from: str | None = None,
) -> list[PlannedTask]:
    """How far each task is; `stages` are those wanted (all without), see `--overwrite-from`."""
    wanted = check_stages(stages) or STAGES
    anew = set(stages_from(overwrite_from)) if overwrite_from else set()
    steps = []
    for task in tasks:
        state, reasons = _state(task, stamps)
        if task.stage in anew and stamps.status(task.id):
            state, reasons = "again", []
        steps.append(PlannedTask(task, state, tuple(reasons), task.stage in wanted))
    return steps


def _state(task: Task, stamps: Stamps) -> tuple[State, list[str]]:
    status = stamps.status(task.id)
    if status is None:
        return "to do", []
    if status == "stale":
        return "again", []
    reasons = stamps.differences(task.id, task.key)
    if reasons:
        return ("again" if task.stage in DERIVED else "differs"), reasons
    if status == "running":
        return "resume", []
    return ("done", []) if task.output.exists() else ("to do", [])


def check_steps(steps: Sequence[PlannedTask], out: Path) -> None:
    """Refuse a plan that mixes settings, or whose wanted stages lack what they build on.

    Raises SettingsError, naming the first stage that differs, the settings, and how to go on.
    """
    for step in steps:
        if step.state == "differs" and step.wanted:
            raise SettingsError(differs_message(step, out))
    done = {step.task.id for step in steps if step.state == "done"}
    planned: set[str] = set()
    for step in steps:
        if not step.wanted or step.state == "done":
            continue
        missing = next((n for n in step.task.needs if n not in done | planned), None)
        if missing:
            before = missing.partition("/")[0]
            raise SettingsError(
                f"stage {step.task.stage} needs {missing}, which is not done; add {before} to "
                "--stages, or leave --stages out"
            )
        planned.add(step.task.id)


def differs_message(step: PlannedTask, out: Path) -> str:
    """What has changed since a stage was done, and how to go on."""
    own = [reason for reason in step.reasons if not reason.startswith("after.")]
    shown, stage = listed(own or step.reasons), step.task.stage
    return (
        f"stage {stage} ({step.task.name}) was done in {out} with other settings: {shown}. "
        f"To do it and all that follows anew: --overwrite-from {stage}; to keep both: another --out"
    )


def check_stages(names: Sequence[str]) -> tuple[Stage, ...]:
    """The stages of these names, in order; SettingsError with the nearest names for another."""
    for name in names:
        if name not in STAGES:
            raise SettingsError(unknown_name("stage", name, STAGES))
    return tuple(stage for stage in STAGES if stage in names)


def stages_from(name: str) -> tuple[Stage, ...]:
    """This stage and all that follow."""
    (stage,) = check_stages([name])
    return STAGES[STAGES.index(stage) :]
