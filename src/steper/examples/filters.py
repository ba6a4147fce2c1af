"""What is fit to learn from: trajectories by their answer, single steps by what they stand on.

StepER keeps a trajectory when its final answer is right (§3), so a right answer with a wrong path
is learnt, too. The step-level filters go beyond the paper and are off by default, but for two:
steps that repeat an earlier one would teach the student to repeat itself, and steps whose text was
cut off to end in mid-sentence. Each drop has a reason, and every reason is counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from steper.data import read_question_file
from steper.doors import Door
from steper.evaluation.leakage import Common, Seen
from steper.evaluation.official_scores import normalize_answer, score_answer
from steper.evaluation.retrieval import coverage, same_passage
from steper.grounding import grounded_share
from steper.recipes import Recipe
from steper.records import GrownRecord, Passage, Question, Step, StopReason, Trajectory
from steper.store import sha256_file, validated
from steper.strategy.replay import Replay
from steper.text import limit_words

REASONS = {
    "not_taken": "its question is not among those that are learnt from",
    "capped": "ended by a guard without an answer",
    "failed": "the model or the retriever gave up",
    "dropped": "dropped by the teacher",
    "test_question_id": "its question's id is in an excluded file",
    "test_question_text": "its question stands in an excluded file",
    "test_gold_set": "a question in an excluded file has the same set of gold passages",
    "no_gold_answer": "its question has no gold answer to compare with",
    "wrong_answer": "the answer is wrong",
    "not_consistent": "too few samples of its question agree, or it is not among those that do",
    "judged_wrong": "the judge takes its answer for wrong",
    "judge_unreadable": "the judge's answer is none of those asked for, or had no room",
    "judged_unsupported": "the judge does not find a step supported",
    "not_verified": "a step is not verified, or stands on one that is not",
    "too_many_steps": "more steps than --max-steps",
    "gold_passage_not_seen": "a step states a hop's answer without its gold passage",
    "not_grounded": "a step tells names or numbers that it was not given",
    "repeated_query": "a step asks or tells again what an earlier one did",
    "other_sample": "another sample of its question is learnt",
    "truncated": "a step's text was cut off at the token limit",
    "not_failed": "the student's own trajectory ended right",
    "no_known_failure": "nobody knows whether the student's own trajectory failed",
    "no_pair": "no failed attempt at its state is known",
    "not_first": "the student left the teacher's way at an earlier state",
    "same_text": "the student wrote the same there",
    "not_its_own": "a target would hold steps that the student wrote itself",
    "cannot_be_written": "a step's text cannot follow its prompt",
    "no_example_left": "no step of it is left",
}
"""Every reason of ours to drop a trajectory or step, in words."""

EXCLUSIONS: dict[Common, str] = {
    "id": "test_question_id",
    "text": "test_question_text",
    "gold_set": "test_gold_set",
}
"""The reason for each of what a question may not have in common with an excluded one."""

_LETTERS = re.compile(r"[\W_]+")

Filter = Callable[[Question, Replay], Mapping[int, str]]
"""What is not fit to learn from: a short reason by step index; index 0 is the whole trajectory."""


class FilterSettings(GrownRecord):
    """Which trajectories and steps become examples."""

    later: ClassVar[tuple[str, ...]] = ("truncated", "per_question", "consistent", "judged")

    correct: Literal["em", "f1", "acc", "acc_token", "none"] = Field(
        "acc_token",
        description="the answer's score that must reach the threshold; acc: a gold answer is in "
        "it, acc_token: as whole tokens ('no' is not in 'Norway'); none: keep wrong answers, too",
    )
    threshold: float = Field(1.0, gt=0, le=1, description="the least score of the answer (0 to 1)")
    max_steps: int | None = Field(
        None, ge=1, description="drop trajectories of more generations (none: no limit)"
    )
    gold_seen: bool = Field(
        False,
        description="drop a step that is the first to state a hop's answer while the hop's gold "
        "passage was not shown (questions without hops that have answers are counted as unchecked)",
    )
    min_grounded: float = Field(
        0.0,
        ge=0,
        le=1,
        description="drop a step of which a smaller share of names and numbers stands in its "
        "passages, the question or earlier reasoning (0: off; 0.8 forgives rephrasing)",
    )
    consistent: float = Field(
        0.0,
        ge=0,
        le=1,
        description="of several samples of a question keep those that give the answer of at least "
        "this share of them (self-consistency, which needs no gold answer; 0: off)",
    )
    judged: Literal["none", "answer", "steps"] = Field(
        "none",
        description="ask --judge whether the answer is right, or whether each step follows from "
        "its passages; neither needs a gold answer",
    )
    repeats: bool = Field(
        False,
        description="keep steps whose next query or statement was there before (else each is left "
        "out by itself; where its text is part of a longer target, that example)",
    )
    truncated: bool = Field(
        False, description="keep steps whose text was cut off at the token limit"
    )
    per_question: Literal["all", "first", "best"] = Field(
        "all",
        description="which of several fit samples of a question are learnt: all; the first; the "
        "best: fewest steps, then most gold passages found, then first",
    )
    on_bad_step: Literal["trajectory", "step"] = Field(
        "trajectory",
        description="what goes with a dropped step: its whole trajectory, or it alone "
        "(a repeat goes alone)",
    )


@dataclass(frozen=True, slots=True)
class Excluded:
    """Questions that training must not see, by id, normalised text and gold passages."""

    seen: Seen = field(default_factory=Seen)
    hashes: tuple[str, ...] = ()

    @classmethod
    def read(cls, paths: Iterable[Path]) -> Excluded:
        """The questions of all these files, in any known format."""
        paths = list(paths)
        questions = (q for path in paths for q in read_question_file(path).questions)
        hashes = tuple(sorted(sha256_file(path) for path in paths))
        return cls(seen=Seen(questions), hashes=hashes)

    def reason(self, question: Question) -> str | None:
        """Why this question is excluded, or None."""
        common = self.seen.common(question)
        return EXCLUSIONS.get(common) if common else None


def trajectory_problem(
    question: Question, trajectory: Trajectory, settings: FilterSettings, excluded: Excluded
) -> str | None:
    """The first reason not to learn from a trajectory, or None."""
    if reason := excluded.reason(question):
        return reason
    if trajectory.stop_reason is StopReason.ONE_STEP:
        return None  # a step at a student's state that goes on: there is no answer to judge it by
    if trajectory.status != "answered":
        return trajectory.status
    if settings.correct != "none":
        right = is_right(trajectory.answer, question, settings)
        if not right:
            return "no_gold_answer" if right is None else "wrong_answer"
    if settings.max_steps is not None and len(trajectory.steps) > settings.max_steps:
        return "too_many_steps"
    return None


def own_settings(recipe: Recipe, given: FilterSettings | None) -> FilterSettings:
    """The settings that are given, over those of a recipe's own."""
    given = given or FilterSettings()
    own = {name: v for name, v in recipe.filters.items() if name not in given.model_fields_set}
    return validated(FilterSettings, {**given.model_dump(exclude_unset=True), **own})


