"""What a pipeline has to do, what it has done, and so how far each task is.

A task's key holds all that decides its result: its settings, hashes of the files that it reads, and
the keys of the tasks that it builds on. So a change anywhere shows in every task that it concerns,
before anything is run. What was done is stamped in `pipeline.json`:

    {"tasks": {"train/small/tiny/steper-0": {"status": "complete", "key": {…}, "seconds": 41.2}}}

A task whose stamp has the key that it would have now is done (`complete`) or to be taken up again
(`running`). `stale` tasks are to be done anew, in place of what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from steper.artifact import as_json, differing, listed, lock_folder
from steper.errors import InputError, SettingsError, unknown_name
from steper.records import SCHEMA_VERSION
from steper.redaction import without_secrets
from steper.store import provenance, read_json, write_json

if TYPE_CHECKING:
    from steper.pipeline.workspace import Workspace

Stage = Literal[
    "stand-ins",
    "base",
    "world",
    "index",
    "teach",
    "build",
    "tune",
    "train",
    "collect",
    "relabel",
    "eval",
    "compare",
    "report",
]
STAGES: tuple[Stage, ...] = get_args(Stage)

TRAINS: frozenset[Stage] = frozenset(("tune", "train"))
"""Stages in which students are trained."""

ASKS: frozenset[Stage] = frozenset(("teach", "tune", "eval"))
"""Stages that ask a data set's questions."""

DERIVED: tuple[Stage, ...] = ("compare", "report")
"""Stages that cost nothing: they are done anew without asking where something has changed."""

FILE = "pipeline.json"

Load = Literal["none", "small", "large", "alone"]
"""What a task asks of the machine: no model to compute; a small one, which takes a thread (or a
GPU); a large one, which takes all of them (or a GPU); all that there is, such as a server's limit
on requests or the devices that the settings name."""

Status = Literal["running", "complete", "stale"]
State = Literal["to do", "resume", "done", "again", "differs"]

Advance = Callable[[int, "int | None", object], None]
"""Told how many of how many are done, with what the stage itself reports (Stats, a log's row)."""


@dataclass(frozen=True)
class Task:
    """One piece of a stage: `work(workspace, overwrite, advance)` does it and says what came out.

    `output` is a file that is there when it is done; `needs` are the ids of the tasks before it.
    One that is `derived` costs nothing, as those of the stages DERIVED.
    """

    stage: Stage
    name: str
    output: Path
    key: dict[str, Any]
    work: Callable[[Workspace, bool, Advance], str] = field(repr=False)
    needs: tuple[str, ...] = ()
    load: Load = "none"
    derived: bool = False

    @property
    def id(self) -> str:
        """`stage/name`."""
        return f"{self.stage}/{self.name}"

    def describe(self) -> str:
        """`train small/tiny/steper-0`, for messages."""
        return f"{self.stage} {self.name}"


class Stamps:
    """The stamps of one output folder. Reading writes nothing; `locked` is for those who write."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._tasks: dict[str, dict[str, Any]] = {}
        self._read()

    def _read(self) -> None:
        path = self.folder / FILE
        value = read_json(path) if path.exists() else {"tasks": {}}
        if not isinstance(value, dict) or not isinstance(value.get("tasks"), dict):
            raise InputError(f"{path}: not the record of a pipeline; name another --out")
        self._tasks = value["tasks"]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for writing; InputError where another pipeline has it."""
        lock = lock_folder(self.folder, "another `steper run` is at work there", (FILE,))
        try:
            self._read()  # another pipeline may have written since
            yield
        finally:
            lock.release()

    def status(self, task: Task) -> Status | None:
        """A task's status; None where it was never begun."""
        status: Status | None = self._tasks.get(task.id, {}).get("status")
        return status

    def seconds(self, task: Task) -> float:
        """How long a task has been worked on."""
        return float(self._tasks.get(task.id, {}).get("seconds", 0.0))

    def differences(self, task: Task) -> list[str]:
        """`name is A there, B now` for all that decides a task's result and has changed."""
        old = without_secrets(self._tasks.get(task.id, {}).get("key"))
        return list(differing(old, as_json(task.key)))

    def write(self, task: Task, status: Status, seconds: float = 0.0) -> None:
        """Write a task's stamp."""
        stamp = {"status": status, "key": as_json(task.key), "seconds": round(seconds, 3)}
        self._tasks[task.id] = stamp
        self._save()

    def make_stale(self, tasks: Iterable[Task]) -> None:
        """Mark those of the tasks that were begun as to be done anew."""
        for task in tasks:
            if task.id in self._tasks:
                self._tasks[task.id]["status"] = "stale"
        self._save()

    def _save(self) -> None:
        value = {"schema_version": SCHEMA_VERSION, "tasks": self._tasks, **provenance()}
        write_json(self.folder / FILE, value)


