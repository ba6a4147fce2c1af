"""A trained student asked as it was trained: its prompts and strategy come from its folder.

`steper.json`, which `steper train` writes beside the weights, says how the student's training
prompts were made. A student that is asked in other words is a worse student, so these are the
defaults wherever a student is opened; what is set explicitly goes over them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError

from steper.artifact import MANIFEST, warn_of_changes
from steper.errors import InputError
from steper.evaluation.scoring import Evaluation, score_run, write_evaluation
from steper.evaluation.statistics import Bootstrap
from steper.lm.base import LanguageModel
from steper.lm.model_settings import GenerationSettings, HFSettings, VLLMSettings
from steper.lm.open import as_model, open_model
from steper.lm.shipped import model_folder
from steper.prompt.render import PromptSettings, recorded_prompt
from steper.prompt.segments import Form
from steper.records import Question, Record
from steper.retrieve.base import Retriever
from steper.retrieve.rerank import reranked
from steper.runs import Run, make_strategy, teach
from steper.store import field_error, read_json, validated
from steper.strategy import DEFAULT, STRATEGIES, Strategy, load_strategy

STEPER = "steper.json"


class StudentCard(Record):
    """What `steper.json` says: how a student is to be asked, and what it was trained on."""

    schema_version: int = 1
    form: Form
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict)
    strategy: dict[str, Any]
    prompt: Annotated[PromptSettings, BeforeValidator(recorded_prompt)]
    recipe: str = ""
    target: str = ""
    weights: str = ""
    reranker: str = ""
    candidates: int = 20
    longest_target: int = Field(0, description="tokens of the longest text that it learnt")
    examples: str = Field("", description="settings hash of the examples folder")

    @property
    def strategy_name(self) -> str:
        """The strategy that the student was trained for."""
        return str(self.strategy.get("name", ""))


def student_folder(model: Path | str) -> Path | None:
    """The folder of a model spec if it is a trained student's; None for any other model."""
    folder = model_folder(model)
    return folder if os.path.lexists(folder / STEPER) else None


def read_student_card(student: Path | str) -> StudentCard:
    """How a student is to be asked: a folder, or one that is shipped; InputError for any other."""
    folder = model_folder(student)
    path = folder / STEPER
    if not os.path.lexists(path):
        raise InputError(f"{folder} is no student: it has no {STEPER}, which `steper train` writes")
    value = read_json(path)
    try:
        card = StudentCard.model_validate(value)
    except ValidationError as error:
        raise InputError(f"{path}: {field_error(error)}") from None
    if not card.strategy_name:
        raise InputError(f"{path}: strategy.name is missing")
    return card


@dataclass(frozen=True)
class StudentOptions:
    """What goes over a student's own settings: another strategy, single settings by name.

    `allow_code` lets a folder name code outside this package, which is then loaded.
    """

    strategy: str | type[Strategy[Any]] | None = None
    strategy_settings: dict[str, Any] = field(default_factory=dict)
    prompt: dict[str, Any] = field(default_factory=dict)
    generation: GenerationSettings | None = None
    hf: HFSettings | None = None
    allow_code: bool = False


def tell_changes(student: Path) -> None:
    """A line for each file of a student that is not what `steper train` wrote, once each.

    Raises InputError where its manifest cannot be read. A student of elsewhere may have none.
    """
    path = student / MANIFEST
    if path.exists() or path.is_symlink():
        manifest = read_json(path)
        if not isinstance(manifest, dict) or manifest.get("content") != "student":
            raise InputError(f"{path}: not the manifest of a training")
        if manifest.get("status") == "complete":
            stats = tuple(p.stat().st_mtime_ns for p in sorted(student.iterdir()) if p.is_file())
            _tell_once(student.resolve(), stats)


@lru_cache
def _tell_once(student: Path, state: tuple[int, ...]) -> None:
    warn_of_changes(student, read_json(student / MANIFEST), gone=True)


def adopt_student(
    model: Path | str,
    strategy: str | type[Strategy[Any]] | None,
    sections: dict[str, dict[str, Any]],
    allow_code: bool = False,
) -> tuple[type[Strategy[Any]], dict[str, dict[str, Any]]]:
    """The strategy and the settings by section that a command starts from.

    Where `model` is a trained student's folder, its own strategy and prompts stand below what
    `sections` say; another strategy than its own takes over the prompts alone. Without a student
    the strategy is the default one.
    """
    folder = student_folder(model)
    if folder is None:
        named = strategy or DEFAULT
        return STRATEGIES.find(named) if isinstance(named, str) else named, sections
    card = read_student_card(folder)
    tell_changes(folder)
    kind, settings = _strategy_of(card, strategy, allow_code, folder)
    told = {"form": card.form, "chat_template_kwargs": card.chat_template_kwargs}
    own: dict[str, dict[str, Any]] = {
        "strategy": settings,
        "prompt": card.prompt.model_dump(),
        "hf": told,
        "vllm": told,
    }
    return kind, {key: {**own.get(key, {}), **value} for key, value in sections.items()}