def own_filters(recipe: Recipe, given: Sequence[Filter | str]) -> tuple[Filter, ...]:
    """A recipe's further filters and those that are given, by name or as they are, each once."""
    found = (FILTERS.find(f) if isinstance(f, str) else f for f in (*recipe.more_filters, *given))
    return tuple(dict.fromkeys(found))


def is_right(answer: str, question: Question, settings: FilterSettings) -> bool | None:
    """Whether an answer is right by the score and threshold of the settings; None without gold.

    With `correct=none` it is by whole tokens.
    """
    if not question.answers:
        return None
    score = score_answer(answer, question.answers, question.benchmark)
    metric = "acc_token" if settings.correct == "none" else settings.correct
    return bool(getattr(score, metric) >= settings.threshold)


def by_preference(
    question: Question, samples: Sequence[Trajectory], settings: FilterSettings
) -> list[Trajectory]:
    """Samples of a question in the order in which they are to be learnt."""
    if settings.per_question != "best":
        return sorted(samples, key=lambda t: t.sample)

    def merit(trajectory: Trajectory) -> tuple[int, int, int]:
        cover = coverage(question, trajectory)
        found = cover.retrieved[-1] if cover and cover.retrieved else 0
        return len(trajectory.steps), -found, trajectory.sample

    return sorted(samples, key=merit)


