"""The records of an evaluation, and how per-question scores become them.

In: one `QuestionScore` a question. Out: `Metrics`: means with bootstrap intervals, overall and by
hop count and question type, recall per step, what the run cost, and what was counted how.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np
from pydantic import Field

from steper.evaluation.abilities import Abilities
from steper.evaluation.official_scores import AnswerScore
from steper.evaluation.retrieval import Coverage
from steper.evaluation.statistics import Bootstrap, Estimate, estimate_means
from steper.records import Benchmark, GrownRecord, Record, Status, StopReason, Usage

METRICS_VERSION = 1

T = TypeVar("T")


class QuestionScore(GrownRecord):
    """All that is measured of one question's trajectory.

    `answer` is what was scored: empty unless the trajectory's status is `answered`. `score` is None
    where the question has no gold answer, `coverage` where it has no gold passages. `inventing` of
    its `steps` state a name or number that neither the question nor a passage shown to them holds.
    """

    later: ClassVar[tuple[str, ...]] = ("abilities",)

    question_id: str
    benchmark: Benchmark
    hops: int | None = None
    type: str | None = None
    status: Status
    stop_reason: StopReason
    reason: str | None = None
    answer: str = ""
    score: AnswerScore | None = None
    coverage: Coverage | None = None
    steps: int = 0
    searches: int = 0
    inventing: int = 0
    abilities: Abilities | None = None
    usage: Usage = Usage()
    unpriced: int = 0

    @property
    def too_early(self) -> float | None:
        """1 if it answered before all gold passages were retrieved, else 0; None without gold."""
        if self.coverage is None:
            return None
        found = self.coverage.retrieved[-1] if self.coverage.retrieved else 0
        return float(self.status == "answered" and found < self.coverage.gold)

    @property
    def invented(self) -> float:
        """The share of its steps that invent something."""
        return self.inventing / self.steps if self.steps else 0.0


class AnswerMetrics(Record):
    """Mean answer scores of `n` questions, as fractions."""

    n: int
    em: Estimate
    f1: Estimate
    precision: Estimate
    recall: Estimate
    acc: Estimate
    acc_token: Estimate


class RetrievalMetrics(Record):
    """Mean paragraph recall of `n` questions with gold passages, as fractions.

    `recall`, `all_gold`: share of the gold passages retrieved, and of questions with all of them;
    `shown_recall`, `shown_all_gold`: the same of what prompts showed. `precision`: share of the
    retrieved passages that are gold (0 where none was retrieved); `passages`: their number.
    """

    n: int
    recall: Estimate
    all_gold: Estimate
    shown_recall: Estimate
    shown_all_gold: Estimate
    precision: Estimate
    passages: Estimate


class StepRetrieval(RetrievalMetrics):
    """Recall up to `step`: `running` trajectories have it, the others keep their last value."""

    step: int
    running: int


class Group(Record):
    """Scores of a set of `n` trajectories; None where none of them has the gold that it takes."""

    n: int
    answers: AnswerMetrics | None = None
    retrieval: RetrievalMetrics | None = None


class Support(Record):
    """What answers stand on, as fractions; the paper's account of what Vanilla-KD does wrong.

    `too_early`: of the questions with gold passages, those answered before all were retrieved.
    `invented`: the share of a question's steps that state a name or number which neither the
    question nor a passage shown to them holds.
    """

    too_early: Estimate | None
    invented: Estimate


class Ability(Record):
    """A mean over the `n` questions that gave occasion for it, as a fraction."""

    n: int
    mean: Estimate


class AbilityMetrics(Record):
    """The three abilities over questions with gold facts; None where no question had occasion."""

    initialization: Ability | None = None
    expansion: Ability | None = None
    aggregation: Ability | None = None


class Outcome(Record):
    """How many trajectories ended so; `reason` is what their errors share."""

    status: Status
    stop_reason: StopReason
    reason: str | None = None
    n: int


class Effort(Record):
    """What the trajectories took.

    `steps`, `searches` are means a question; tokens and dollars are totals. `dollars` adds what is
    known: `unpriced` generations have no known price, and it is None if no generation has one.
    """

    steps: Estimate
    searches: Estimate
    prompt_tokens: int
    completion_tokens: int
    dollars: float | None
    unpriced: int


class SampleMetrics(Record):
    """What several samples of each of `n` questions did, as fractions; at `most` so many of one.

    `em`: exact match of a question's samples on average; `em_best`: whether any is right;
    `em_majority`: of the answer given most often; `agreement`: the share of samples that gave it.
    """

    n: int
    trajectories: int
    most: int
    em: Estimate
    em_best: Estimate
    em_majority: Estimate
    agreement: Estimate


class Metrics(GrownRecord):
    """An evaluated run.

    Every trajectory counts in `overall`: failed, capped and dropped ones with an empty answer;
    `kept` leaves out the dropped ones. `missing` questions have no trajectory and count nowhere;
    those `without_answers` count in everything but answer scores. `step_end` says who ended a
    step (see `steper.strategy.base.StepEnd`), "" where nobody knows. `inputs` are SHA-256 by file,
    `provenance` the versions that scored it.
    """

    later: ClassVar[tuple[str, ...]] = ("samples", "abilities")

    version: int = METRICS_VERSION
    run: str | None = None
    step_end: str = ""
    inputs: dict[str, str] = Field(default_factory=dict)
    provenance: dict[str, Any] = Field(default_factory=dict)
    questions: int
    trajectories: int
    missing: int
    without_answers: int
    without_gold_passages: int
    benchmarks: dict[Benchmark, int]
    statuses: dict[Status, int]
    outcomes: tuple[Outcome, ...]
    overall: Group
    kept: Group
    by_hops: dict[str, Group]
    by_type: dict[str, Group]
    steps: tuple[StepRetrieval, ...]
    effort: Effort | None
    support: Support | None = None
    abilities: AbilityMetrics | None = None
    samples: SampleMetrics | None = None
    bootstrap: Bootstrap
    warnings: tuple[str, ...] = ()


def answer_metrics(scores: Sequence[AnswerScore], settings: Bootstrap) -> AnswerMetrics | None:
    """Means of the answer scores; None if there are none."""
    if not scores:
        return None
    names = tuple(AnswerScore.model_fields)
    table = np.array([[getattr(score, name) for name in names] for score in scores])
    estimates = dict(zip(names, estimate_means(table, settings), strict=True))
    return AnswerMetrics(n=len(scores), **estimates)


_RETRIEVAL_NAMES = tuple(name for name in RetrievalMetrics.model_fields if name != "n")


def coverage_row(cover: Coverage, step: int | None) -> list[float]:
    """The values of `_RETRIEVAL_NAMES` up to `step` (from 0), or at the end."""
    if not cover.retrieved:
        return [0.0] * len(_RETRIEVAL_NAMES)
    at = len(cover.retrieved) - 1 if step is None else min(step, len(cover.retrieved) - 1)
    got, seen, passages = cover.retrieved[at], cover.shown[at], cover.passages[at]
    return [
        got / cover.gold,
        float(got == cover.gold),
        seen / cover.gold,
        float(seen == cover.gold),
        cover.relevant[at] / passages if passages else 0.0,
        float(passages),
    ]


def _retrieval_means(
    covers: Sequence[Coverage], steps: Sequence[int | None], settings: Bootstrap
) -> list[dict[str, Estimate]]:
    """Means up to each of `steps` (see `coverage_row`), by name; all from the same draws."""
    table = np.array([[v for s in steps for v in coverage_row(c, s)] for c in covers])
    estimates = iter(estimate_means(table, settings))
    return [{name: next(estimates) for name in _RETRIEVAL_NAMES} for _ in steps]


def retrieval_metrics(covers: Sequence[Coverage], settings: Bootstrap) -> RetrievalMetrics | None:
    """Mean recall at the end; None if there are no covers."""
    if not covers:
        return None
    return RetrievalMetrics(n=len(covers), **_retrieval_means(covers, [None], settings)[0])


def step_metrics(covers: Sequence[Coverage], settings: Bootstrap) -> tuple[StepRetrieval, ...]:
    """Recall per step, for as many steps as the longest trajectory has."""
    lengths = [len(cover.retrieved) for cover in covers]
    steps = range(max(lengths, default=0))
    if not steps:
        return ()
    return tuple(
        StepRetrieval(n=len(covers), step=s + 1, running=sum(x > s for x in lengths), **means)
        for s, means in zip(steps, _retrieval_means(covers, steps, settings), strict=True)
    )


def group(scores: Sequence[QuestionScore], settings: Bootstrap) -> Group:
    """Answer and retrieval metrics of a set of questions."""
    return Group(
        n=len(scores),
        answers=answer_metrics([s.score for s in scores if s.score is not None], settings),
        retrieval=retrieval_metrics([s.coverage for s in scores if s.coverage], settings),
    )


def partition(items: Sequence[T], key: Callable[[T], str | int | None]) -> dict[str, list[T]]:
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


def outcomes(scores: Sequence[QuestionScore]) -> tuple[Outcome, ...]:
    """How trajectories ended, most frequent first."""
    counts = Counter((s.status, s.stop_reason, s.reason) for s in scores)
    return tuple(
        Outcome(status=status, stop_reason=stop, reason=reason, n=n)
        for (status, stop, reason), n in counts.most_common()
    )


def effort(scores: Sequence[QuestionScore], settings: Bootstrap) -> Effort | None:
    """Steps, searches, tokens and dollars; None if there are no scores."""
    if not scores:
        return None
    steps, searches = estimate_means([[s.steps, s.searches] for s in scores], settings)
    usage = sum((s.usage for s in scores), Usage())
    return Effort(
        steps=steps,
        searches=searches,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        dollars=usage.dollars,
        unpriced=sum(s.unpriced for s in scores),
    )


def support(scores: Sequence[QuestionScore], settings: Bootstrap) -> Support | None:
    """What answers stand on; None if there are no scores."""
    if not scores:
        return None
    (invented,) = estimate_means([[s.invented] for s in scores], settings)
    early = [[s.too_early] for s in scores if s.too_early is not None]
    too_early = estimate_means(early, settings)[0] if early else None
    return Support(too_early=too_early, invented=invented)


def ability_metrics(scores: Sequence[QuestionScore], settings: Bootstrap) -> AbilityMetrics | None:
    """Means of the abilities; None if no question has facts that can be looked up."""
    measured = [score.abilities for score in scores if score.abilities is not None]
    if not measured:
        return None
    found = {}
    for name in AbilityMetrics.model_fields:
        values = [[value] for each in measured if (value := getattr(each, name)) is not None]
        if values:
            found[name] = Ability(n=len(values), mean=estimate_means(values, settings)[0])
    return AbilityMetrics(**found)
