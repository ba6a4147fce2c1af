"""Trajectories side by side: what each method did on one question, ready for the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from steper.evaluation.methods import Method
from steper.evaluation.metrics import QuestionScore
from steper.evaluation.retrieval import same_passage
from steper.journal import PART, TRAJECTORIES, read_unfinished
from steper.records import Passage, Question, Step, Trajectory
from steper.reporting.pick_trajectories import Verdict, choose, verdicts
from steper.store import read_records

STEP_NAMES = {"init": "initialization", "exp": "expansion", "agg": "aggregation"}


@dataclass(frozen=True)
class ShownPassage:
    """A hit: `earlier` is the step that had retrieved it before, None where it is new."""

    passage: Passage
    rank: int
    score: float
    gold: bool
    earlier: int | None


@dataclass(frozen=True)
class ShownStep:
    """A step; `wrote` is the model's text where more than what was kept."""

    index: int
    kind: str
    reader: bool
    query: str | None
    passages: tuple[ShownPassage, ...]
    dropped: tuple[str, ...]
    shortened: tuple[str, ...]
    rationale: str
    wrote: str | None


@dataclass(frozen=True)
class Column:
    """One method's trajectory of a question; `right` is None where no gold answer is known."""

    index: int
    steps: tuple[ShownStep, ...]
    answer: str
    right: bool | None
    f1: float | None
    status: str
    stop: str
    error: str | None
    gold_found: int | None
    tokens: int


@dataclass(frozen=True)
class Example:
    """A question with every method's trajectory; `verdict` says how the methods agree."""

    number: int
    question: Question
    verdict: Verdict
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Examples:
    """The chosen questions, and of how many shared ones, by verdict, they were drawn.

    `judged` are the methods that the verdicts are about; empty where those are all.
    """

    shown: tuple[Example, ...]
    counts: Mapping[Verdict, int]
    seed: int
    judged: tuple[str, ...] = ()

    @property
    def opened(self) -> int:
        """The number of the question that is unfolded at first: one of disagreement, if any."""
        return next((e.number for e in self.shown if e.verdict == "disagree"), 1)


def gather_examples(
    methods: Sequence[Method],
    judged: Sequence[Method],
    shared: Mapping[str, Question],
    count: int,
    seed: int,
) -> Examples:
    """Choose `count` of the shared questions and read their trajectories of each first run.

    They are chosen by how those of `judged` did.
    """
    told = verdicts(judged, list(shared))
    ids = choose(shared, told, count, seed) if count else []
    read = [_read(method, set(ids)) for method in methods]
    shown = tuple(
        Example(
            number=number,
            question=shared[i],
            verdict=told[i],
            columns=tuple(
                _column(index, shared[i], found[i], method.scores[0][i])
                for index, (method, found) in enumerate(zip(methods, read, strict=True))
            ),
        )
        for number, i in enumerate(ids, start=1)
    )
    names = [m.name for m in judged] if len(judged) < len(methods) else []
    return Examples(shown, Counter(told.values()), seed, tuple(names))


def _read(method: Method, ids: set[str]) -> dict[str, Trajectory]:
    """The first run's trajectories of these questions; of an unfinished run those there are."""
    run = method.paths[0]
    whole = run / TRAJECTORIES
    found = read_records(whole, Trajectory) if whole.exists() else read_unfinished(run / PART)
    return {t.question_id: t for t in found if t.question_id in ids and not t.sample}


def _column(index: int, question: Question, found: Trajectory, score: QuestionScore) -> Column:
    passages = {p.id: p for p in found.passages}
    gold = {
        p.id
        for p in found.passages
        if any(same_passage(g, p, question.benchmark) for g in question.gold)
    }
    seen: dict[str, int] = {}
    steps = []
    for step in found.steps:
        steps.append(_step(step, passages, gold, seen))
        for hit in step.hits:
            seen.setdefault(hit.passage_id, step.index)
    cover = score.coverage
    return Column(
        index=index,
        steps=tuple(steps),
        answer=score.answer,
        right=None if score.score is None else score.score.em == 1.0,
        f1=None if score.score is None else score.score.f1,
        status=found.status,
        stop=found.stop_reason.value.replace("_", " "),
        error=found.error,
        gold_found=None if cover is None else (cover.retrieved[-1] if cover.retrieved else 0),
        tokens=found.usage.prompt_tokens + found.usage.completion_tokens,
    )


def _step(
    step: Step, passages: Mapping[str, Passage], gold: set[str], seen: Mapping[str, int]
) -> ShownStep:
    hits = tuple(
        ShownPassage(
            passage=passages[hit.passage_id],
            rank=hit.rank,
            score=hit.score,
            gold=hit.passage_id in gold,
            earlier=seen.get(hit.passage_id),
        )
        for hit in step.hits
    )
    kept = step.rationale.removeprefix(step.cue).strip()
    return ShownStep(
        index=step.index,
        kind=STEP_NAMES[step.kind],
        reader=step.role == "read",
        query=step.query,
        passages=hits,
        dropped=tuple(passages[i].title for i in step.dropped),
        shortened=tuple(passages[i].title for i in step.shortened),
        rationale=step.rationale,
        wrote=step.raw if step.raw.strip() != kept else None,
    )
