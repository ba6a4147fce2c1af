"""The three abilities of StepER (Lee et al., 2025, §3), measured by gold facts, without a judge.

In: a Question with a decomposition, its Trajectory, and whether the answer is right. Out: its
`Abilities`. Each is asked for only where it can be shown: a step that was shown no passage with a
needed fact is the retriever's failure, not the model's.
"""

from __future__ import annotations

from collections.abc import Sequence

from steper.evaluation.gold_facts import GoldFact, asked_in, claims, gold_facts, told_in
from steper.evaluation.retrieval import same_passage
from steper.records import Question, Record, Step, Trajectory


class Abilities(Record):
    """What one trajectory shows of each ability; None where it had no occasion.

    `initialization`: 1 if the first step tells a needed fact (or, where it only asks, asks for
    one), where a passage shown to it holds one. `expansion`: the share of middle steps that tell a
    needed fact not told before, of those that were shown a passage with one. `aggregation`: 1 if
    the answer is right, where every needed fact was told before the last step or stands in the
    passages shown to it.
    """

    initialization: float | None = None
    expansion: float | None = None
    aggregation: float | None = None


def measure_abilities(
    question: Question, trajectory: Trajectory, right: bool | None
) -> Abilities | None:
    """A trajectory's abilities; None where the question has no facts that can be looked up.

    `right` is None where the question has no answer to compare with.
    """
    facts = gold_facts(question)
    steps = [step for step in trajectory.steps if step.stands]
    if not facts or not steps:
        return None
    held = _held(question, trajectory, facts)
    titles = [passage.title for passage in trajectory.passages]
    told: set[int] = set()
    first: float | None = None
    middle: list[float] = []
    for number, step in enumerate(steps):
        shown = {fact for passage in step.context for fact in held[passage]} - told
        new = _told(step, facts, titles)
        if number == 0 and shown:
            asked = set() if new else asked_in(step.rationale, question.text, facts)
            first = float(bool(new & shown or asked))
        elif 0 < number < len(steps) - 1 and shown:
            middle.append(float(bool(new & shown)))
        if number < len(steps) - 1:
            told |= new
    at_hand = told | {fact for passage in steps[-1].context for fact in held[passage]}
    whole = right is not None and {fact.position for fact in facts} <= at_hand
    return Abilities(
        initialization=first,
        expansion=sum(middle) / len(middle) if middle else None,
        aggregation=float(bool(right)) if whole else None,
    )


def _held(
    question: Question, trajectory: Trajectory, facts: Sequence[GoldFact]
) -> dict[str, set[int]]:
    """Positions of the facts that each passage of a trajectory holds, by its id."""
    return {
        passage.id: {
            fact.position
            for fact in facts
            if same_passage(fact.passage, passage, question.benchmark)
        }
        for passage in trajectory.passages
    }


def _told(step: Step, facts: Sequence[GoldFact], titles: Sequence[str]) -> set[int]:
    found: set[int] = set()
    for claim in claims(step.rationale, step.query or "", titles):
        found |= told_in(claim, facts)
    return found
