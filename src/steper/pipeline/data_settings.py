"""What a configuration says of its questions: where they are from, which are learnt from."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from steper.lm.model_settings import Settings

AUTO = "auto"

PRETRAINING_SEEDS = 1_000_000
"""Worlds of seeds from here on are what the small models were pretrained on."""


class WorldSettings(Settings):
    """A generated world (see `steper world`)."""

    seed: int = Field(
        1,
        ge=0,
        lt=PRETRAINING_SEEDS,
        description="seed of the facts and questions; models are pretrained on worlds of seeds "
        "from 1,000,000 on",
    )
    domain: str = Field("culture", description="culture, or ood: other types and relations")
    train: int = Field(1200, ge=1, description="training questions")
    test: int = Field(500, ge=1, description="test questions, about entities of their own")
    apart: bool = Field(
        True,
        description="training questions search the articles of the training part alone; otherwise "
        "all, so that articles of test questions come up in training, always as distractors",
    )

    def key(self, *without: str) -> dict[str, Any]:
        """As JSON values, `without` the settings that what is keyed does not depend on.

        And without `apart` where all is searched, as it was before there was one.
        """
        left_out = {*without, *(() if self.apart else ("apart",))}
        return self.model_dump(mode="json", exclude=left_out)


class AskedSettings(Settings):
    """Questions that are asked and not learnt from: of another domain, of another benchmark.

    Either a `world` is generated, whose test questions are asked, or `questions` names a file.
    """

    world: WorldSettings | None = Field(None, description="generate the data")
    questions: Path | None = Field(None, description="file of the questions")
    benchmark: str = Field("auto", description="the questions' benchmark")
    aliases: Path | None = Field(None, description="2Wiki's id_aliases file")
    corpus: str = Field(
        AUTO,
        description="auto (the union of all questions' contexts), a corpus.jsonl, a folder that "
        "`steper index` made, or a /retrieve server's address (with #NAME of its corpus)",
    )
    test_size: int | None = Field(None, ge=1, description="questions asked (none: all)")
    seed: int = Field(0, ge=0, description="seed of the samples")

    @model_validator(mode="after")
    def _one_source(self) -> AskedSettings:
        if (self.world is None) == (self.questions is None):
            raise ValueError("name either `questions`, a file, or a `world` to generate")
        if self.world is not None and (self.aliases or self.corpus != AUTO):
            raise ValueError("a world brings its own test questions, aliases and corpus")
        return self


class DataSettings(AskedSettings):
    """A data set: questions to learn from, questions to test on, and a corpus to search.

    Either a `world` is generated, or `questions` names a file. Without `test`, `test_size`
    questions of `questions` are held out. Sizes take a sample by `seed`; none takes all. `dev` is
    for a pipeline that tunes.
    """

    questions: Path | None = Field(None, description="file of training questions")
    test: Path | None = Field(None, description="file of test questions")
    dev: Path | None = Field(
        None,
        description="file of development questions, by which section `tune` chooses (none: a "
        "world's own, or held out of the training questions)",
    )
    train_size: int | None = Field(None, ge=1, description="training questions (none: all)")
    test_size: int | None = Field(
        None, ge=1, description="test questions (none: all of `test`, or 500 held out)"
    )
    overlap: Literal["refuse", "drop"] = Field(
        "refuse",
        description="what to do where a training question has its id, its text or all of its gold "
        "passages in common with a test question: refuse to start, or drop it from training",
    )
    pretrained_on: tuple[Path, ...] = Field(
        (),
        description="files of questions that models learnt from elsewhere: test questions are "
        "compared with them as with the training questions",
    )

    @model_validator(mode="after")
    def _worlds_test(self) -> DataSettings:
        if self.world is not None and (self.test or self.dev):
            raise ValueError("a world brings its own test questions, aliases and corpus")
        return self
