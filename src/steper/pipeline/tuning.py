"""Which methods are tuned, and what is tried for each: all that is known before anything is run.

A method that is trained by itself is tried with every combination of the grid. One that follows
another takes what was chosen for it: with `student_of` its students are that one's, with
`states_of` it is compared with that one, with `tokens_of` or `seconds_of` it is the file's method
of the same recipe for another length (the method that it is as long as, where there is none).
Methods that train a trained student on are not tuned: their rates are of another kind.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

from pydantic import BaseModel

from steper.errors import SteperError, unknown_name
from steper.examples.asked import asked_strategies, check_recipe
from steper.examples.example_settings import ExampleSettings
from steper.pipeline.config import PipelineSettings
from steper.pipeline.sections import PlacedError, SectionError
from steper.pipeline.tune_settings import SECTIONS, Trial, described, split
from steper.recipes import RECIPES
from steper.store import field_error
from steper.training.train_settings import TrainSettings

LENGTHS = {"train.epochs", "train.max_steps", "train.max_tokens"}
"""What a method with `tokens_of` or `seconds_of` takes from another method, not from the choice."""

FIXED = {
    "train.seed": "all trials have the seed of tune.seed",
    **dict.fromkeys(
        ("train.teacher", "train.reranker", "train.sharding"),
        "it names a model or a file; write a method for each",
    ),
    "examples.recipe": "recipes are named in section recipes",
    "examples.seed": "methods would learn from other questions",
    "examples.questions": "methods would learn from more questions or fewer",
}
"""Settings that cannot be tried, and why."""

_CLASSES: dict[str, type[BaseModel]] = {"train": TrainSettings, "examples": ExampleSettings}


def tuned_as(settings: PipelineSettings, method: str) -> str | None:
    """The method by whose trials a method's values are chosen: itself, or the one it follows.

    None for one that is not tuned.
    """
    own = settings.recipes[method]
    if settings.tune is None or settings.trains_on(method):
        return None
    followed = own.student_of or own.states_of
    if followed is None and not own.by_itself:
        followed = settings.rate_of(method) or own.tokens_of or own.seconds_of
    return method if followed is None else tuned_as(settings, followed)


def taken_values(settings: PipelineSettings, method: str, chosen: dict[str, Any]) -> dict[str, Any]:
    """Those of the chosen values that a method takes: one that follows keeps its own settings."""
    if tuned_as(settings, method) == method:
        return chosen
    own = settings.recipes[method]
    left = {f"{section}.{name}" for section in SECTIONS for name in getattr(own, section)}
    if own.tokens_of or own.seconds_of:
        left |= LENGTHS
    return {place: value for place, value in chosen.items() if place not in left}


@dataclass(frozen=True)
class Trials:
    """What is tried for a method, and the combinations that its settings or recipe refuse."""

    tried: tuple[Trial, ...]
    refused: dict[str, str]


def trials_of(settings: PipelineSettings, method: str) -> Trials:
    """What is tried for a method that is tuned by itself, in the grid's order."""
    tried, refused = list[Trial](), dict[str, str]()
    for combination in _combinations(settings):
        found = _trial(settings, method, combination)
        if isinstance(found, Trial):
            tried.append(found)
        else:
            refused[described(combination)] = found
    return Trials(tuple(tried), refused)


def values_tried(settings: PipelineSettings, method: str) -> list[dict[str, Any]]:
    """The values that a method may come to be trained with; one `{}` where it is not tuned."""
    name = tuned_as(settings, method)
    if name is None:
        return [{}]
    return [taken_values(settings, method, t.values) for t in trials_of(settings, name).tried]


def _combinations(settings: PipelineSettings) -> Iterator[dict[str, Any]]:
    assert settings.tune is not None
    grid = settings.tune.grid
    for values in product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def _trial(settings: PipelineSettings, method: str, given: dict[str, Any]) -> Trial | str:
    """A combination with its values as the settings have them, or why there is no such trial."""
    assert settings.tune is not None
    wanted = Trial(given)
    student = next(iter(settings.students))
    try:
        found = {
            "train": settings.train_settings(
                method, settings.tune.seed, student, wanted.over("train")
            ),
            "examples": settings.example_settings(method, wanted.over("examples")),
        }
        if settings.tune.names("examples"):
            check_asked(settings, method, wanted.over("examples"), {})
    except SectionError as error:
        return field_error(error.error)
    except SteperError as error:
        return str(error)
    dumped = {section: made.model_dump(mode="python") for section, made in found.items()}
    return Trial({place: dumped[at][name] for place in given for at, name in [split(place)]})


