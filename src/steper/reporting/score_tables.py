"""The numbers of a report: per method, with intervals, from the evaluation's per-question scores.

A method is one run or several (seeds): a question's value is its mean over the runs. For one run
all numbers equal those of `steper eval`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from steper.evaluation.methods import Method, Metric, value_of
from steper.evaluation.metrics import QuestionScore, coverage_row, partition
from steper.evaluation.statistics import Bootstrap, Estimate, estimate_means
from steper.records import Question

TABLE_METRICS: tuple[Metric, ...] = ("em", "f1", "acc", "acc_token", "gold_recall", "all_gold")
PANEL_METRICS: tuple[Metric, ...] = ("em", "f1", "acc")

Columns = Callable[[QuestionScore], Sequence[float]]


@dataclass(frozen=True)
class Cell:
    """A mean over `n` questions with its interval; `seeds` are each run's own means."""

    n: int
    mean: Estimate
    seeds: tuple[float, ...]

    @property
    def spread(self) -> float | None:
        """The standard deviation over seeds (n − 1); None for one run."""
        return float(np.std(self.seeds, ddof=1)) if len(self.seeds) > 1 else None


@dataclass(frozen=True)
class Part:
    """One part of the questions (3 hops; comparison): a cell a method, None where it has none."""

    name: str
    n: int
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class StepPoint:
    """Retrieval up to a step, and the share of questions that still took it."""

    step: int
    recall: Estimate
    all_gold: Estimate
    running: Estimate


@dataclass(frozen=True)
class Effort:
    """What answering took: means a question with intervals, totals of all runs.

    `dollars` is None where no price is known; `unpriced` generations have none. `seconds` are the
    runs' wall times, each for `questions` questions with many under way at once.
    """

    questions: int
    runs: int
    steps: Estimate
    searches: Estimate
    prompt: Estimate
    completion: Estimate
    dollars: Estimate | None
    prompt_total: int
    completion_total: int
    dollars_total: float | None
    unpriced: int
    seconds: tuple[float, ...]


def means(
    method: Method, ids: Sequence[str], columns: Columns, settings: Bootstrap
) -> list[Estimate]:
    """Means over questions of what `columns` gives for each, averaged over the runs first."""
    table = np.mean([[columns(run[i]) for i in ids] for run in method.scores], axis=0)
    return estimate_means(table, settings)


def cell(method: Method, metric: Metric, ids: Iterable[str], settings: Bootstrap) -> Cell | None:
    """A method's mean of one metric over those of the questions that have it; None if none has."""
    first = method.scores[0]
    having = [i for i in ids if i in method.questions and value_of(first[i], metric) is not None]
    if not having:
        return None
    values = method.values(metric, having)
    mean = estimate_means(values.mean(axis=0)[:, None], settings)[0]
    return Cell(len(having), mean, tuple(values.mean(axis=1).tolist()))


def every_question(methods: Sequence[Method]) -> dict[str, Question]:
    """The questions of all methods, first come first."""
    return {i: q for method in methods for i, q in method.questions.items()}


def parts(
    methods: Sequence[Method],
    metric: Metric,
    key: Callable[[Question], str | int | None],
    settings: Bootstrap,
) -> list[Part]:
    """Every method by one metric on each part of the questions, as `partition` orders them."""
    found = []
    for name, questions in partition(list(every_question(methods).values()), key).items():
        ids = [q.id for q in questions]
        cells = tuple(cell(m, metric, ids, settings) for m in methods)
        if any(cells):
            found.append(Part(name, max(c.n for c in cells if c), cells))
    return found


def steps(method: Method, settings: Bootstrap) -> list[StepPoint]:
    """Recall after each step over the questions with gold passages."""
    ids = [i for i in method.questions if method.scores[0][i].coverage is not None]
    longest = max(
        (len(c.retrieved) for run in method.scores for i in ids if (c := run[i].coverage)),
        default=0,
    )

    def columns(score: QuestionScore) -> list[float]:
        cover = score.coverage
        assert cover is not None
        return [
            value
            for step in range(longest)
            for value in (*coverage_row(cover, step)[:2], step < len(cover.retrieved))
        ]

    if not longest:
        return []
    found = means(method, ids, columns, settings)
    return [StepPoint(s + 1, *found[3 * s : 3 * s + 3]) for s in range(longest)]


def effort(method: Method, seconds: Sequence[float], settings: Bootstrap) -> Effort:
    """What the method's runs took."""

    def columns(score: QuestionScore) -> list[float]:
        usage = score.usage
        spent = usage.dollars or 0.0
        used = (usage.prompt_tokens, usage.completion_tokens, spent)
        return [score.steps, score.searches, *used]

    estimates = means(method, list(method.questions), columns, settings)
    every = [score for run in method.scores for score in run.values()]
    dollars = [s.usage.dollars for s in every if s.usage.dollars is not None]
    return Effort(
        questions=len(method.questions),
        runs=len(method.scores),
        steps=estimates[0],
        searches=estimates[1],
        prompt=estimates[2],
        completion=estimates[3],
        dollars=estimates[4] if dollars else None,
        prompt_total=sum(s.usage.prompt_tokens for s in every),
        completion_total=sum(s.usage.completion_tokens for s in every),
        dollars_total=sum(dollars) if dollars else None,
        unpriced=sum(s.unpriced for s in every),
        seconds=tuple(seconds),
    )
