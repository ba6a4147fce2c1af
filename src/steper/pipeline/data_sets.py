"""Which questions a data set trains on and which it tests on, and that they have none in common."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from steper.data import QuestionFile, build_corpus, read_question_file, sample_questions
from steper.errors import InputError
from steper.evaluation.leakage import GRAVE, Common, Seen
from steper.pipeline.data_settings import AskedSettings, DataSettings
from steper.records import Passage, Question
from steper.store import sha256_file
from steper.stored import choose, stored_questions, without_contexts

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

    @property
    def is_made(self) -> bool:
        """Whether its files are there to stay: a world's may be generated anew by a task."""
        return self.world is None and all(file.exists() for file in self.files)

    def key(self, digest: Callable[[Path], Any] = sha256_file) -> dict[str, Any]:
        """All that decides which questions there are, as JSON values."""
        settings = self.settings
        sampled = settings.model_dump(include={"train_size", "test_size", "seed"})
        if settings.world is not None:
            world = settings.world.model_dump(mode="json")
            return {"world": world, **sampled, **self._later(digest)}
        hashes = {"questions": digest(self.train_file)}
        hashes["test"] = digest(self.test_file) if self.test_file else "held out"
        if settings.aliases:
            hashes["aliases"] = digest(settings.aliases)
        return {**hashes, "benchmark": settings.benchmark, **sampled, **self._later(digest)}

    def _later(self, digest: Callable[[Path], Any]) -> dict[str, Any]:
        """What came later; left out at its default, as in the keys made before."""
        files = [digest(path) for path in self.settings.pretrained_on]
        told = {"pretrained_on": files} if files else {}
        return told if self.settings.overlap == "refuse" else {**told, "overlap": "drop"}

    def test_key(self) -> dict[str, Any]:
        """All that decides which questions are asked, as JSON values."""
        key = self.key()
        unasked = (
            "train_size",
            "pretrained_on",
            *(["questions", "overlap"] * bool(self.test_file)),
        )
        for name in unasked:
            key.pop(name, None)
        if world := key.get("world"):
            key["world"] = {name: value for name, value in world.items() if name != "train"}
        return key

    def _read(self, path: Path) -> QuestionFile:
        return read_question_file(path, self.settings.benchmark, self.settings.aliases)

    def _read_bare(self, path: Path) -> QuestionFile:
        """A file without its questions' contexts, which would fill the memory for nothing."""
        file = self._read(path)
        return replace(file, questions=stored_questions(without_contexts(file.questions)))

    @cached_property
    def _files(self) -> tuple[QuestionFile, QuestionFile | None]:
        train = self._read_bare(self.train_file)
        return train, self._read_bare(self.test_file) if self.test_file else None

    @cached_property
    def _split(self) -> tuple[Sequence[Question], Sequence[Question]]:
        first, second = self._files
        settings = self.settings
        if second is None:
            return hold_out(self, first.questions)
        if settings.overlap == "drop":
            train = without_test(first.questions, second.questions, self.train_file)
        else:
            check_apart(f"data.{self.name}", self, first.questions, self, second.questions)
            train = first.questions
        train = _sampled(train, settings.train_size, settings.seed, self.train_file)
        test = _sampled(second.questions, settings.test_size, settings.seed, self.test_file)
        return train, test

    @property
    def train(self) -> Sequence[Question]:
        """The questions to learn from."""
        return self._split[0]

    @property
    def test(self) -> Sequence[Question]:
        """The questions to test on."""
        return self._split[1]

    @cached_property
    def learnt_from(self) -> dict[str, Sequence[Question]]:
        """The questions that students learn from, and models learnt from elsewhere, by file."""
        elsewhere = {str(p): self._read_bare(p).questions for p in self.settings.pretrained_on}
        return {str(self.train_file): self.train, **elsewhere}

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
    def _split(self) -> tuple[Sequence[Question], Sequence[Question]]:
        every, settings = self._files[0].questions, self.settings
        return [], _sampled(every, settings.test_size, settings.seed, self.test_file)


def _sampled(
    questions: Sequence[Question], size: int | None, seed: int, path: Path | None
) -> Sequence[Question]:
    if size is None:
        return questions
    if size > len(questions):
        raise InputError(f"{path} holds {len(questions)} questions, but {size} were asked for")
    return sample_questions(questions, test=size, dev=0, seed=seed).test


def without_test(
    questions: Sequence[Question], test: Sequence[Question], path: Path
) -> Sequence[Question]:
    """The questions that have neither id, text nor all gold passages of a test question.

    Raises InputError where none is left; says how many were left out.
    """
    seen = Seen(test)
    fit = [n for n, q in enumerate(questions) if seen.common(q) not in GRAVE]
    train = choose(questions, fit)
    if len(train) < len(questions):
        log.warning(
            "%s: %d questions repeat a test question, or all of its gold passages, and are not "
            "trained on",
            path,
            len(questions) - len(train),
        )
    if not train:
        raise InputError(f"{path}: no question is left to train on")
    return train


def hold_out(
    data: DataSet, questions: Sequence[Question]
) -> tuple[Sequence[Question], Sequence[Question]]:
    """(train, test) of one file; what repeats a test question or its facts is not trained on."""
    settings = data.settings
    size = settings.test_size or HELD_OUT
    if size >= len(questions):
        raise InputError(
            f"data.{data.name}: {size} questions are to be held out for the test, but "
            f"{data.train_file} holds {len(questions)}; name a `test` file, or a smaller test_size"
        )
    test = sample_questions(questions, test=size, dev=0, seed=settings.seed).test
    ids = {q.id for q in test}
    others = choose(questions, [n for n, q in enumerate(questions) if q.id not in ids])
    train = without_test(others, test, data.train_file)
    return _sampled(train, settings.train_size, settings.seed, data.train_file), test


def check_apart(
    place: str,
    data: DataSet,
    train: Sequence[Question],
    other: DataSet,
    test: Sequence[Question],
    by: Collection[Common] = ("id", "text"),
) -> None:
    """Refuse questions that are trained on and asked, by what `by` lists of `Seen.common`.

    `place` is where the configuration names what is asked, the test questions of `other`.
    """
    seen = Seen(train)
    found = ((q.id, seen.common(q)) for q in test)
    shared = {i: common for i, common in found if common is not None and common in by}
    if shared:
        first, common = next(iter(shared.items()))
        how = f"by its {common}" if common in ("id", "text") else GRAVE[common]
        ways = "leave them out of training (overlap: drop), or leave `test` out to hold some out"
        leave = f", {ways}" if other is data else ""
        raise InputError(
            f"{place}: {len(shared)} of {len(test)} questions of {other.test_file} are in "
            f"{data.train_file}, too (the first {how}: {first!r}); test questions must "
            f"not be trained on: name other files{leave}"
        )
