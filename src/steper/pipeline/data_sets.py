"""Which questions a data set trains on and which it tests on, and that they have none in common."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
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

    `world` is the folder of its generated world, where it has one. `dev_size` development questions
    are asked, 0 where nothing is tuned; those of a world are made in the file `dev_made`.
    """

    name: str
    settings: DataSettings
    world: Path | None = None
    dev_size: int = 0
    dev_made: Path | None = None

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
    def dev_file(self) -> Path | None:
        """Where development questions are read from; None where they are held out, or not asked."""
        if not self.dev_size:
            return None
        return self.dev_made if self.world is not None else self.settings.dev

    @property
    def files(self) -> list[Path]:
        """All question files that are there from the start."""
        dev = None if self.world is not None else self.dev_file
        return [self.train_file, *filter(None, (self.test_file, dev))]

    @property
    def is_made(self) -> bool:
        """Whether its files are there to stay: a world's may be generated anew by a task."""
        return self.world is None and all(file.exists() for file in self.files)

    def key(self, digest: Callable[[Path], Any] = sha256_file) -> dict[str, Any]:
        """All that decides which questions there are, as JSON values."""
        settings = self.settings
        sampled = settings.model_dump(include={"train_size", "test_size", "seed"})
        if settings.world is not None:
            return {"world": settings.world.key(), **sampled, **self._later(digest)}
        hashes = {"questions": digest(self.train_file)}
        hashes["test"] = digest(self.test_file) if self.test_file else "held out"
        if settings.aliases:
            hashes["aliases"] = digest(settings.aliases)
        return {**hashes, "benchmark": settings.benchmark, **sampled, **self._later(digest)}

    def _later(self, digest: Callable[[Path], Any]) -> dict[str, Any]:
        """What came later; left out at its default, as in the keys made before."""
        files = [digest(path) for path in self.settings.pretrained_on]
        told: dict[str, Any] = {"pretrained_on": files} if files else {}
        if self.settings.overlap == "drop":
            told["overlap"] = "drop"
        return {**told, "dev": self._dev_from(digest)} if self._dev_shortens_train else told

    @property
    def _dev_shortens_train(self) -> bool:
        """Whether training questions are fewer or others for the development questions' sake."""
        if not self.dev_size or self.world is not None:
            return False
        if self.dev_file is not None:
            return self.settings.overlap == "drop"
        return self.settings.train_size is None

    def _dev_from(self, digest: Callable[[Path], Any]) -> Any:
        if self.world is not None:
            return {"world's": self.dev_size}
        return {"asked": self.dev_size, "of": digest(self.dev_file) if self.dev_file else "train"}

    def dev_key(self, digest: Callable[[Path], Any] = sha256_file) -> dict[str, Any]:
        """All that decides which development questions are asked, as JSON values."""
        return {**self.key(digest), "dev": self._dev_from(digest)}

    def test_key(self) -> dict[str, Any]:
        """All that decides which questions are asked, as JSON values."""
        key = self.key()
        unasked = (
            "train_size",
            "pretrained_on",
            "dev",
            *(["questions", "overlap"] * bool(self.test_file)),
        )
        for name in unasked:
            key.pop(name, None)
        if self.settings.world is not None:
            key["world"] = self.settings.world.key("train", "apart")
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
    def _split(self) -> tuple[Sequence[Question], Sequence[Question], Sequence[Question]]:
        """(train, test, the development questions that are held out)."""
        first, second = self._files
        settings = self.settings
        if second is None:
            train, test = hold_out(self, first.questions)
        elif settings.overlap == "drop":
            train = without(first.questions, second.questions, self.train_file, "test")
            test = _sampled(second.questions, settings.test_size, settings.seed, self.test_file)
        else:
            check_apart(f"data.{self.name}", self, first.questions, self, second.questions)
            train = first.questions
            test = _sampled(second.questions, settings.test_size, settings.seed, self.test_file)
        if self._dev_shortens_train and self.dev_file is not None:
            train = without(train, self.dev, self.train_file, "development")
        dev: Sequence[Question] = []
        if self.dev_size and self.world is None and self.dev_file is None:
            train, dev = hold_out_dev(self, train)
        return _sampled(train, settings.train_size, settings.seed, self.train_file), test, dev

    @property
    def train(self) -> Sequence[Question]:
        """The questions to learn from."""
        return self._split[0]

    @property
    def test(self) -> Sequence[Question]:
        """The questions to test on."""
        return self._split[1]

    @cached_property
    def _dev(self) -> QuestionFile | None:
        return None if self.dev_file is None else self._read_bare(self.dev_file)

    @property
    def dev(self) -> Sequence[Question]:
        """The questions to choose settings by."""
        if self._dev is None:
            return self._split[2]
        every = self._dev.questions
        if self.dev_size > len(every):
            raise InputError(
                f"data.{self.name}: tune.questions is {self.dev_size}, but {self.dev_file} holds "
                f"{len(every)} development questions; ask fewer, or name another `dev`"
            )
        return _sampled(every, self.dev_size, self.settings.seed, self.dev_file)

    @cached_property
    def learnt_from(self) -> dict[str, Sequence[Question]]:
        """The questions that students learn from, and models learnt from elsewhere, by file."""
        elsewhere = {str(p): self._read_bare(p).questions for p in self.settings.pretrained_on}
        return {str(self.train_file): self.train, **elsewhere}

    def inputs(self, path: Path | None) -> dict[str, Any]:
        """File, hash, format and counts of a question file, for a run's manifest."""
        first, second = self._files
        file = second if second is not None and path == self.test_file else first
        if path is not None and path == self.dev_file:
            file = self._dev or first
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
            return {"world": settings.world.key("apart"), **sampled}
        hashes = {"test": digest(self.test_file)}
        if settings.aliases:
            hashes["aliases"] = digest(settings.aliases)
        return {**hashes, "benchmark": settings.benchmark, **sampled}

    @cached_property
    def _files(self) -> tuple[QuestionFile, QuestionFile]:
        file = self._read_bare(self.test_file)
        return file, file

    @cached_property
    def _split(self) -> tuple[Sequence[Question], Sequence[Question], Sequence[Question]]:
        every, settings = self._files[0].questions, self.settings
        return [], _sampled(every, settings.test_size, settings.seed, self.test_file), []


