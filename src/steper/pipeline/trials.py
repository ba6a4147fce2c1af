"""The stage `tune`: students are trained with each combination of the grid, and the best is chosen.

A trial is trained and asked as the student that comes of it would be, but on development questions.
"""

from __future__ import annotations

from typing import Any

from steper.errors import InputError
from steper.evaluation.methods import METRIC_NAMES
from steper.evaluation.scoring import Evaluation
from steper.evaluation.tables import with_interval
from steper.pipeline.choices import (
    Choice,
    Tried,
    built,
    choice_file,
    train_settings,
    trial_folder,
)
from steper.pipeline.plan import Advance
from steper.pipeline.stages import ask, train_on, trained_line
from steper.pipeline.tune_settings import Trial, described
from steper.pipeline.tuning import trials_of
from steper.pipeline.workspace import EvalRun, Workspace
from steper.store import read_json, write_json
from steper.student import score_and_write
from steper.text import percent

TRIAL = "trial.json"


def make_dev(ws: Workspace, overwrite: bool, advance: Advance, *, data: str) -> str:
    """Write the development questions of a data set's world; its other files stay as they are."""
    from steper.data.world import make_world as generate
    from steper.data.world.generate import official_row

    source = ws.data[data]
    settings, path = source.settings.world, source.dev_made
    assert settings is not None
    assert path is not None
    world = generate(settings.seed, settings.domain, {"dev": source.dev_size})
    write_json(path, [official_row(world, question) for question in world.questions["dev"]])
    ws.check_dev(data)
    return f"{len(source.dev)} development questions of the world"


def run_trial(
    ws: Workspace,
    overwrite: bool,
    advance: Advance,
    *,
    data: str,
    student: str,
    method: str,
    trial: Trial,
) -> str:
    """Train a student with a trial's values and ask it the development questions."""
    tune, source = ws.settings.tune, ws.data[data]
    assert tune is not None
    whose = (data, student, method, tune.seed)
    folder = trial_folder(ws, data, student, method, trial.name)
    trained = train_on(
        ws,
        built(ws, whose, trial),
        ws.begins_with(*whose),
        folder / "student",
        train_settings(ws, whose, trial),
        overwrite,
        advance,
    )
    asking = EvalRun(method, method, method, folder / "dev", student, folder / "student", data)
    run = ask(ws, data, asking, source.dev, source.dev_file, overwrite, advance)
    scores = _answers(score_and_write(run.path, ws.settings.evaluate.bootstrap), data)
    done = trained.manifest["trained"]
    tried = Tried(
        values=trial.values,
        **{name: getattr(scores, name).value for name in ("em", "f1", "acc")},
        **{name: done[name] for name in ("steps", "tokens", "seconds")},
    )
    write_json(folder / TRIAL, tried.model_dump(mode="json"))
    shown = getattr(scores, tune.metric)
    asked = f"{METRIC_NAMES[tune.metric]} {with_interval(shown)} on {len(source.dev)} dev questions"
    return f"{asked}; {trained_line(trained.manifest)}"


def _answers(evaluation: Evaluation, data: str) -> Any:
    """The scores of all answers; InputError where there are none to choose by."""
    scores = evaluation.metrics.overall.answers
    if scores is None:
        raise InputError(f"data.{data}: no development question has an answer to choose by")
    return scores


def choose(
    ws: Workspace, overwrite: bool, advance: Advance, *, data: str, student: str, method: str
) -> str:
    """Choose the trial that is best on the development questions: of equal ones the first."""
    tune, found = ws.settings.tune, trials_of(ws.settings, method)
    assert tune is not None
    folders = [trial_folder(ws, data, student, method, trial.name) for trial in found.tried]
    tried = [Tried.model_validate(read_json(folder / TRIAL)) for folder in folders]
    scores = [float(getattr(one, tune.metric)) for one in tried]
    best = scores.index(max(scores))
    choice = Choice(
        metric=tune.metric,
        questions=tune.questions,
        seed=tune.seed,
        chosen=found.tried[best].values,
        folder=found.tried[best].name,
        tried=tuple(tried),
        refused=found.refused,
    )
    write_json(choice_file(ws, data, student, method), choice.model_dump(mode="json"))
    each = "; ".join(
        f"{described(one.values)} {percent(score)}"
        for one, score in zip(tried, scores, strict=True)
    )
    equal = "; the first of equal ones" if scores.count(scores[best]) > 1 else ""
    refused = f"; not for its recipe: {', '.join(found.refused)}" if found.refused else ""
    metric = METRIC_NAMES[tune.metric]
    return f"{described(choice.chosen)} is best by {metric}, %: {each}{equal}{refused}"