@dataclass(frozen=True)
class PlannedTask:
    """A task of the plan with how far it is, and why it is not done where it differs."""

    task: Task
    state: State
    reasons: tuple[str, ...] = ()
    wanted: bool = True


def make_plan(
    tasks: Sequence[Task],
    stamps: Stamps,
    stages: Sequence[str] = (),
    overwrite_from: str | None = None,
) -> list[PlannedTask]:
    """How far each task is; `stages` are those wanted (all without), see `--overwrite-from`."""
    wanted = check_stages(stages) or STAGES
    anew = stages_from(overwrite_from) if overwrite_from else ()
    plan, redone = [], set[str]()
    for task in tasks:
        state, reasons = _state(task, stamps)
        # Rounds build and train again after what an earlier one trained.
        if anew and stamps.status(task) and (task.stage in anew or redone & set(task.needs)):
            state, reasons = "again", []
            redone.add(task.id)
        plan.append(PlannedTask(task, state, tuple(reasons), task.stage in wanted))
    return plan


def _state(task: Task, stamps: Stamps) -> tuple[State, list[str]]:
    status = stamps.status(task)
    if status is None:
        return "to do", []
    if status == "stale":
        return "again", []
    reasons = stamps.differences(task)
    if reasons:
        derived = task.derived or task.stage in DERIVED
        return ("again" if derived else "differs"), reasons
    if status == "running":
        return "resume", []
    return ("done", []) if task.output.exists() else ("to do", [])


def stages_left(plan: Iterable[PlannedTask]) -> set[Stage]:
    """The stages of which a wanted task is not done."""
    return {p.task.stage for p in plan if p.wanted and p.state != "done"}


def check_plan(plan: Sequence[PlannedTask], out: Path) -> None:
    """Refuse a plan that mixes settings, or whose wanted stages lack what they build on.

    Raises SettingsError, naming the first stage that differs, the settings, and how to go on.
    """
    for planned in plan:
        if planned.state == "differs" and planned.wanted:
            itself = [reason for reason in planned.reasons if not reason.startswith("after.")]
            stage, shown = planned.task.stage, listed(itself or planned.reasons)
            raise SettingsError(
                f"stage {stage} ({planned.task.name}) was done in {out} with other settings: "
                f"{shown}. To do it and all that follows anew: --overwrite-from {stage}; to keep "
                "both: another --out"
            )
    there = {planned.task.id for planned in plan if planned.state == "done"}
    for planned in plan:
        if not planned.wanted or planned.state == "done":
            continue
        missing = next((need for need in planned.task.needs if need not in there), None)
        if missing:
            raise SettingsError(
                f"stage {planned.task.stage} needs {missing}, which is not done; add "
                f"{missing.partition('/')[0]} to --stages, or leave --stages out"
            )
        there.add(planned.task.id)


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


def in_order(tasks: Sequence[Task], made: Mapping[str, Task]) -> list[Task]:
    """Tasks in their order, but each after those of `made` that it needs."""
    placed: dict[str, Task] = {}

    def place(task: Task) -> None:
        if task.id not in placed:
            for need in task.needs:
                if need in made:
                    place(made[need])
            placed[task.id] = task

    for task in tasks:
        place(task)
    return list(placed.values())