def _sampled(
    questions: Sequence[Question], size: int | None, seed: int, path: Path | None
) -> Sequence[Question]:
    if size is None:
        return questions
    if size > len(questions):
        raise InputError(f"{path} holds {len(questions)} questions, but {size} were asked for")
    return sample_questions(questions, test=size, dev=0, seed=seed).test


def without(
    questions: Sequence[Question], others: Sequence[Question], path: Path, whose: str
) -> Sequence[Question]:
    """The questions that have neither id, text nor all gold passages of one of the others.

    `whose` the others are: test, development. Raises InputError where none is left; says how many
    were left out.
    """
    seen = Seen(others)
    fit = [n for n, q in enumerate(questions) if seen.common(q) not in GRAVE]
    train = choose(questions, fit)
    if len(train) < len(questions):
        log.warning(
            "%s: %d questions repeat a %s question, or all of its gold passages, and are not "
            "trained on",
            path,
            len(questions) - len(train),
            whose,
        )
    if not train:
        raise InputError(f"{path}: no question is left to train on")
    return train


def hold_out(
    data: DataSet, questions: Sequence[Question]
) -> tuple[Sequence[Question], Sequence[Question]]:
    """(others, test) of one file; what repeats a test question or its facts is left out."""
    settings = data.settings
    size = settings.test_size or HELD_OUT
    if size >= len(questions):
        raise InputError(
            f"data.{data.name}: {size} questions are to be held out for the test, but "
            f"{data.train_file} holds {len(questions)}; name a `test` file, or a smaller test_size"
        )
    test = sample_questions(questions, test=size, dev=0, seed=settings.seed).test
    return without(_but(questions, test), test, data.train_file, "test"), test


def hold_out_dev(
    data: DataSet, questions: Sequence[Question]
) -> tuple[Sequence[Question], Sequence[Question]]:
    """(train, dev) of the questions that may be trained on, nothing grave in common.

    Where `train_size` is given the training questions are those that they would be without `dev`,
    so that what was taught of them stays; else all others are.
    """
    settings, size = data.settings, data.dev_size
    train, fit = questions, questions
    if settings.train_size is not None:
        train = _sampled(questions, settings.train_size, settings.seed, data.train_file)
        seen = Seen(train)
        fit = choose(questions, [n for n, q in enumerate(questions) if seen.common(q) not in GRAVE])
    if size > len(fit) - (settings.train_size is None):
        beside = f" beside the {len(train)} to train on" if settings.train_size else ""
        raise InputError(
            f"data.{data.name}: tune.questions is {size}, but {data.train_file} has {len(fit)} "
            f"to hold out{beside}; ask fewer, or name a `dev` file"
        )
    dev = sample_questions(fit, test=0, dev=size, seed=settings.seed).dev
    if settings.train_size is None:
        train = without(_but(questions, dev), dev, data.train_file, "development")
    return train, dev


def _but(questions: Sequence[Question], taken: Sequence[Question]) -> Sequence[Question]:
    ids = {q.id for q in taken}
    return choose(questions, [n for n, q in enumerate(questions) if q.id not in ids])


def check_dev(data: DataSet, asked: Mapping[str, Sequence[Question]]) -> None:
    """Refuse, as an InputError, development questions that are trained on or tested on.

    `asked` are further test questions by name. What `Seen.common` calls grave counts.
    """
    for what, others in {"training": data.train, "test": data.test, **asked}.items():
        seen = Seen(others)
        found = ((q.id, seen.common(q)) for q in data.dev)
        shared = {i: GRAVE[common] for i, common in found if common is not None and common in GRAVE}
        if shared:
            first, how = next(iter(shared.items()))
            raise InputError(
                f"data.{data.name}.dev: {len(shared)} of {len(data.dev)} development questions of "
                f"{data.dev_file or data.train_file} are {what} questions, too, {how} (the first "
                f"is {first!r}); settings are chosen by them, so they must be neither: name "
                "another file, or leave `dev` out to hold some out"
            )


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
