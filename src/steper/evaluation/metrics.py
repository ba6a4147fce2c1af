"""The records of an evaluation.

A `QuestionScore` is what is measured of one question, `Metrics` what all of them come to: means
with bootstrap intervals, overall and by hop count and question type, recall per step, what the run
cost, and what was counted how.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from steper.evaluation.abilities import Abilities
from steper.evaluation.official_scores import AnswerScore
from steper.evaluation.retrieval import Coverage
from steper.evaluation.statistics import Bootstrap, Estimate
from steper.records import Benchmark, GrownRecord, Record, Status, StopReason, Usage

METRICS_VERSION = 1


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
