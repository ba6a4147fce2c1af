"""The numbers of many questions' scores in columns: what means and tests are taken over.

In: `QuestionScore`s, one at a time. Out: a `ScoreTable`, a row a question, which takes some three
hundred bytes of memory for each, where the records themselves take as many times ten.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from steper.evaluation.abilities import Abilities
from steper.evaluation.metrics import QuestionScore, RetrievalMetrics
from steper.evaluation.official_scores import AnswerScore
from steper.evaluation.retrieval import Coverage
from steper.evaluation.statistics import Floats
from steper.records import Benchmark, Status, StopReason

Ints = NDArray[np.int64]

ANSWERS = tuple(AnswerScore.model_fields)
ABILITIES = tuple(Abilities.model_fields)
RETRIEVAL = tuple(name for name in RetrievalMetrics.model_fields if name != "n")
OTHERS = ("too_early", "invented", "steps", "searches", "unpriced")
USAGE = ("prompt_tokens", "completion_tokens", "dollars")

PLACES = {name: n for n, name in enumerate((*ANSWERS, *ABILITIES, *OTHERS, *USAGE))}
"""Columns by name."""


class Labels(NamedTuple):
    """What a question is, and how its trajectory ended."""

    benchmark: Benchmark
    hops: int | None
    type: str | None
    status: Status
    stop_reason: StopReason
    reason: str | None


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """Scores of n questions, a row each; NaN stands for what a question has not.

    `numbers`: (n, columns of PLACES). `gold`: (n,), how many gold passages a question has; 0 is
    none. `covered`: (steps of all, 4), the counts of `Coverage` after each step; a question has
    `length` rows of it, from `first` on. `labels`: equal ones are one object.
    """

    numbers: Floats
    gold: Ints
    first: Ints
    length: Ints
    covered: Ints
    labels: Sequence[Labels]

    @classmethod
    def of(cls, scores: Iterable[QuestionScore]) -> ScoreTable:
        """The table of all these scores, in their order."""
        numbers, shapes, covered = array("d"), array("q"), array("q")
        labels: list[Labels] = []
        known: dict[Labels, Labels] = {}
        for score in scores:
            numbers.extend(_numbers(score))
            cover = score.coverage or Coverage(gold=0)
            shapes.extend((cover.gold, len(cover.retrieved)))
            for after in zip(
                cover.retrieved, cover.shown, cover.passages, cover.relevant, strict=True
            ):
                covered.extend(after)
            own = Labels(*(getattr(score, name) for name in Labels._fields))
            labels.append(known.setdefault(own, own))
        gold, length = np.array(shapes, dtype=np.int64).reshape(-1, 2).T
        return cls(
            numbers=np.array(numbers).reshape(-1, len(PLACES)),
            gold=gold,
            first=np.cumsum(length) - length,
            length=length,
            covered=np.array(covered, dtype=np.int64).reshape(-1, 4),
            labels=labels,
        )

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Iterable[int]) -> ScoreTable:
        """These rows alone, in this order."""
        chosen = list(rows)
        return replace(
            self,
            numbers=self.numbers[chosen],
            gold=self.gold[chosen],
            first=self.first[chosen],
            length=self.length[chosen],
            labels=[self.labels[at] for at in chosen],
        )

    def columns(self, *names: str) -> Floats:
        """The columns of these names: (n, names)."""
        return self.numbers[:, [PLACES[name] for name in names]]

    def values(self, metric: str) -> Floats:
        """The questions' values of a metric (see `methods.Metric`): (n,)."""
        if metric in PLACES:
            return self.numbers[:, PLACES[metric]]
        return self.retrieval()[:, RETRIEVAL.index({"gold_recall": "recall"}.get(metric, metric))]

    def retrieval(self, step: int | None = None) -> Floats:
        """The values of RETRIEVAL up to `step`, from 0, or at the end: (n, 6).

        All are 0 where a trajectory has no step, NaN where a question has no gold passage.
        """
        last = self.length - 1 if step is None else np.minimum(step, self.length - 1)
        table = np.full((len(self), len(RETRIEVAL)), np.nan)
        table[self.gold > 0] = 0
        stepped = (self.gold > 0) & (self.length > 0)
        gold = self.gold[stepped]
        got, seen, passages, relevant = self.covered[(self.first + last)[stepped]].T
        precision = np.zeros(len(gold))
        np.divide(relevant, passages, out=precision, where=passages > 0)
        shares = (got / gold, got == gold, seen / gold, seen == gold, precision, passages)
        table[stepped] = np.stack(shares, axis=1)
        return table


def _numbers(score: QuestionScore) -> list[float]:
    """A question's row, in the order of PLACES."""
    found = [
        *(getattr(score.score, name, None) for name in ANSWERS),
        *(getattr(score.abilities, name, None) for name in ABILITIES),
        *(getattr(score, name) for name in OTHERS),
        *(getattr(score.usage, name) for name in USAGE),
    ]
    return [np.nan if value is None else float(value) for value in found]
