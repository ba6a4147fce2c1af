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
from steper.pipeline.config import PipelineSettings
from steper.pipeline.plan import STAGES, PlannedTask, Stage, Stamps, Task
from steper.pipeline.tune_settings import Trial, values_of
from steper.pipeline.tuning import values_tried
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
    """What a task goes through: so many questions or trajectories, with this model.

    The rate is that of the `stage`.
    """

    count: float
    model: str
    stage: Stage


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
            seconds = 0.0
            for size in sizes_of(study, task):
                here = measured.get((size.stage, size.model))
                rate = rates.seconds(size.stage, size.model) if here is None else here
                if rate is None:
                    unknown[size.model] = None
                    continue
                sources[rates.about if here is None else HERE] = None
                seconds += rate * size.count
            hours += max(seconds - stamps.seconds(task), 0.0) / 3600
        found.append(StageEstimate(stage, len(waiting), hours, tuple(sources), tuple(unknown)))
    return found


def _measured(
    study: Study, plan: Sequence[PlannedTask], stamps: Stamps
) -> dict[tuple[Stage, str], float]:
    """Core-seconds a question or trajectory, by stage and model, of the tasks that are done."""
    spent: dict[tuple[Stage, str], tuple[float, float]] = {}
    for planned in plan:
        task = planned.task
        sizes = sizes_of(study, task) if planned.state == "done" and task.stage not in QUICK else []
        if len(sizes) == 1:  # of several nobody knows what each took
            (size,) = sizes
            cores = (os.cpu_count() or 1) if task.load in ("large", "alone") else 1
            seconds, count = spent.get((size.stage, size.model), (0.0, 0.0))
            total = seconds + cores * stamps.seconds(task)
            spent[size.stage, size.model] = total, count + size.count
    return {key: seconds / count for key, (seconds, count) in spent.items() if count}


def sizes_of(study: Study, task: Task) -> list[Size]:
    """What a task of a study goes through: of most one thing, of a trial its training and a run."""
    cell, given = _given(study, task)
    settings = cell.settings
    if task.stage == "tune":
        return _tuning_sizes(cell, **given)
    if task.stage == "train" and task.load == "none":
        return []  # it is taken from elsewhere
    return [Size(*_size(cell, settings, task, given), task.stage)]


def _size(
    cell: CellWorkspace, settings: PipelineSettings, task: Task, given: dict[str, Any]
) -> tuple[float, str]:
    """(count, model) of a task."""
    if task.stage == "base":
        return 1, settings.students[given["student"]].model
    if task.stage == "world":
        world = cell.data_set(given["data"]).settings.world
        assert world is not None
        return world.train + world.test, ""
    if task.stage == "teach":
        return _train_count(cell, given["data"]), settings.teacher.model
    if task.stage == "build":
        return _train_count(cell, given["data"]), ""
    if task.stage == "train":
        return _passes(cell, **given), settings.students[given["student"]].model
    if task.stage in ("collect", "relabel"):
        share = settings.recipes[given["method"]].teacher_share
        student = settings.students[given["student"]].model
        model = student if task.stage == "collect" else settings.teacher.model
        return (1 - share) * _train_count(cell, given["data"]), model
    if task.stage == "eval":
        return _test_count(cell, given["data"]), cell.model_of(given["eval_run"])
    return 0, ""


def _tuning_sizes(
    cell: CellWorkspace,
    data: str,
    student: str = "",
    method: str = "",
    trial: Trial | None = None,
) -> list[Size]:
    """Of a world's development questions, a choice or a trial."""
    tune = cell.settings.tune
    assert tune is not None
    if not student:
        return [Size(tune.questions, "", "world")]
    if trial is None:
        return []
    model = cell.settings.students[student].model
    passes = _passes(cell, data, student, method, tune.seed, values_of(trial.values, "train"))
    return [Size(passes, model, "train"), Size(tune.questions, model, "eval")]


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


def _passes(
    cell: CellWorkspace,
    data: str,
    student: str,
    method: str,
    seed: int,
    over: dict[str, Any] | None = None,
) -> float:
    """Trajectories that a training goes through, each pass counted; all questions' are taken.

    `over` are a trial's values. What is chosen later is taken as the longest that it may be.
    """
    tried = [values_of(values, "train") for values in values_tried(cell.settings, method)]
    learnt = cell.settings.example_settings(method).questions or math.inf
    counts = []
    for values in tried if over is None else [over]:
        train = cell.settings.train_settings(method, seed, student, values)
        passes = train.epochs * min(_train_count(cell, data), learnt)
        counts.append(train.max_steps * train.batch_size if train.max_steps else passes)
    return max(counts)
