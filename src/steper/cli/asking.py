"""What the commands that ask a model share: their options, the model, the strategy, the questions.

The options are those of the default strategy here; `parts` puts those of another in their place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from steper.cli.options import Chosen, at_least, grouped, options
from steper.errors import SettingsError
from steper.lm.model_settings import (
    GenerationSettings,
    HFSettings,
    OpenAISettings,
    VLLMSettings,
)
from steper.prompt.render import PromptSettings
from steper.strategy import DEFAULT, STRATEGIES

if TYPE_CHECKING:
    from steper.cluster.job import TeachingJob
    from steper.data import QuestionFile
    from steper.lm.base import LanguageModel
    from steper.records import Question
    from steper.strategy import Strategy

    AskingOptions = BaseModel

VLLM_OPTIONS = {"tensor_parallel_size", "gpu_memory_utilization"}

GROUPS = {
    "strategy": ("Strategy", options(STRATEGIES.find(DEFAULT).settings_type)),
    "prompt": ("Prompt", options(PromptSettings)),
    "generation": ("Generation", options(GenerationSettings)),
    "hf": ("Local model (hf:)", options(HFSettings, skip=["form", "context_window"])),
    "openai": ("Server (openai:)", options(OpenAISettings)),
    # The others have the names of options above; a configuration file has them all.
    "vllm": (
        "Local model by vLLM (vllm:; more in the section vllm of --config)",
        options(VLLMSettings, skip=VLLMSettings.model_fields.keys() - VLLM_OPTIONS),
    ),
}
if not TYPE_CHECKING:
    AskingOptions = grouped(GROUPS)

SECTIONS = tuple(GROUPS)
MODEL_SECTIONS = ("generation", "hf", "openai", "vllm")


def adopt(
    chosen: Chosen, model: str, strategy: str | None, allow_code: bool
) -> type[Strategy[Any]]:
    """The strategy to ask with; a trained student's own settings go below what was chosen."""
    from steper.student import adopt_student

    kind, chosen.own = adopt_student(model, strategy, {key: {} for key in SECTIONS}, allow_code)
    return kind


def open_lm(chosen: Chosen, spec: str, questions: Sequence[Question] = ()) -> LanguageModel:
    """The model of a spec, with the settings that were chosen."""
    from steper.lm.open import open_model

    return open_model(
        spec,
        generation=chosen.settings("generation", GenerationSettings),
        hf=chosen.settings("hf", HFSettings),
        openai=chosen.settings("openai", OpenAISettings),
        vllm=chosen.settings("vllm", VLLMSettings),
        questions=questions,
    )


def make_job(
    chosen: Chosen, kind: type[Strategy[Any]], questions: Sequence[Question], **how: Any
) -> TeachingJob:
    """All that is needed to ask, with the settings that were chosen; nothing is opened yet."""
    from steper.cluster.job import TeachingJob

    _check_flags(chosen, kind)
    return TeachingJob(
        questions=questions,
        strategy=kind,
        strategy_settings=chosen.settings("strategy", kind.settings_type),
        prompt=chosen.settings("prompt", PromptSettings),
        generation=chosen.settings("generation", GenerationSettings),
        hf=chosen.settings("hf", HFSettings),
        openai=chosen.settings("openai", OpenAISettings),
        vllm=chosen.settings("vllm", VLLMSettings),
        **how,
    )


def open_strategy(chosen: Chosen, kind: type[Strategy[Any]], lm: LanguageModel) -> Strategy[Any]:
    """The strategy for a model, with the settings that were chosen."""
    from steper.runs import make_strategy

    _check_flags(chosen, kind)
    settings = chosen.settings("strategy", kind.settings_type)
    return make_strategy(kind, lm, settings, chosen.settings("prompt", PromptSettings))


def _check_flags(chosen: Chosen, kind: type[Strategy[Any]]) -> None:
    for flag in chosen.given.get("strategy", {}):
        if flag not in kind.settings_type.model_fields:
            raise SettingsError(f"--{flag.replace('_', '-')} is no setting of strategy {kind.name}")


@dataclass(frozen=True)
class Selection:
    """Which questions of a file are asked.

    Parameters
    ----------
    benchmark
        The questions' benchmark where the file does not tell it, or package.module:NAME of a
        function that makes a Question of a row.
    aliases
        2Wiki's id_aliases file.
    limit
        Take the first so many questions.
    sample
        Take so many questions at random (IRCoT's authors take 500).
    sample_seed
        Seed of the samples.
    """

    benchmark: str = "auto"
    aliases: Path | None = None
    limit: int | None = None
    sample: int | None = None
    sample_seed: int = 0

    def read(self, path: Path) -> QuestionFile:
        """The whole file."""
        from steper.data import read_question_file

        return read_question_file(path, self.benchmark, self.aliases)

    def choose(
        self, questions: Sequence[Question], sample_dev: int | None = None
    ) -> Sequence[Question]:
        """The questions to ask, without their contexts: all, the first, or a random sample."""
        from steper.data import sample_questions
        from steper.stored import stored_questions, without_contexts

        numbers = {"limit": self.limit, "sample": self.sample, "sample_dev": sample_dev}
        given = [f"--{name}".replace("_", "-") for name, n in numbers.items() if n is not None]
        if len(given) > 1:
            raise SettingsError(f"{' and '.join(given)} exclude each other; give one of them")
        at_least(1, **numbers)
        if self.sample is not None or sample_dev is not None:
            sizes = {"test": self.sample or 0, "dev": sample_dev or 0}
            drawn = sample_questions(questions, **sizes, seed=self.sample_seed)
            questions = drawn.test or drawn.dev
        return stored_questions(without_contexts(questions[: self.limit]))

    def describe(self, path: Path, file: QuestionFile, **more: object) -> dict[str, Any]:
        """What a run's manifest says of its inputs: files with their hashes, what was left out."""
        from steper.store import sha256_file

        return {
            "questions": file.describe(path),
            "aliases": sha256_file(self.aliases) if self.aliases else None,
            "limit": self.limit,
            "sample": {"test": self.sample, "seed": self.sample_seed},
            **more,
        }


ALL = Selection()
