"""How the scores of many questions become means with bootstrap intervals.

In: a `ScoreTable`. Out: the parts of `Metrics`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np

from steper.evaluation.metrics import (
    Ability,
    AbilityMetrics,
    AnswerMetrics,
    Effort,
    Group,
    Outcome,
    RetrievalMetrics,
    StepRetrieval,
    Support,
)
from steper.evaluation.score_table import ABILITIES, ANSWERS, RETRIEVAL, ScoreTable
from steper.evaluation.statistics import Bootstrap, Floats, estimate_means

T = TypeVar("T")


def known(values: Floats) -> Floats:
    """The rows of (n, m) without NaN: the questions that have all of the values."""
    return values[~np.isnan(values).any(axis=1)]


def answer_metrics(scores: Floats, settings: Bootstrap) -> AnswerMetrics | None:
    """Means of answer scores (n, ANSWERS); None if there are none."""
    if not len(scores):
        return None
    estimates = dict(zip(ANSWERS, estimate_means(scores, settings), strict=True))
    return AnswerMetrics(n=len(scores), **estimates)


def retrieval_metrics(table: ScoreTable, settings: Bootstrap) -> RetrievalMetrics | None:
    """Mean recall at the end; None if no question has gold passages."""
    values = known(table.retrieval())
    if not len(values):
        return None
    estimates = dict(zip(RETRIEVAL, estimate_means(values, settings), strict=True))
    return RetrievalMetrics(n=len(values), **estimates)


def step_metrics(table: ScoreTable, settings: Bootstrap) -> tuple[StepRetrieval, ...]:
    """Recall per step, for as many steps as the longest trajectory has; all of the same draws."""
    lengths = table.length[table.gold > 0]
    steps = range(lengths.max(initial=0))
    if not steps:
        return ()
    values = np.concatenate([known(table.retrieval(step)) for step in steps], axis=1)
    estimates = iter(estimate_means(values, settings))
    return tuple(
        StepRetrieval(
            n=len(lengths),
            step=step + 1,
            running=int((lengths > step).sum()),
            **{name: next(estimates) for name in RETRIEVAL},
        )
        for step in steps
    )


def group(table: ScoreTable, settings: Bootstrap) -> Group:
    """Answer and retrieval metrics of a set of questions."""
    return Group(
        n=len(table),
        answers=answer_metrics(known(table.columns(*ANSWERS)), settings),
        retrieval=retrieval_metrics(table, settings),
    )


def partition(items: Iterable[T], key: Callable[[T], str | int | None]) -> dict[str, list[T]]:
    """Items by `key`, in the keys' order; those without one are `unknown`, last.

    Empty where no item has a key at all.
    """
    parts: dict[str | int | None, list[T]] = defaultdict(list)
    for item in items:
        parts[key(item)].append(item)
    nameless = parts.pop(None, [])
    if not parts:
        return {}
    order = sorted(parts, key=lambda k: (isinstance(k, str), k))
    named = {str(k): parts[k] for k in order}
    return named | {"unknown": nameless} if nameless else named


def outcomes(table: ScoreTable) -> tuple[Outcome, ...]:
    """How trajectories ended, most frequent first."""
    counts = Counter((own.status, own.stop_reason, own.reason) for own in table.labels)
    return tuple(
        Outcome(status=status, stop_reason=stop, reason=reason, n=n)
        for (status, stop, reason), n in counts.most_common()
    )


def effort(table: ScoreTable, settings: Bootstrap) -> Effort | None:
    """Steps, searches, tokens and dollars; None if there are no scores."""
    if not len(table):
        return None
    steps, searches = estimate_means(table.columns("steps", "searches"), settings)
    dollars = known(table.columns("dollars"))
    return Effort(
        steps=steps,
        searches=searches,
        prompt_tokens=int(table.values("prompt_tokens").sum()),
        completion_tokens=int(table.values("completion_tokens").sum()),
        dollars=sum(dollars.ravel().tolist()) if len(dollars) else None,
        unpriced=int(table.values("unpriced").sum()),
    )


def support(table: ScoreTable, settings: Bootstrap) -> Support | None:
    """What answers stand on; None if there are no scores."""
    if not len(table):
        return None
    (invented,) = estimate_means(table.columns("invented"), settings)
    early = known(table.columns("too_early"))
    too_early = estimate_means(early, settings)[0] if len(early) else None
    return Support(too_early=too_early, invented=invented)


def ability_metrics(table: ScoreTable, settings: Bootstrap) -> AbilityMetrics | None:
    """Means of the abilities; None if no question gave occasion for any."""
    found = {}
    for name in ABILITIES:
        if len(values := known(table.columns(name))):
            found[name] = Ability(n=len(values), mean=estimate_means(values, settings)[0])
    return AbilityMetrics(**found) if found else None
