"""A trained student asked as it was trained: its prompts and strategy come from its folder.

`steper.json`, which `steper train` writes beside the weights, says how the student's training
prompts were made. A student that is asked in other words is a worse student, so these are the
defaults wherever a student is opened; what is set explicitly goes over them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from steper.errors import InputError
from steper.evaluation.scoring import Evaluation, score_run, write_evaluation
from steper.evaluation.statistics import Bootstrap
from steper.lm.base import LanguageModel
from steper.lm.model_settings import GenerationSettings, HFSettings
from steper.lm.open import open_model
from steper.lm.shipped import locate_model
from steper.prompt.render import PromptSettings
from steper.prompt.segments import Form
from steper.records import Question, Record
from steper.retrieve.base import Retriever
from steper.runs import Run, make_strategy, teach
from steper.store import field_error, read_json, validated
from steper.strategy import strategy_type
from steper.strategy.loop import Prompted

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


def student_folder(model: Path | str) -> Path | None:
    """The folder of a model spec if it is a trained student's; None for any other model."""
    folder = _folder(model)
    return folder if (folder / STEPER).is_file() else None


def _folder(model: Path | str) -> Path:
    return Path(locate_model(model).removeprefix("hf:")).expanduser()


def read_student_card(student: Path | str) -> StudentCard:
    """How a student is to be asked: a folder, or one that is shipped; InputError for any other."""
    folder = _folder(student)
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
    model: Path | str, strategy: str | None, sections: dict[str, dict[str, Any]]
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


def open_asked(
    model: LanguageModel | Path | str,
    options: StudentOptions | None = None,
    questions: Sequence[Question] | None = None,
) -> tuple[LanguageModel, Prompted[Any]]:
    """A model, opened where `model` is its spec, and the strategy to ask it with.

    A trained student's own settings stand below the `options`; `questions` are for `gold`. The
    caller closes the model. Raises SettingsError for settings that the strategy does not have.
    """
    options = options or StudentOptions()
    given = {"strategy": options.strategy_settings, "prompt": options.prompt}
    given["hf"] = options.hf.model_dump(exclude_none=True) if options.hf else {}
    lm = None if isinstance(model, (Path, str)) else model
    spec = model if isinstance(model, (Path, str)) else model.name
    name, sections = adopt_student(spec, options.strategy, given)
    settings = validated(strategy_type(name).settings_type, sections["strategy"])
    prompt = validated(PromptSettings, sections["prompt"])
    if lm is None:
        hf = validated(HFSettings, sections["hf"])
        lm = open_model(spec, generation=options.generation, hf=hf, questions=questions)
    try:
        return lm, make_strategy(name, lm, settings, prompt)
    except BaseException:
        if lm is not model:
            lm.close()
        raise


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
