"""The numbers of a report: per method, with intervals, from the evaluation's per-question scores.

A method is one run or several (seeds): a question's value is its mean over the runs. For one run
all numbers equal those of `steper eval`.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from steper.evaluation.methods import Method, Metric
from steper.evaluation.score_table import USAGE, ScoreTable
from steper.evaluation.statistics import Bootstrap, Estimate, Floats, estimate_means
from steper.records import Question

TABLE_METRICS: tuple[Metric, ...] = ("em", "f1", "acc", "acc_token", "gold_recall", "all_gold")
PANEL_METRICS: tuple[Metric, ...] = ("em", "f1", "acc")

Columns = Callable[[ScoreTable], Floats]
"""What is measured of each question of a table: (n, columns)."""


@dataclass(frozen=True)
class ScoreCell:
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
    cells: tuple[ScoreCell | None, ...]


@dataclass(frozen=True)
class StepPoint:
    """Retrieval up to a step, and the share of questions that still took it."""

    step: int
    recall: Estimate
    all_gold: Estimate
    running: Estimate


@dataclass(frozen=True)
class MethodEffort:
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
    table = np.mean([columns(run) for run in method.tables(ids)], axis=0)
    return estimate_means(table, settings)


def cell(
    method: Method, metric: Metric, ids: Iterable[str], settings: Bootstrap
) -> ScoreCell | None:
    """A method's mean of one metric over those of the questions that have it; None if none has."""
    values = method.values(metric, [i for i in ids if i in method.questions])
    values = values[:, ~np.isnan(values[0])]
    if not values.size:
        return None
    mean = estimate_means(values.mean(axis=0)[:, None], settings)[0]
    return ScoreCell(values.shape[1], mean, tuple(values.mean(axis=1).tolist()))


def every_question(methods: Sequence[Method]) -> Mapping[str, Question]:
    """The questions of all methods, first come first."""
    maps = [method.questions for method in reversed(methods)]
    return ChainMap(*maps)  # type: ignore[arg-type]  # it is only read from


def parts(
    methods: Sequence[Method],
    metric: Metric,
    ids_by_part: Mapping[str, Sequence[str]],
    settings: Bootstrap,
) -> list[Part]:
    """Every method by one metric on each part of the questions."""
    found = []
    for name, ids in ids_by_part.items():
        cells = tuple(cell(m, metric, ids, settings) for m in methods)
        if any(cells):
            found.append(Part(name, max(c.n for c in cells if c), cells))
    return found


def steps(method: Method, settings: Bootstrap) -> list[StepPoint]:
    """Recall after each step over the questions with gold passages."""
    every = list(method.questions)
    first, *_ = runs = method.tables(every)
    known = first.gold > 0
    ids = [i for i, has in zip(every, known.tolist(), strict=True) if has]
    longest = max(run.length[known].max(initial=0) for run in runs)

    def columns(run: ScoreTable) -> Floats:
        of_step = (
            (run.retrieval(step)[:, :2], (run.length > step)[:, None]) for step in range(longest)
        )
        return np.concatenate([part for parts in of_step for part in parts], axis=1)

    if not longest:
        return []
    found = means(method, ids, columns, settings)
    return [StepPoint(s + 1, *found[3 * s : 3 * s + 3]) for s in range(longest)]


def effort(method: Method, seconds: Sequence[float], settings: Bootstrap) -> MethodEffort:
    """What the method's runs took."""

    def columns(run: ScoreTable) -> Floats:
        return np.nan_to_num(run.columns("steps", "searches", *USAGE))

    estimates = means(method, list(method.questions), columns, settings)
    prompt, completion, spent, unpriced = np.concatenate(
        [e.table.columns(*USAGE, "unpriced") for e in method.evaluations]
    ).T
    dollars = spent[~np.isnan(spent)].tolist()
    return MethodEffort(
        questions=len(method.questions),
        runs=len(method.scores),
        steps=estimates[0],
        searches=estimates[1],
        prompt=estimates[2],
        completion=estimates[3],
        dollars=estimates[4] if dollars else None,
        prompt_total=int(prompt.sum()),
        completion_total=int(completion.sum()),
        dollars_total=sum(dollars) if dollars else None,
        unpriced=int(unpriced.sum()),
        seconds=tuple(seconds),
    )
