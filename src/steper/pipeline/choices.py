"""What tuning chose, as the tasks after it read it and as tables tell it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from steper.artifact import MANIFEST
from steper.examples.example_settings import ExampleSettings
from steper.pipeline.tune_settings import Trial, TuneMetric, described, split, values_of
from steper.pipeline.tuning import taken_values, tuned_as
from steper.pipeline.workspace import EvalRun, Workspace
from steper.records import Record
from steper.store import read_json, write_json
from steper.training.train_settings import TrainSettings

CHOICE = "choice.json"

Whose = tuple[str, str, str, int]
"""Data set, student, method and seed."""


class Tried(Record):
    """A trial with its scores on the development questions, as fractions."""

    values: dict[str, Any]
    em: float
    f1: float
    acc: float
    steps: int
    tokens: int
    seconds: float


class Choice(Record):
    """What was tried for a method, in the grid's order, and the values that were best.

    `folder` is the best trial's name; `refused` has the combinations that the method's settings or
    recipe do not allow, and why.
    """

    version: int = 1
    metric: TuneMetric
    questions: int
    seed: int
    chosen: dict[str, Any]
    folder: str
    tried: tuple[Tried, ...]
    refused: dict[str, str]


def trial_folder(ws: Workspace, data: str, student: str, method: str, trial: str) -> Path:
    """Where a trial goes: `student/`, its run over the development questions `dev/`, its scores."""
    return ws.folder("tune", data, student, method, trial)


def choice_file(ws: Workspace, data: str, student: str, method: str) -> Path:
    """Where the choice for a method goes."""
    return ws.folder("tune", data, student, method, CHOICE)


def find_choice(ws: Workspace, data: str, student: str, method: str) -> Choice | None:
    """The choice by which a method is trained; None where it is not tuned."""
    by = tuned_as(ws.settings, method)
    if by is None:
        return None
    return Choice.model_validate(read_json(choice_file(ws, data, student, by)))


def _chosen(ws: Workspace, whose: Whose) -> dict[str, Any]:
    data, student, method, _ = whose
    choice = find_choice(ws, data, student, method)
    return taken_values(ws.settings, method, choice.chosen) if choice else {}


def example_settings(ws: Workspace, whose: Whose, trial: Trial | None = None) -> ExampleSettings:
    """Settings of a method's examples with the trial's values, else with what was chosen."""
    tune, method = ws.settings.tune, whose[2]
    if trial is None and (tune is None or not tune.names("examples")):
        return ws.settings.example_settings(method)
    values = trial.values if trial else _chosen(ws, whose)
    return ws.settings.example_settings(method, values_of(values, "examples"))


def train_settings(ws: Workspace, whose: Whose, trial: Trial | None = None) -> TrainSettings:
    """Settings of a student's training with the trial's values, else with what was chosen."""
    _, student, method, seed = whose
    values = trial.values if trial else _chosen(ws, whose)
    return ws.settings.train_settings(method, seed, student, values_of(values, "train"))


def built(ws: Workspace, whose: Whose, trial: Trial | None = None) -> Path:
    """Where examples go: a trial has its own where the grid has settings of examples."""
    if trial is None or not trial.built:
        return ws.built(*whose)
    data, student, method, _ = whose
    return ws.folder("build", data, student, f"{method}.{trial.built}")


def trained_trial(ws: Workspace, whose: Whose) -> Path | None:
    """The best trial's student, where it has the seed of the one that is to be trained."""
    data, student, method, seed = whose
    if ws.settings.tune is None or not is_trial(ws, method, seed):
        return None
    choice = find_choice(ws, data, student, method)
    assert choice is not None
    return trial_folder(ws, data, student, method, choice.folder) / "student"


def is_trial(ws: Workspace, method: str, seed: int) -> bool:
    """Whether a student is the best trial's: of a method with trials, of their seed."""
    tune = ws.settings.tune
    return tune is not None and tune.seed == seed and tuned_as(ws.settings, method) == method


def record_choice(ws: Workspace, whose: Whose) -> None:
    """Say in a trained student's manifest what was chosen for it, and among what."""
    data, student, method, _ = whose
    if ws.settings.tune is None:
        return
    choice, by = find_choice(ws, data, student, method), tuned_as(ws.settings, method)
    told: dict[str, Any] = {"values": {}}
    if choice is not None:
        told = {
            "values": _chosen(ws, whose),
            "method": method,
            "by": by,
            **choice.model_dump(mode="json", exclude={"version", "chosen", "folder"}),
        }
    path = ws.trained(*whose) / MANIFEST
    write_json(path, {**read_json(path), "tuned": told})


NOT_TUNED = "not tuned"


def at_edge(values: Mapping[str, Any], tried: Sequence[Mapping[str, Any]]) -> list[str]:
    """`the least lr tried`, for each chosen number beyond which none was tried on one side.

    What is best may then lie outside the grid.
    """
    found = []
    for place, value in values.items():
        others = {one[place] for one in tried if place in one}
        if len(others) < 2 or not all(isinstance(o, (int, float)) for o in others):
            continue
        name = split(place)[1].replace("_", " ")
        if value in (min(others), max(others)):
            found.append(f"the {'least' if value == min(others) else 'most'} {name} tried")
    return found


def note(ws: Workspace, run: EvalRun) -> str:
    """What tables say of a trained student: `lr 0.00075 (of 3 tried on 500 dev questions)`, and
    where that is at the grid's edge.

    Of one that follows another method: `lr 0.00075 (as steper)`. Empty for all others, and where
    nothing is tuned.
    """
    if ws.settings.tune is None or run.trained is None:
        return ""
    told = read_json(run.trained / MANIFEST).get("tuned")
    if not told or not told["values"]:
        return NOT_TUNED
    how = f"of {len(told['tried'])} tried on {told['questions']} dev questions"
    if told["by"] != told["method"]:
        how = f"as {told['by']}"
    how = ", ".join([how, *at_edge(told["values"], [one["values"] for one in told["tried"]])])
    return f"{described(told['values'])} ({how})"


def notes(ws: Workspace, data: str) -> tuple[str, ...]:
    """`METHOD: lr 0.00075 (…)` of each trained row, in their order."""
    runs = [run for run in ws.eval_runs(data) if not run.also]
    found = {run.method: note(ws, run) for run in runs}
    return tuple(f"{method}: {told}" for method, told in found.items() if told)
