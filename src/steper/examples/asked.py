"""How a run's teacher was asked, and how a recipe's students will be: strategies and prompts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from steper.artifact import differing, listed
from steper.errors import InputError, SettingsError
from steper.examples.example_settings import ExampleSettings
from steper.prompt.render import PromptSettings, recorded_prompt
from steper.prompt.segments import Form
from steper.prompt.words import SHOWN, demonstrations
from steper.recipes import Recipe
from steper.store import field_error
from steper.strategy import STRATEGIES, StepSettings, Strategy
from steper.strategy.context import ContextSettings
from steper.strategy.readers import READERS

if TYPE_CHECKING:
    from steper.examples.build import Build


def asked_strategies(
    recipe: Recipe,
    settings: ExampleSettings,
    kind: type[Strategy[Any]],
    own: dict[str, Any],
    teachers: PromptSettings,
    place: str,
) -> tuple[Strategy[Any], Strategy[Any]]:
    """(the teacher's strategy in the student's form and prompts, the student's).

    `own` are the teacher's settings of the strategy `kind`, `teachers` those of its prompts; they
    stand at `place`. Raises InputError for settings that the strategy does not have.
    """
    inference = recipe.asked(settings.target)
    form = inference.form if inference.form and "form" not in settings.model_fields_set else None
    prompt = settings.prompt(teachers, inference)
    whose = f"{place}, with the inference of recipe {recipe.name}" if inference.settings else place
    given = {} if inference.strategy else inference.settings
    teacher = _strategy(kind, {**own, **given}, prompt, form or settings.form, whose)
    if not inference.strategy:
        return teacher, teacher
    other = STRATEGIES.find(inference.strategy)
    values = {**_limits(teacher.settings, other), **inference.settings}
    return teacher, _strategy(other, values, prompt, teacher.form, whose)


def _limits(own: StepSettings, other: type[Strategy[Any]]) -> dict[str, Any]:
    """A run's limits of passages and steps, for a student of another strategy that has them."""
    names = {*ContextSettings.model_fields, "max_steps"}
    return {
        k: v
        for k, v in own.model_dump().items()
        if k in names & {*other.settings_type.model_fields}
    }


def teachers_prompt(value: Any, manifest: Path) -> PromptSettings:
    """The prompt settings that a run's manifest records; InputError where they are none."""
    try:
        return PromptSettings.model_validate(recorded_prompt(value))
    except ValidationError as error:
        raise InputError(f"{manifest}: settings.prompt.{field_error(error)}") from None


def _strategy(
    kind: type[Strategy[Any]], own: dict[str, Any], prompt: PromptSettings, form: Form, place: str
) -> Strategy[Any]:
    try:
        settings = kind.settings_type.model_validate(own)
    except ValidationError as error:
        raise InputError(f"{place}: settings.strategy.{field_error(error)}") from None
    return kind(settings, prompt, form)


def check_recipe(
    recipe: Recipe, settings: ExampleSettings, student: Strategy[Any], corpus: bool, judge: bool
) -> None:
    """Refuse what the recipe cannot make, with a SettingsError; whether corpus and judge are there.

    `student` is the strategy as the student will be asked.
    """
    if recipe.check is not None:
        recipe.check(settings.target, settings.end_of_turn, student)
    if recipe.rank is not None and not recipe.asked(settings.target).reranker:
        raise SettingsError(
            f"recipe {recipe.name} has rankings (`rank`) and its inference names no `reranker` to "
            'make of them; name a folder: Inference(…, reranker="reranker")'
        )
    judges = recipe.judges or (recipe.labels and settings.labels == "judge")
    for needed, there, what in (
        (recipe.searches, corpus, "searches, so it needs a corpus: --corpus"),
        (judges, judge, "asks a judge, so it needs a model for it: --judge"),
    ):
        if needed and not there:
            raise SettingsError(f"recipe {recipe.name} {what}")


def check_alike(first: Build, others: Iterable[Build]) -> None:
    """Refuse runs of which a student would learn to be asked in two ways."""
    for other in others:
        for what, of in (("prompt", _prompt_of), ("strategy", _strategy_of)):
            differences = list(differing(of(first), of(other)))
            if differences:
                raise SettingsError(
                    f"{first.run.path} and {other.run.path} would teach a student two ways of "
                    f"being asked ({what}: {listed(differences)}); make both with the same "
                    "settings, or set the examples' own (--demos, --layout, …)"
                )


def _prompt_of(build: Build) -> dict[str, Any]:
    return build.student.prompt.model_dump(mode="json")


def _strategy_of(build: Build) -> dict[str, Any]:
    return build.student.fingerprint()


_USUAL = (SHOWN, "", False)


def wording_hash(strategy: Strategy[Any]) -> str:
    """Short hash of all fixed words that prompts of this strategy and its readers are made of."""
    digest = hashlib.sha256()
    for words in (strategy.words, *(reader.words for reader in READERS.values())):
        fixed = (words.name, words.head, words.cue, words.lead, words.turn_cue, words.turn_lead)
        shown = (words.shown, words.nothing, words.numbered)
        # What stands as it always did is left out, so that earlier examples have the same hash.
        digest.update(repr(fixed if shown == _USUAL else (*fixed, *shown)).encode())
        instruction = words.instruct(strategy.prompt.written_anew)
        digest.update(instruction.encode() if strategy.prompt.instruction else b"")
        for demo in demonstrations()[: strategy.prompt.demos]:
            digest.update(repr((demo.question, words.demonstrate(demo))).encode())
    return digest.hexdigest()[:16]
