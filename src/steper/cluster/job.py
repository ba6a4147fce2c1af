"""All that is needed to run a teacher, by name: so another process can open it and ask.

The shards of a run that workers make lie in a folder beside it until they are merged.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steper.data.retrievers import check_corpus, open_corpus
from steper.errors import InputError
from steper.lm.base import LanguageModel
from steper.lm.model_settings import (
    GenerationSettings,
    HFSettings,
    OpenAISettings,
    VLLMSettings,
)
from steper.lm.open import open_model
from steper.prompt.render import PromptSettings
from steper.records import Question
from steper.retrieve.base import Retriever
from steper.runs import Run, make_strategy, teach
from steper.strategy import StepSettings, Strategy
from steper.student import student_retriever


@dataclass
class TeachingJob:
    """A teacher, questions and settings; pickled to workers, so it holds nothing that is open.

    `contexts` are the questions whose contexts are the corpus, where that is `auto`; they are let
    go of once they are indexed.
    """

    questions: Sequence[Question]
    model: str
    corpus: str
    strategy: type[Strategy[Any]]
    strategy_settings: StepSettings
    prompt: PromptSettings
    generation: GenerationSettings = field(default_factory=GenerationSettings)
    hf: HFSettings = field(default_factory=HFSettings)
    openai: OpenAISettings = field(default_factory=OpenAISettings)
    vllm: VLLMSettings = field(default_factory=VLLMSettings)
    contexts: Sequence[Question] = ()
    samples: int = 1
    in_flight: int = 64
    allow_code: bool = False
    inputs: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def opened(self) -> Iterator[Asking]:
        """The job with its model and its corpus open; both are closed at the end."""
        if self.strategy.searches:
            check_corpus(self.corpus)
        with ExitStack() as stack:
            lm = open_model(
                self.model,
                generation=self.generation,
                hf=self.hf,
                openai=self.openai,
                vllm=self.vllm,
                questions=self.questions,
            )
            stack.callback(lm.close)
            how = make_strategy(self.strategy, lm, self.strategy_settings, self.prompt)
            retriever = None
            if self.strategy.searches:
                found = open_corpus(self.corpus, self.contexts)
                retriever = student_retriever(self.model, found, self.allow_code)
                stack.callback(retriever.close)
            self.contexts = ()
            yield Asking(self, lm, how, retriever)


@dataclass(frozen=True)
class Asking:
    """A job that is open."""

    job: TeachingJob
    lm: LanguageModel
    how: Strategy[Any]
    retriever: Retriever | None

    def run(self, out: Path, **how: Any) -> Run:
        """Run it, or a shard of it: shard, overwrite, retry_failed, progress of `runs.teach`."""
        return teach(
            self.job.questions,
            self.how,
            self.lm,
            self.retriever,
            out,
            samples=self.job.samples,
            in_flight=self.job.in_flight,
            inputs=self.job.inputs,
            **how,
        )


def shards_folder(out: Path) -> Path:
    """Where workers keep the shards of a run until it is merged."""
    return out.with_name(f"{out.name}.shards")


def run_here(job: TeachingJob, out: Path, *, overwrite: bool = False, **how: Any) -> Run:
    """Run a job, or a shard of it, in this process; `how` as in `Asking.run`.

    Raises InputError where workers have begun it: what they did would be paid for again.
    """
    if (begun := shards_folder(out)).exists():
        if not overwrite:
            raise InputError(
                f"{out} was begun with --workers ({begun} has what they did): give --workers "
                "again, or --overwrite to begin anew"
            )
        shutil.rmtree(begun)
    with job.opened() as asking:
        return asking.run(out, overwrite=overwrite, **how)
