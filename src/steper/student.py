"""A trained student asked as it was trained: its prompts and strategy come from its folder.

`steper.json`, which `steper train` writes beside the weights, says how the student's training
prompts were made. A student that is asked in other words is a worse student, so these are the
defaults wherever a student is opened; what is set explicitly goes over them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from steper.engine import Stats
from steper.errors import InputError, SettingsError
from steper.evaluation.scoring import Evaluation, score_run, write_evaluation
from steper.evaluation.statistics import Bootstrap
from steper.lm.base import LanguageModel
from steper.lm.model_settings import GenerationSettings, HFSettings
from steper.lm.open import open_model
from steper.prompt.render import PromptSettings
from steper.prompt.segments import Form
from steper.records import Question, Record
from steper.retrieve.base import Retriever
from steper.retrieve.rerank import reranked
from steper.runs import Run, make_strategy, teach
from steper.store import field_error, read_json
from steper.strategy import DEFAULT, STRATEGIES, StepSettings, Strategy, load_strategy

STEPER = "steper.json"


class StudentCard(Record):
    """What `steper.json` says: how a student is to be asked, and what it was trained on."""

    schema_version: int = 1
    form: Form
    strategy: dict[str, Any]
    prompt: PromptSettings
    recipe: str = ""
    target: str = ""
    weights: str = ""
    reranker: str = ""
    candidates: int = 20
    examples: str = Field("", description="settings hash of the examples folder")

    @property
    def strategy_name(self) -> str:
        """The strategy that the student was trained for."""
        return str(self.strategy.get("name", ""))


def student_folder(model: str) -> Path | None:
    """The folder of a model spec if it is a trained student's; None for any other model."""
    folder = Path(model.removeprefix("hf:")).expanduser()
    return folder if (folder / STEPER).is_file() else None


def read_student_card(folder: Path) -> StudentCard:
    """How the student in `folder` is to be asked; InputError where this is no student."""
    path = folder / STEPER
    if not path.is_file():
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


def adopt_student(
    model: str,
    strategy: str | None,
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
        return STRATEGIES.find(strategy or DEFAULT), sections
    card = read_student_card(folder)
    kind, settings = _strategy_of(card, strategy, allow_code, folder)
    own: dict[str, dict[str, Any]] = {
        "strategy": settings,
        "prompt": card.prompt.model_dump(),
        "hf": {"form": card.form},
    }
    return kind, {key: {**own.get(key, {}), **value} for key, value in sections.items()}


def _strategy_of(
    card: StudentCard,
    wanted: str | type[Strategy[Any]] | None,
    allow_code: bool,
    folder: Path,
) -> tuple[type[Strategy[Any]], dict[str, Any]]:
    """The strategy to ask a student with, and the settings of its own for it; {} for another."""
    if wanted is None or wanted == card.strategy_name:
        return load_strategy(card.strategy, allow_code=allow_code, place=str(folder / STEPER))
    kind = STRATEGIES.find(wanted) if isinstance(wanted, str) else wanted
    if kind.name != card.strategy_name:
        return kind, {}
    return load_strategy(card.strategy, kind, allow_code=allow_code, place=str(folder / STEPER))


def student_kind(folder: Path, options: StudentOptions) -> type[Strategy[Any]]:
    """The strategy that a student is asked with."""
    card = read_student_card(folder)
    return _strategy_of(card, options.strategy, options.allow_code, folder)[0]


def student_strategy(
    card: StudentCard,
    lm: LanguageModel,
    options: StudentOptions | None = None,
    folder: Path = Path(),
) -> Strategy[Any]:
    """The strategy that a student was trained for, with its prompts; `options` go over them.

    Raises SettingsError for settings that the strategy does not have.
    """
    options = options or StudentOptions()
    kind, own = _strategy_of(card, options.strategy, options.allow_code, folder)
    try:
        settings: StepSettings = kind.settings_type.model_validate(
            {**own, **options.strategy_settings}
        )
        prompt = PromptSettings.model_validate({**card.prompt.model_dump(), **options.prompt})
    except ValidationError as error:
        raise SettingsError(f"strategy {kind.name} of the student: {field_error(error)}") from None
    return make_strategy(kind, lm, settings, prompt)


def open_student(
    folder: Path, options: StudentOptions | None = None
) -> tuple[LanguageModel, Strategy[Any]]:
    """A trained student and its strategy; the caller closes the model."""
    options = options or StudentOptions()
    card = read_student_card(folder)
    hf = options.hf or HFSettings()
    if hf.form is None:
        hf = hf.model_copy(update={"form": card.form})
    lm = open_model(f"hf:{folder}", generation=options.generation, hf=hf)
    try:
        return lm, student_strategy(card, lm, options, folder)
    except BaseException:
        lm.close()
        raise


def student_retriever(
    folder: Path, retriever: Retriever | None, options: StudentOptions | None = None
) -> Retriever | None:
    """`retriever` as a student searches with it: through its reranker, where it has one."""
    card = read_student_card(folder)
    allow = options is not None and options.allow_code
    place = str(folder / STEPER)
    return reranked(retriever, card.reranker, card.candidates, allow_code=allow, place=place)


def evaluate_student(
    student: Path | str,
    questions: Sequence[Question],
    retriever: Retriever | None,
    out: Path | str,
    options: StudentOptions | None = None,
    *,
    in_flight: int = 64,
    overwrite: bool = False,
    inputs: dict[str, Any] | None = None,
    progress: Callable[[Stats], None] | None = None,
    bootstrap: Bootstrap | None = None,
) -> tuple[Run, Evaluation]:
    """Ask a trained student all questions, as it was trained to be asked, and score its answers.

    Strategy, renderer and engine are those of the teacher. Writes a run folder with its scores to
    `out`; an interrupted run goes on where it stopped. Raises what `teach` raises, and InputError
    where `student` is no trained student.
    """
    lm, strategy = open_student(Path(student), options)
    retriever = student_retriever(Path(student), retriever, options)
    try:
        run = teach(
            questions,
            strategy,
            lm,
            retriever,
            out,
            in_flight=in_flight,
            overwrite=overwrite,
            inputs=inputs,
            progress=progress,
        )
    finally:
        lm.close()
    return run, score_and_write(run.path, bootstrap)


def score_and_write(run: Path, bootstrap: Bootstrap | None = None) -> Evaluation:
    """Score a run folder and write its metrics, scores and predictions into it."""
    evaluation = score_run(run, bootstrap=bootstrap)
    write_evaluation(evaluation, run)
    return evaluation