def _strategy_of(
    card: StudentCard,
    wanted: str | type[Strategy[Any]] | None,
    allow_code: bool,
    folder: Path,
) -> tuple[type[Strategy[Any]], dict[str, Any]]:
    """The strategy to ask a student with, and the settings of its own for it; {} for another."""
    place = str(folder / STEPER)
    if wanted is None or wanted == card.strategy_name:
        return _with_room(card, load_strategy(card.strategy, allow_code=allow_code, place=place))
    kind = STRATEGIES.find(wanted) if isinstance(wanted, str) else wanted
    if kind.name != card.strategy_name:
        return kind, {}
    return _with_room(card, load_strategy(card.strategy, kind, allow_code=allow_code, place=place))


def _with_room(
    card: StudentCard, own: tuple[type[Strategy[Any]], dict[str, Any]]
) -> tuple[type[Strategy[Any]], dict[str, Any]]:
    """The same, with room for the longest text that the student learnt to write at once."""
    kind, settings = own
    if not kind.writes_whole or "max_tokens" not in settings:
        return own
    return kind, {**settings, "max_tokens": max(settings["max_tokens"], card.longest_target)}


def open_asked(
    model: Any,
    options: StudentOptions | None = None,
    questions: Sequence[Question] | None = None,
) -> tuple[LanguageModel, Strategy[Any]]:
    """A model, opened where `model` is its spec, and the strategy to ask it with.

    A trained student's own settings stand below the `options`; `questions` are for `gold`. The
    caller closes the model. Raises SettingsError for settings that the strategy does not have.
    """
    options = options or StudentOptions()
    given = {"strategy": options.strategy_settings, "prompt": options.prompt}
    given["vllm"] = {}
    given["hf"] = options.hf.model_dump(exclude_defaults=True) if options.hf else {}
    lm = None if isinstance(model, (Path, str)) else as_model(model)
    spec = model if lm is None else lm.name
    kind, sections = adopt_student(spec, options.strategy, given, options.allow_code)
    settings = validated(kind.settings_type, sections["strategy"])
    prompt = validated(PromptSettings, sections["prompt"])
    if lm is None:
        hf = validated(HFSettings, sections["hf"])
        vllm = validated(VLLMSettings, sections["vllm"])
        lm = open_model(spec, generation=options.generation, hf=hf, vllm=vllm, questions=questions)
    try:
        return lm, make_strategy(kind, lm, settings, prompt)
    except BaseException:
        if lm is not model:
            lm.close()
        raise


def student_retriever(
    model: Path | str, retriever: Retriever, allow_code: bool = False
) -> Retriever:
    """`retriever` as a model searches with it: through a trained student's reranker, if any."""
    folder = student_folder(model)
    if folder is None:
        return retriever
    card = read_student_card(folder)
    place = str(folder / STEPER)
    return reranked(retriever, card.reranker, card.candidates, allow_code=allow_code, place=place)


def evaluate_student(
    student: Path | str,
    questions: Sequence[Question],
    retriever: Retriever | None,
    out: Path | str,
    options: StudentOptions | None = None,
    *,
    bootstrap: Bootstrap | None = None,
    **how: Any,
) -> tuple[Run, Evaluation]:
    """Ask a trained student all questions, as it was trained to be asked, and score its answers.

    Strategy, renderer and engine are those of the teacher, `how` is as in `teach`. Writes a run
    folder with its scores to `out`; an interrupted run goes on where it stopped. Raises what
    `teach` raises, and InputError where `student` is none or no question has an answer.
    """
    if not any(question.answers for question in questions):
        raise InputError("no question has an answer to score against")
    read_student_card(student)
    lm, strategy = open_asked(student, options)
    if retriever is not None:
        allowed = options is not None and options.allow_code
        retriever = student_retriever(student, retriever, allowed)
    try:
        run = teach(questions, strategy, lm, retriever, out, **how)
    finally:
        lm.close()
    return run, score_and_write(run.path, bootstrap)


def score_and_write(
    run: Path | str, bootstrap: Bootstrap | None = None, partial: bool = False
) -> Evaluation:
    """Score a run folder and write its metrics, scores and predictions into it."""
    evaluation = score_run(run, partial, bootstrap)
    write_evaluation(evaluation, run)
    return evaluation
