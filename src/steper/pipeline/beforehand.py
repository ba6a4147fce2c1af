"""What a run is told before its first task, though only a late one would come upon it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Container, Iterable, Iterator
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from steper.errors import InputError, ModelError, SettingsError
from steper.examples.student_form import model_tokenizer
from steper.lm.model_source import check_source
from steper.lm.open import check_model
from steper.lm.shipped import locate_model, without_scheme
from steper.pipeline.config import PipelineSettings
from steper.pipeline.plan import TRAINS, Stage
from steper.pipeline.tune_settings import described, values_of
from steper.pipeline.tuning import check_asked, values_tried
from steper.prompt.chat_template import check_arguments
from steper.prompt.segments import Form
from steper.recipes import RECIPES

log = logging.getLogger(__name__)


def check_beforehand(
    settings: PipelineSettings, stages: Collection[Stage], unmade: Container[str]
) -> None:
    """Look for what these stages would fail on; `unmade` are models that are yet to be made.

    Raises MissingExtraError where training packages are missing, SettingsError for examples that a
    recipe cannot make, for trainings that cannot learn the tokens that a recipe adds and for an
    argument that a model's chat template does not ask for, ModelError where a model, or a tokenizer
    that tells of one, is missing.
    """
    if "build" in stages:
        for method in settings.recipes:
            _check_examples(settings, method)
    check_models(settings, stages, unmade)
    if TRAINS & set(stages):
        import_module("steper.training.job")
        for method, student in product(settings.recipes, settings.students):
            _check_tokens(settings, method, student)
        _check_launch(settings)
    for use in _template_uses(settings, stages):
        spec = locate_model(use.model).removeprefix("hf:")
        if use.arguments and use.form != "plain" and spec not in unmade:
            tokenizer = model_tokenizer(spec, **use.options)
            form: Form = "chat" if getattr(tokenizer, "chat_template", None) else "plain"
            check_arguments(tokenizer, form, use.arguments, use.place)


def check_planned(
    settings: PipelineSettings, stages: Collection[Stage], unmade: Container[str]
) -> None:
    """What a dry run of these stages looks for: models, and how trainings are started."""
    check_models(settings, stages, unmade)
    if TRAINS & set(stages):
        _check_launch(settings)


def _check_launch(settings: PipelineSettings) -> None:
    """Refuse, before anything is paid for, trainings that could not be started as they are to be.

    Raises SettingsError, with the place in the configuration: a batch that the processes cannot
    share, sharding that would not be in force on this machine; InputError for its file.
    """
    launched = settings.launch.processes
    processes = launched if launched > 1 else int(os.environ.get("WORLD_SIZE", "1"))
    for method, student in product(settings.recipes, settings.students):
        if settings.recipes[method].student_of is not None:
            continue
        training = settings.train_settings(method, settings.seeds[0], student)
        if processes == 1 and training.sharding is None and not training.trainer:
            continue  # torch, which tells of GPUs, takes seconds to load
        from steper.training.processes import check_machine, check_shares

        try:
            check_shares(training, processes)
            asked = training.asked_sharding()
            if settings.ray_address is None:  # else the GPUs of other machines count
                check_machine(training, asked, processes, launched=launched > 1)
        except SettingsError as error:
            own = f"recipes.{method}." * bool(settings.recipes[method].train)
            raise SettingsError(f"{own}train: {error}") from None


def check_models(
    settings: PipelineSettings, stages: Collection[Stage], unmade: Container[str]
) -> None:
    """Look for the files of each model that these stages need and no task makes.

    Of hub names, servers and code nothing is asked. Raises, with the place in the configuration,
    ModelError where there is no model or its files cannot be read, MissingExtraError where a
    package is missing that they need.
    """
    for place, model, check in _models_needed(settings, stages):
        try:
            if model not in unmade and without_scheme(locate_model(model)) not in unmade:
                check(model)
        except (ModelError, InputError) as error:
            raise ModelError(f"{place}: {error}") from None


def _models_needed(
    settings: PipelineSettings, stages: Collection[Stage]
) -> Iterator[tuple[str, str, Callable[[str], object]]]:
    """(place in the configuration, model, how it is looked for) of all that is opened."""
    asked, needed = settings.evaluate, set(stages)
    if (TRAINS | {"build", "eval"}) & needed:
        for name, student in settings.students.items():
            yield f"students.{name}.model", student.model, _check_local
    evaluated = "eval" in needed and asked.teacher
    if {"teach", "relabel"} & needed or (evaluated and asked.teacher_model is None):
        yield "teacher.model", settings.teacher.model, check_model
    if evaluated and asked.teacher_model is not None:
        yield "evaluate.teacher_model", asked.teacher_model, check_model
    for name, method in settings.recipes.items():
        if "build" in needed and method.judge is not None:
            yield f"recipes.{name}.judge", method.judge, check_model
        if TRAINS & needed and method.student_of is None:
            for what in ("teacher", "reranker"):
                own = f"recipes.{name}." * (what in method.train)
                if model := method.train.get(what, getattr(settings.train, what)):
                    yield f"{own}train.{what}", str(model), _check_local


def _check_local(model: str) -> None:
    """Look for a model that is loaded here, whether its name says `hf:` or not."""
    check_source(without_scheme(locate_model(model)))


def _check_examples(settings: PipelineSettings, method: str) -> None:
    """Refuse what a method's recipe cannot make; say where its students are asked otherwise.

    With all values that tuning may choose for it.
    """
    place, kind = f"recipes.{method}", settings.strategy_kind
    of = settings.recipes[method].states_of
    if of is not None and settings.asked_by(of) is not kind:
        raise SettingsError(
            f"{place}.states_of: students of {of} are asked by the strategy "
            f"{settings.asked_by(of).name}, the teacher by {kind.name}; it cannot go on from theirs"
        )
    forms = _unique(values_of(v, "examples") for v in values_tried(settings, method))
    for over in forms:
        try:
            check_asked(settings, method, over, {})
        except SettingsError as error:
            raise SettingsError(f"{place}{_tried(over)}: {error}") from None
    for (name, asked), over in product(settings.evaluate.also.items(), forms):
        try:
            check_asked(settings, method, over, asked)
        except SettingsError as error:
            log.warning("evaluate.also.%s asks what %s did not teach: %s", name, place, error)


def _tried(over: dict[str, Any]) -> str:
    """What a message says of values that only a grid has."""
    return f" with {described(over)} (tune.grid)" if over else ""


def _unique(values: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({repr(one): one for one in values}.values())


def _check_tokens(settings: PipelineSettings, method: str, student: str) -> None:
    """Refuse what cannot learn the tokens that a recipe adds, which the training would do late.

    A method that takes another's student trains none.
    """
    recipe = RECIPES.find(settings.example_settings(method).recipe)
    if settings.recipes[method].student_of is not None:
        return
    place = f"recipes.{method}, students.{student}"
    for over in _unique(values_of(v, "train") for v in values_tried(settings, method)):
        training = settings.train_settings(method, settings.seeds[0], student, over)
        try:
            training.check_tokens(recipe.tokens)
        except SettingsError as error:
            raise SettingsError(f"{place}{_tried(over)}: {error}") from None


class _TemplateUse(NamedTuple):
    """What a model's chat template is told; `place` is where the configuration says so."""

    place: str
    model: str
    form: Form | None
    arguments: dict[str, Any]
    options: dict[str, Any]


def _template_uses(settings: PipelineSettings, stages: Collection[Stage]) -> Iterator[_TemplateUse]:
    """Of the teacher, and of each student by each method."""
    teacher, hf = settings.teacher, settings.teacher.hf
    spec = locate_model(teacher.model)
    if "teach" in stages and (spec.startswith("hf:") or Path(spec).is_dir()):
        options = hf.model_dump(include={"revision", "trust_remote_code"})
        yield _TemplateUse("teacher.hf", teacher.model, hf.form, hf.chat_template_kwargs, options)
    if not (TRAINS | {"eval"}) & set(stages):
        return
    for name, student in settings.students.items():
        for method, own in settings.recipes.items():
            training = settings.train_settings(method, settings.seeds[0], name)
            places = {f"recipes.{method}.train": own.train, "train": settings.train.model_dump()}
            place = (at for at, values in places.items() if values.get("chat_template_kwargs"))
            examples = settings.example_settings(method)
            form = RECIPES.find(examples.recipe).asked(examples.target).form
            yield _TemplateUse(
                next(place, f"students.{name}.hf"),
                student.model,
                examples.form if "form" in examples.model_fields_set else form,
                training.chat_template_kwargs,
                training.model_dump(include={"revision", "trust_remote_code"}),
            )
