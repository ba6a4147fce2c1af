"""Whether test questions were seen before: in training, in demonstrations, in pretraining.

In: test questions, and the questions of each source that a student may have learnt from. Out:
`Leakage`: which test questions have something in common with which source, by the gravest of

- `id`: the question's id,
- `text`: its text, normalised as answers are (of generated questions: in the same world, because
  the names are the same in every world, and the facts and answers are others),
- `gold_set`: the same set of gold passages (two at the least), so that the same facts answer both,
- `gold_passage`: one of them. Benchmarks share these by their making (2Wiki's own training and
  development questions do), so it is reported, with the scores of the other questions beside.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Literal

from steper.data.world.world_questions import world_of
from steper.errors import InputError
from steper.evaluation.official_scores import normalize_answer
from steper.evaluation.retrieval import UNIQUE_TITLES, normalize_text, normalize_title
from steper.prompt.words import demonstrations
from steper.records import Passage, Question, Record

Common = Literal["id", "text", "gold_set", "gold_passage"]

GRAVE: dict[Common, str] = {
    "id": "by id",
    "text": "by text",
    "gold_set": "by all of their gold passages",
}
"""What no test question may have in common with anything learnt from, in words."""


class Overlap(Record):
    """Ids of the test questions that have something in common with a source of `questions`.

    Each is listed once, by the gravest that it has in common.
    """

    source: str
    questions: int
    id: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    gold_set: tuple[str, ...] = ()
    gold_passage: tuple[str, ...] = ()


class Leakage(Record):
    """What `test` questions have in common with each source."""

    test: int
    overlaps: tuple[Overlap, ...]

    @property
    def shared_gold(self) -> tuple[str, ...]:
        """Test questions of which a source has a gold passage, in their order, once."""
        found = (i for overlap in self.overlaps for i in overlap.gold_passage)
        return tuple(dict.fromkeys(found))

    def check(self, where: str) -> None:
        """Raise InputError where a test question was learnt from, by more than one passage."""
        for overlap in self.overlaps:
            for common, words in GRAVE.items():
                ids = getattr(overlap, common)
                if ids:
                    raise InputError(
                        f"{where}: {len(ids)} of {self.test} test questions are in "
                        f"{overlap.source}, too, {words} (the first is {ids[0]!r}); test "
                        "questions must not be learnt from: leave them out of one of the two (in "
                        "a pipeline, out of training, with overlap: drop)"
                    )


class Seen:
    """An index of `count` questions, to look others up in."""

    def __init__(self, questions: Iterable[Question] = ()) -> None:
        self.count = 0
        self._ids = set[str]()
        self._worlds: dict[str, set[str]] = {}
        self._by_text, self._by_title = _Golds(_by_text), _Golds(_by_title)
        for question in questions:
            self.count += 1
            self._ids.add(question.id)
            text, world = normalize_answer(question.text), world_of(question.id)
            self._worlds.setdefault(text, set()).add(world)
            self._by_text.add(question)
            if titles_tell(question):
                self._by_title.add(question)

    def common(self, question: Question) -> Common | None:
        """The gravest that a question has in common with one of these; None if nothing."""
        if question.id in self._ids:
            return "id"
        if self._has_text(question):
            return "text"
        golds = [self._by_text, *([self._by_title] if titles_tell(question) else [])]
        if any(gold.has_set(question) for gold in golds):
            return "gold_set"
        return "gold_passage" if any(gold.has_one(question) for gold in golds) else None

    def _has_text(self, question: Question) -> bool:
        """Whether one of them has its text; not where the two are of different worlds."""
        worlds = self._worlds.get(normalize_answer(question.text), set())
        own = world_of(question.id)
        return bool(worlds) if not own else not worlds.isdisjoint({own, ""})


class _Golds:
    """Gold passages of questions, one by one and as sets, by a key of each passage."""

    def __init__(self, key: Callable[[Passage], str]) -> None:
        self._key = key
        self._sets = set[frozenset[bytes]]()
        self._single = set[bytes]()

    def add(self, question: Question) -> None:
        """Take in a question's passages."""
        own = self._of(question)
        self._sets.add(own)
        self._single |= own

    def _of(self, question: Question) -> frozenset[bytes]:
        # Digests: the texts of a hundred thousand questions' passages would fill the memory.
        keys = (self._key(passage).encode() for passage in question.gold)
        return frozenset(hashlib.sha256(key).digest()[:16] for key in keys)

    def has_set(self, question: Question) -> bool:
        """Whether one of them has all the same passages; a lone passage is no set."""
        own = self._of(question)
        return len(own) > 1 and own in self._sets

    def has_one(self, question: Question) -> bool:
        """Whether one of them has one of its passages."""
        return not self._single.isdisjoint(self._of(question))


def titles_tell(question: Question) -> bool:
    """Whether a title names one passage: Wikipedia's in HotpotQA and 2Wiki.

    Generated worlds are written in 2Wiki's format, and each has another article of the same name.
    """
    return question.benchmark in UNIQUE_TITLES and not world_of(question.id)


def _by_title(passage: Passage) -> str:
    return normalize_title(passage.title)


def _by_text(passage: Passage) -> str:
    return f"{normalize_title(passage.title)}\n{normalize_text(passage.text)}"


def find_leakage(test: Collection[Question], sources: Mapping[str, Iterable[Question]]) -> Leakage:
    """What test questions have in common with each source (its name → its questions)."""
    overlaps = []
    for name, questions in sources.items():
        seen = Seen(questions)
        found: dict[str, list[str]] = {}
        for question in test:
            if common := seen.common(question):
                found.setdefault(common, []).append(question.id)
        lists = {common: tuple(ids) for common, ids in found.items()}
        overlaps.append(Overlap(source=name, questions=seen.count, **lists))
    return Leakage(test=len(test), overlaps=tuple(overlaps))


def demonstrated(count: int) -> list[Question]:
    """The questions of the first `count` demonstrations, all their passages as gold."""
    return [
        Question(
            id=f"demonstration {n}",
            text=demo.question,
            benchmark="hotpotqa",  # they are about Wikipedia's articles
            gold=demo.passages(),
        )
        for n, demo in enumerate(demonstrations()[:count], start=1)
    ]