def check_asked(
    settings: PipelineSettings, method: str, over: dict[str, Any], more: dict[str, Any]
) -> None:
    """Refuse, as a SettingsError or InputError, examples that a method's recipe cannot make.

    `over` are settings of the examples, `more` settings of the strategy, over the method's own.
    """
    examples = settings.example_settings(method, over)
    recipe, kind = RECIPES.find(examples.recipe), settings.strategy_kind
    judge, prompt = settings.recipes[method].judge is not None, settings.teacher.prompt
    own = {**settings.strategy_settings.model_dump(), **more}
    place = f"recipes.{method}"
    _, student = asked_strategies(recipe, examples, kind, own, prompt, place)
    check_recipe(recipe, examples, student, kind.searches, judge)


def check_tuning(settings: PipelineSettings) -> None:
    """Refuse, as a SettingsError with its place, what cannot be tried."""
    if settings.tune is None:
        return
    for place in settings.tune.grid:
        _check_key(place)
    tuned = [m for m in settings.recipes if tuned_as(settings, m) == m]
    for method in tuned:
        for place in settings.tune.grid:
            section, name = split(place)
            if name in getattr(settings.recipes[method], section):
                raise PlacedError(
                    ("recipes", method, section, name),
                    f"recipes.{method}.{place} is set, and tune.grid tries {place} for each "
                    "method alike: leave one of them out",
                )
    _check_values(settings, {method: trials_of(settings, method) for method in tuned})
    most = _most_of_a_world()
    if settings.tune.questions > most and any(d.world for d in settings.data.values()):
        raise PlacedError(
            ("tune", "questions"),
            f"tune.questions is {settings.tune.questions}; a generated world has {most} "
            "development questions at most",
        )


@cache
def _most_of_a_world() -> int:
    from steper.data.world.generate import MOST_QUESTIONS

    return MOST_QUESTIONS


def _check_key(place: str) -> None:
    section, name = split(place)
    at, known = ("tune", "grid", *place.split(".")), _CLASSES.get(section)
    if known is None or not name:
        raise PlacedError(
            at,
            f"tune.grid.{place}: a setting of {' or '.join(SECTIONS)} was expected, such as "
            "train.lr",
        )
    if name not in known.model_fields:
        unknown = unknown_name(f"setting of {section}", name, known.model_fields)
        raise PlacedError(at, f"tune.grid.{place}: {unknown}")
    if place in FIXED:
        raise PlacedError(at, f"tune.grid.{place} cannot be tried: {FIXED[place]}")


def _check_values(settings: PipelineSettings, trials: dict[str, Trials]) -> None:
    """Refuse a value that no method can be tried with, or that stands twice, and a method that
    is left without any.
    """
    assert settings.tune is not None
    for place, values in settings.tune.grid.items():
        at = ("tune", "grid", *place.split("."))
        for value in values:
            reasons = list[str]()
            for method, given in product(trials, _combinations(settings)):
                found = _trial(settings, method, given) if given[place] == value else ""
                if isinstance(found, Trial):
                    break
                reasons += filter(None, [found])
            else:
                refusal = reasons[0].removeprefix(f"{split(place)[1]}: ")
                told = "" if repr(value) in refusal else f"{value!r} is refused: "
                raise PlacedError(at, f"tune.grid.{place}: {told}{refusal}")
    for method, own in trials.items():
        if not own.tried:
            raise PlacedError(
                ("tune", "grid"),
                f"tune.grid: no combination is one for recipes.{method} "
                f"({next(iter(own.refused.values()))})",
            )
        names = [trial.name for trial in own.tried]
        if len(set(names)) < len(names):
            twice = next(t for t in own.tried if names.count(t.name) > 1)
            raise PlacedError(
                ("tune", "grid"), f"tune.grid: {described(twice.values)} would be tried twice"
            )
