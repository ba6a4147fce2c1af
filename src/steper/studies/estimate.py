"""How long a study will take, before it is begun: core-hours by stage, and where they come from.

Tasks are counted in questions (training: in trajectories, once for each pass), each at a rate: that
of the tasks of the same stage and model that are done in the study's folder, else that of a table
by the number of parameters, taken as linear from the nearest model in it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steper.errors import InputError
from steper.lm.model_source import count_stored_parameters
from steper.lm.shipped import model_folder
from steper.pipeline.plan import STAGES, PlannedTask, Stage, Stamps, Task
from steper.store import package_yaml, read_yaml
from steper.studies.cells import CellWorkspace
from steper.studies.study import Study

HERE = "measured in this folder"
QUICK: tuple[Stage, ...] = ("index", "compare", "report")
"""Stages that take no time worth a line."""
LIKE: dict[Stage, Stage] = {"collect": "eval", "relabel": "teach"}
"""Stages that do what another does, whose rate is taken: students answer, the teacher writes."""


@dataclass(frozen=True)
class StageEstimate:
    """Tasks of a stage that are not done: `hours` of one core, by rates from `sources`.

    The hours are without the tasks of the `unknown` models, for which there is no rate.
    """

    stage: Stage
    tasks: int
    hours: float
    sources: tuple[str, ...]
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Size:
    """What a task goes through: so many questions or trajectories, with this model."""

    count: float
    model: str


class Rates:
    """Seconds of one core by stage and number of parameters, as `rates.yaml` has them."""

    def __init__(self, path: Path | None = None) -> None:
        """The table of the package or, in the same form, of a file; InputError for another form."""
        value = read_yaml(path) if path else package_yaml(__package__, "rates.yaml")
        rates = value.get("rates") if isinstance(value, dict) else None
        if not isinstance(rates, dict) or not all(map(_is_table, rates.values())):
            raise InputError(f"{path}: `rates: {{STAGE: {{PARAMETERS: SECONDS}}}}` was expected")
        self.about = str(value.get("about", path))
        self._rates: Mapping[str, Mapping[float, float]] = rates

    def seconds(self, stage: Stage, model: str) -> float | None:
        """Seconds of one core for one question or trajectory; None where nothing is known."""
        table = self._rates.get(stage) or self._rates.get(LIKE.get(stage, stage))
        if not table:
            return None
        if 0 in table:
            return table[0]
        size = count_stored_parameters(model_folder(model))
        if size is None:
            return None
        near = min(table, key=lambda known: abs(math.log(known / size)))
        return table[near] * size / near


def _is_table(value: object) -> bool:
    numbers = (int, float)
    return isinstance(value, dict) and all(
        isinstance(k, numbers) and isinstance(v, numbers) for k, v in value.items()
    )


def estimate(
    study: Study, plan: Sequence[PlannedTask], rates: Rates | None = None
) -> list[StageEstimate]:
    """What is left of a study, stage by stage; reads question files for their lengths."""
    rates, stamps = rates or Rates(), Stamps(study.out)
    measured = _measured(study, plan, stamps)
    found = []
    for stage in STAGES:
        asked = (p for p in plan if p.task.stage == stage and p.wanted)
        waiting = [p.task for p in asked if p.state != "done"]
        if not waiting or stage in QUICK:
            continue
        hours = 0.0
        sources, unknown = dict[str, None](), dict[str, None]()
        for task in waiting:
            size = size_of(study, task)
            here = measured.get((stage, size.model))
            rate = rates.seconds(stage, size.model) if here is None else here
            if rate is None:
                unknown[size.model] = None
                continue
            sources[rates.about if here is None else HERE] = None
            hours += max(rate * size.count - stamps.seconds(task), 0.0) / 3600
        found.append(StageEstimate(stage, len(waiting), hours, tuple(sources), tuple(unknown)))
    return found


def _measured(
    study: Study, plan: Sequence[PlannedTask], stamps: Stamps
) -> dict[tuple[Stage, str], float]:
    """Core-seconds a question or trajectory, by stage and model, of the tasks that are done."""
    spent: dict[tuple[Stage, str], tuple[float, float]] = {}
    for planned in plan:
        task = planned.task
        if planned.state == "done" and task.stage not in QUICK:
            size = size_of(study, task)
            cores = (os.cpu_count() or 1) if task.load in ("large", "alone") else 1
            seconds, count = spent.get((task.stage, size.model), (0.0, 0.0))
            total = seconds + cores * stamps.seconds(task)
            spent[task.stage, size.model] = total, count + size.count
    return {key: seconds / count for key, (seconds, count) in spent.items() if count}


def size_of(study: Study, task: Task) -> Size:
    """What a task of a study goes through."""
    cell, given = _given(study, task)
    settings = cell.settings
    if task.stage == "base":
        return Size(1, settings.students[given["student"]].model)
    if task.stage == "world":
        world = cell.data_set(given["data"]).settings.world
        assert world is not None
        return Size(world.train + world.test, "")
    if task.stage == "teach":
        return Size(_train_count(cell, given["data"]), settings.teacher.model)
    if task.stage == "build":
        return Size(_train_count(cell, given["data"]), "")
    if task.stage == "train":
        model = settings.students[given["student"]].model
        return Size(_passes(cell, **given), model)
    if task.stage in ("collect", "relabel"):
        share = settings.recipes[given["method"]].teacher_share
        student = settings.students[given["student"]].model
        model = student if task.stage == "collect" else settings.teacher.model
        return Size((1 - share) * _train_count(cell, given["data"]), model)
    if task.stage == "eval":
        return Size(_test_count(cell, given["data"]), cell.model_of(given["eval_run"]))
    return Size(0, "")


def _given(study: Study, task: Task) -> tuple[CellWorkspace, dict[str, Any]]:
    """The cell of a task, and what its stage is told; see `cells.make_cell`."""
    outer: Any = task.work
    return study.cells[outer.keywords["cell"]].workspace, outer.keywords["work"].keywords


def _train_count(cell: CellWorkspace, data: str) -> int:
    settings = cell.data[data].settings
    every = settings.world.train if settings.world else None
    return settings.train_size or every or len(cell.data[data].train)


def _test_count(cell: CellWorkspace, data: str) -> int:
    settings = cell.data_set(data).settings
    every = settings.world.test if settings.world else None
    return settings.test_size or every or len(cell.data_set(data).test)


def _passes(cell: CellWorkspace, data: str, student: str, method: str, seed: int) -> float:
    """Trajectories that a training goes through, each pass counted; all questions' are taken."""
    train = cell.settings.train_settings(method, seed, student)
    if train.max_steps is not None:
        return train.max_steps * train.batch_size
    learnt = cell.settings.example_settings(method).questions or math.inf
    return train.epochs * min(_train_count(cell, data), learnt)
