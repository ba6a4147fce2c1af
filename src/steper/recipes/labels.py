"""Which passages a trajectory stands on: labels that no teacher gives.

A label comes from the gold passages, from names and numbers looked up (`grounding`), from an
embedding model, or from a judge. `auto` takes the gold passages where the question has some, else
names and numbers; the examples' manifest counts which it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from steper.errors import InputError, QuestionDropped
from steper.evaluation.retrieval import same_passage
from steper.gold.alignment import without_qualifier
from steper.grounding import Support, lexical_support, stands_whole, telling_words
from steper.lm.judge import read_word
from steper.records import Passage, Question

Labels = Literal["auto", "gold", "lexical", "embedding", "judge"]
"""Where labels come from."""

Similarity = Callable[[str, str], float]
"""How alike two texts are, from -1 to 1."""

FULL, PARTIAL = 0.6, 0.5
"""Cosines from which a passage holds a statement, or a part of it. Chosen for all-MiniLM-L6-v2 on
trajectories of the small world (docs/log.md)."""

SUPPORTS: dict[str, Support] = {"full": "full", "partial": "partial", "none": "none"}

UNREADABLE = "judge_unreadable"
"""The reason where a judge's answer is none of those that were asked for."""

JUDGED = """Does the passage support the statement? Answer with one word: full if all of the \
statement stands in the passage, partial if a part of it does, none if nothing of it does.

Passage: {title}
{text}

Statement: {statement}"""


@dataclass(frozen=True)
class Labeller:
    """Labels the passages of one question's trajectory.

    With `gold` only gold passages support anything; which statement one supports is looked up. A
    judge is asked once about a passage and a statement; QuestionDropped where its answer is none.
    """

    question: Question
    by: Labels = "auto"
    judge: Callable[[str], str] | None = None
    similarity: Similarity | None = None
    _judged: dict[tuple[str, str], Support] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.by == "gold" and not self.question.gold:
            raise InputError(
                f"question {self.question.id!r} has no gold passages, which labels=gold needs; "
                "use labels=auto, lexical, embedding or judge"
            )

    @property
    def source(self) -> Labels:
        """Where this question's labels come from."""
        if self.by != "auto":
            return self.by
        return "gold" if self.question.gold else "lexical"

    def relevant(self, passage: Passage, told: Sequence[str]) -> bool:
        """Whether a passage holds something of what is told: all of one statement."""
        if self.source == "gold":
            return self._is_gold(passage)
        # A part is no sign: passages that say something else have names in common, too.
        supports = (self.support(passage, s, told[:n]) for n, s in enumerate(told))
        return "full" in supports

    def support(self, passage: Passage, statement: str, before: Sequence[str] = ()) -> Support:
        """Whether a passage supports a statement; `before` was said already."""
        text = f"{passage.title}\n{passage.text}"
        if self.source == "embedding":
            assert self.similarity is not None
            alike = self.similarity(text, statement)
            return "full" if alike >= FULL else "partial" if alike >= PARTIAL else "none"
        if self.source == "judge":
            asked = passage.id, statement
            if asked not in self._judged:
                self._judged[asked] = self._ask_judge(passage, statement)
            return self._judged[asked]
        if self.source == "gold":
            if not self._is_gold(passage):
                return "none"
            # Named before or not: in a comparison that is answered with yes, all was. A statement
            # of what was said is another's, though, unless it names what the passage is about.
            about = set(telling_words(without_qualifier(passage.title)))
            if about & set(telling_words(statement)) and stands_whole(statement, text):
                return "full"
        return lexical_support(statement, text, (self.question.text, *before))

    def _is_gold(self, passage: Passage) -> bool:
        benchmark = self.question.benchmark
        return any(same_passage(gold, passage, benchmark) for gold in self.question.gold)

    def _ask_judge(self, passage: Passage, statement: str) -> Support:
        assert self.judge is not None
        asked = JUDGED.format(title=passage.title, text=passage.text, statement=statement)
        said = self.judge(asked)
        if word := read_word(said, SUPPORTS):
            return SUPPORTS[word]
        raise QuestionDropped(UNREADABLE, said[:60])
