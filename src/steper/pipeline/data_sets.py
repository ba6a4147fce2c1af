"""Which questions a data set trains on and which it tests on, and that they have none in common."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from steper.data import QuestionFile, build_corpus, read_question_file, sample_questions
from steper.errors import InputError
from steper.evaluation.official_scores import normalize_answer
from steper.pipeline.config import AskedSettings, DataSettings
from steper.records import Passage, Question
from steper.store import sha256_file

log = logging.getLogger(__name__)

HELD_OUT = 500
"""Test questions that are held out of the training file where no test file is named (IRCoT's)."""


@dataclass
class DataSet:
    """A data set's questions, read when they are first needed.

    `world` is the folder of its generated world, where it has one.
    """

    name: str
    settings: DataSettings
    world: Path | None = None

    @property
    def train_file(self) -> Path:
        """Where training questions are read from."""
        if self.world is not None:
            return self.world / "train.json"
        assert self.settings.questions is not None
        return self.settings.questions

    @property
    def test_file(self) -> Path | None:
        """Where test questions are read from; None where they are held out."""
        return self.world / "test.json" if self.world is not None else self.settings.test

    @property
    def files(self) -> list[Path]:
        """All question files."""
        return [self.train_file, *([self.test_file] if self.test_file else [])]

    def key(self, digest: Callable[[Path], Any] = sha256_file) -> dict[str, Any]:
        """All that decides which questions there are, as JSON values."""
        settings = self.settings
        sampled = settings.model_dump(include={"train_size", "test_size", "seed"})
        if settings.world is not None:
            return {"world": settings.world.model_dump(mode="json"), **sampled}
        hashes = {"questions": digest(self.train_file)}
        hashes["test"] = digest(self.test_file) if self.test_file else "held out"
        if settings.aliases:
            hashes["aliases"] = digest(settings.aliases)
        return {**hashes, "benchmark": settings.benchmark, **sampled}

    def test_key(self) -> dict[str, Any]:
        """All that decides which questions are asked, as JSON values."""
        key = self.key()
        for name in ("train_size", *(["questions"] if self.test_file else [])):
            key.pop(name, None)
        if world := key.get("world"):
            key["world"] = {name: value for name, value in world.items() if name != "train"}
        return key

    def _read(self, path: Path) -> QuestionFile:
        return read_question_file(path, self.settings.benchmark, self.settings.aliases)

    def _read_bare(self, path: Path) -> QuestionFile:
        """A file without its questions' contexts, which would fill the memory for nothing."""
        file = self._read(path)
        return replace(
            file, questions=[q.model_copy(update={"context": ()}) for q in file.questions]
        )

    @cached_property
    def _files(self) -> tuple[QuestionFile, QuestionFile | None]:
        train = self._read_bare(self.train_file)
        return train, self._read_bare(self.test_file) if self.test_file else None

    @cached_property
    def _split(self) -> tuple[list[Question], list[Question]]:
        first, second = self._files
        settings = self.settings
        if second is None:
            return hold_out(self, first.questions)
        check_apart(f"data.{self.name}", self, first.questions, self, second.questions)
        train = _sampled(first.questions, settings.train_size, settings.seed, self.train_file)
        test = _sampled(second.questions, settings.test_size, settings.seed, self.test_file)
        return train, test

    @property
    def train(self) -> list[Question]:
        """The questions to learn from."""
        return self._split[0]

    @property
    def test(self) -> list[Question]:
        """The questions to test on."""
        return self._split[1]

    def inputs(self, path: Path | None) -> dict[str, Any]:
        """File, hash, format and counts of a question file, for a run's manifest."""
        first, second = self._files
        file = second if second is not None and path == self.test_file else first
        return file.describe(path or self.train_file)

    def corpus(self) -> list[Passage]:
        """The union of the contexts of all questions of all files."""
        return build_corpus(q for path in self.files for q in self._read(path).questions)


@dataclass
class AskedSet(DataSet):
    """Questions that are asked and not learnt from: all are test questions."""

    settings: AskedSettings  # type: ignore[assignment]

    @property
    def train_file(self) -> Path:
        """The one file that there is."""
        if self.world is not None:
            return self.world / "test.json"
        assert self.settings.questions is not None
        return self.settings.questions

    @property
    def test_file(self) -> Path:
        """Where the questions are read from."""
        return self.train_file

    @property
    def files(self) -> list[Path]:
        """All question files."""
        return [self.train_file]

    def key(self, digest: Callable[[Path], Any] = sha256_file) -> dict[str, Any]:
        """See `DataSet`."""
        settings = self.settings
        sampled = settings.model_dump(include={"test_size", "seed"})
        if settings.world is not None:
            return {"world": settings.world.model_dump(mode="json"), **sampled}
        hashes = {"test": digest(self.test_file)}
        if settings.aliases:
            hashes["aliases"] = digest(settings.aliases)
        return {**hashes, "benchmark": settings.benchmark, **sampled}

    @cached_property
    def _files(self) -> tuple[QuestionFile, QuestionFile]:
        file = self._read_bare(self.test_file)
        return file, file

    @cached_property
    def _split(self) -> tuple[list[Question], list[Question]]:
        every, settings = self._files[0].questions, self.settings
        return [], _sampled(every, settings.test_size, settings.seed, self.test_file)


def _sampled(
    questions: list[Question], size: int | None, seed: int, path: Path | None
) -> list[Question]:
    if size is None:
        return questions
    if size > len(questions):
        raise InputError(f"{path} holds {len(questions)} questions, but {size} were asked for")
    return sample_questions(questions, test=size, dev=0, seed=seed).test


def hold_out(data: DataSet, questions: Sequence[Question]) -> tuple[list[Question], list[Question]]:
    """(train, test) of one file; what repeats a test question's text is left out of training."""
    settings = data.settings
    size = settings.test_size or HELD_OUT
    if size >= len(questions):
        raise InputError(
            f"data.{data.name}: {size} questions are to be held out for the test, but "
            f"{data.train_file} holds {len(questions)}; name a `test` file, or a smaller test_size"
        )
    test = sample_questions(questions, test=size, dev=0, seed=settings.seed).test
    ids = {q.id for q in test}
    texts = {normalize_answer(q.text) for q in test}
    others = [q for q in questions if q.id not in ids]
    train = [q for q in others if normalize_answer(q.text) not in texts]
    if len(train) < len(others):
        log.warning(
            "%s: %d questions repeat a test question and are not trained on",
            data.train_file,
            len(others) - len(train),
        )
    if not train:
        raise InputError(f"{data.train_file}: no question is left to train on")
    return _sampled(train, settings.train_size, settings.seed, data.train_file), test


def check_apart(
    place: str, data: DataSet, train: Sequence[Question], other: DataSet, test: Sequence[Question]
) -> None:
    """Refuse questions that are trained on and asked, by id or by normalised text.

    `place` is where the configuration names what is asked, the test questions of `other`.
    """
    ids = {q.id: q for q in train}
    texts = {normalize_answer(q.text): q for q in train}
    shared = [q for q in test if q.id in ids or normalize_answer(q.text) in texts]
    if shared:
        first = shared[0]
        how = "id" if first.id in ids else "text"
        leave = ", or leave `test` out to hold questions out" if other is data else ""
        raise InputError(
            f"{place}: {len(shared)} of {len(test)} questions of {other.test_file} are in "
            f"{data.train_file}, too (the first by its {how}: {first.id!r}); test questions must "
            f"not be trained on: name other files{leave}"
        )
