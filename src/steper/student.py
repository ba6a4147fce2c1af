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
from steper.runs import Run, make_strategy, teach
from steper.store import field_error, read_json
from steper.strategy import strategy_type
from steper.strategy.loop import Prompted, StepSettings

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
    examples: str = Field("", description="settings hash of the examples folder")

    @property
    def strategy_name(self) -> str:
        """The strategy that the student was trained for."""
        return str(self.strategy.get("name", ""))

    @property
    def strategy_settings(self) -> dict[str, Any]:
        """The strategy's settings, without its name."""
        return {key: value for key, value in self.strategy.items() if key != "name"}


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
    """What goes over a student's own settings: a strategy's name, single settings by name."""

    strategy: str | None = None
    strategy_settings: dict[str, Any] = field(default_factory=dict)
    prompt: dict[str, Any] = field(default_factory=dict)
    generation: GenerationSettings | None = None
    hf: HFSettings | None = None


def adopt_student(
    model: str, strategy: str | None, sections: dict[str, dict[str, Any]]
) -> tuple[str, dict[str, dict[str, Any]]]:
    """The strategy and the settings by section that a command starts from.

    Where `model` is a trained student's folder, its own strategy and prompts stand below what
    `sections` say; another strategy than its own takes over the prompts alone. Without a student
    the default strategy is ircot.
    """
    folder = student_folder(model)
    if folder is None:
        return strategy or "ircot", sections
    card = read_student_card(folder)
    name = strategy or card.strategy_name
    own: dict[str, dict[str, Any]] = {
        "strategy": card.strategy_settings if name == card.strategy_name else {},
        "prompt": card.prompt.model_dump(),
        "hf": {"form": card.form},
    }
    return name, {key: {**own.get(key, {}), **value} for key, value in sections.items()}


def student_strategy(
    card: StudentCard, lm: LanguageModel, options: StudentOptions | None = None
) -> Prompted[Any]:
    """The strategy that a student was trained for, with its prompts; `options` go over them.

    Raises SettingsError for settings that the strategy does not have.
    """
    options = options or StudentOptions()
    name = options.strategy or card.strategy_name
    own = card.strategy_settings if name == card.strategy_name else {}
    try:
        settings: StepSettings = strategy_type(name).settings_type.model_validate(
            {**own, **options.strategy_settings}
        )
        prompt = PromptSettings.model_validate({**card.prompt.model_dump(), **options.prompt})
    except ValidationError as error:
        raise SettingsError(f"strategy {name} of the student: {field_error(error)}") from None
    return make_strategy(name, lm, settings, prompt)


def open_student(
    folder: Path, options: StudentOptions | None = None
) -> tuple[LanguageModel, Prompted[Any]]:
    """A trained student and its strategy; the caller closes the model."""
    options = options or StudentOptions()
    card = read_student_card(folder)
    hf = options.hf or HFSettings()
    if hf.form is None:
        hf = hf.model_copy(update={"form": card.form})
    lm = open_model(f"hf:{folder}", generation=options.generation, hf=hf)
    try:
        return lm, student_strategy(card, lm, options)
    except BaseException:
        lm.close()
        raise


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