def step_problems(
    question: Question, replay: Replay, settings: FilterSettings, more: Sequence[Filter] = ()
) -> dict[int, str]:
    """The first reason not to learn from a step, by step index (0: from the whole trajectory)."""
    chosen: list[Filter] = [*more]
    if not settings.truncated:
        chosen.insert(0, truncated)
    if settings.min_grounded:
        chosen.insert(0, _at_least(settings.min_grounded))
    if settings.gold_seen:
        chosen.insert(0, gold_seen)
    problems: dict[int, str] = {}
    for fit in chosen:
        problems = {**fit(question, replay), **problems}
    return dict(sorted(problems.items()))


def lone_problems(question: Question, replay: Replay, settings: FilterSettings) -> dict[int, str]:
    """Steps that go by themselves, whatever `on_bad_step` is: the others are sound without them."""
    return {} if settings.repeats else repeats(question, replay)


def gold_seen(question: Question, replay: Replay) -> dict[int, str]:
    """Steps that state a hop's answer first, without a gold passage of it in their prompt."""
    return dict.fromkeys(sorted(unseen_gold(question, replay)), "gold_passage_not_seen")


def repeats(question: Question, replay: Replay) -> dict[int, str]:
    """Steps that ask or tell again what an earlier one did."""
    return {s.index: "repeated_query" for s in replay.steps if replay.repeats(s)}


def truncated(question: Question, replay: Replay) -> dict[int, str]:
    """Steps of whose text the end is missing.

    Where a generation was cut off behind the sentence that was kept of it, nothing is.
    """
    return {s.index: "truncated" for s in replay.steps if s.finish == "length" and _reaches_cut(s)}


def _reaches_cut(step: Step) -> bool:
    """Whether what was kept of a text goes up to its end."""
    end = _LETTERS.sub("", step.raw)[-20:]
    return step.role == "read" or _LETTERS.sub("", step.rationale).endswith(end)


def _at_least(share: float) -> Filter:
    """Steps of which a smaller share of names and numbers stands in what they were given."""

    def not_grounded(question: Question, replay: Replay) -> dict[int, str]:
        return {s.index: "not_grounded" for s in replay.steps if grounded(replay, s) < share}

    return not_grounded


def grounded(replay: Replay, step: Step) -> float:
    """The share of a step's names and numbers that stand in what it was given (0..1)."""
    words = replay.strategy.prompt.passage_words
    shown = (replay.passages[i] for i in step.context)
    passages = [f"{p.title} {limit_words(p.text, words)[0]}" for p in shown]
    earlier = [s.rationale for s in replay.steps[: step.index - 1]]
    return grounded_share(step.rationale, [*passages, *earlier, replay.trajectory.question])


def checkable_hops(question: Question) -> dict[str, list[Passage]]:
    """The gold passages of each normalised hop answer.

    Answers that the question itself names (both sides of a comparison, yes and no) say nothing
    about where they come from and are left out, and so are hops without answer or passage
    (HotpotQA's).
    """
    gold = {p.id: p for p in question.gold}
    asked = normalize_answer(question.text)
    passages: dict[str, list[Passage]] = {}
    for hop in question.decomposition:
        answer = normalize_answer(hop.answer)
        if hop.passage_id in gold and answer and not _has(asked, answer):
            passages.setdefault(answer, []).append(gold[hop.passage_id])
    return passages


def unseen_gold(question: Question, replay: Replay) -> set[int]:
    """Steps that state a hop's answer first, without a gold passage of it in their prompt.

    Of hops that have the same answer, one passage suffices.
    """
    unseen: set[int] = set()
    for answer, wanted in checkable_hops(question).items():
        step = _first_stating(answer, replay.steps)
        if step is None:
            continue
        shown = [replay.passages[i] for i in step.context]
        if not any(same_passage(g, p, question.benchmark) for g in wanted for p in shown):
            unseen.add(step.index)
    return unseen


def _first_stating(answer: str, steps: Sequence[Step]) -> Step | None:
    return next((s for s in steps if _has(normalize_answer(s.rationale), answer)), None)


def _has(text: str, tokens: str) -> bool:
    return f" {tokens} " in f" {text} "


def _checked(part: Any) -> Filter | None:
    return part if callable(part) else None


def _ours() -> dict[str, Filter]:
    from steper.examples.without_gold import verified  # which stands on this module

    return {
        "gold_seen": gold_seen,
        "repeats": repeats,
        "grounded": _at_least(0.8),
        "verified": verified,
    }


FILTERS: Door[Filter] = Door(
    "filter",
    "steper.filters",
    _ours,
    _checked,
    "a function (question, replay) -> {step index: reason}",
)
