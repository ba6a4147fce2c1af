"""What a judge is shown: the same part of two trajectories of one question, and a rubric.

In: a question and two trajectories. Out: a `JudgedPair` for each ability that both had occasion to
show, and its prompt in either order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from steper.prompt.segments import Form, Prompt, Segment
from steper.records import Question, Step, Trajectory
from steper.store import package_yaml
from steper.text import limit_words

Ability = Literal["initialization", "expansion", "aggregation"]

ABILITIES: tuple[Ability, ...] = get_args(Ability)

RUBRICS: dict[Ability, str] = package_yaml(__package__, "rubrics.yaml")

HEAD = "Two assistants, First and Second, answer a question in steps and search between them."

ENDING = (
    "Length, style and the order in which the two stand do not count. Say in one sentence why, "
    "then end with a line of its own: Verdict: first, Verdict: second, or Verdict: tie."
)


@dataclass(frozen=True, slots=True)
class JudgedPair:
    """The trajectories `a` and `b` of a question, to be compared by one ability."""

    question: Question
    ability: Ability
    a: Trajectory
    b: Trajectory

    def prompt(self, swapped: bool, form: Form, words: int) -> Prompt:
        """What is asked; `swapped` puts b first. Passages are cut after so many words."""
        first, second = (self.b, self.a) if swapped else (self.a, self.b)
        parts = [HEAD, RUBRICS[self.ability], ENDING, f"Question: {self.question.text}"]
        if self.ability == "aggregation" and self.question.answers:
            parts.append(f"Right answer: {' or '.join(self.question.answers)}")
        parts += [
            f"# First\n{self._shown(first, words)}",
            f"# Second\n{self._shown(second, words)}",
        ]
        text = "\n\n".join(parts)
        return Prompt(form, (Segment("user", text if form == "chat" else f"{text}\n\nWhy: "),))

    def alike(self, words: int) -> bool:
        """Whether a judge would be shown the same twice: a tie, whatever it says."""
        return self._shown(self.a, words) == self._shown(self.b, words)

    def _shown(self, trajectory: Trajectory, words: int) -> str:
        """The passages, what was said before and the steps that are compared, of one of the two."""
        steps = asked_steps(trajectory)
        compared = _compared(self.ability, steps)
        before = [step.rationale for step in steps if step.index < compared[0].index]
        seen: set[str] = set()
        parts = [f"Said before: {' '.join(before)}"] if before else []
        for step in compared:
            passages = _passages(trajectory, step, seen, words)
            seen |= set(step.context)
            parts += [*passages, f"Says: {step.rationale or '(nothing)'}"]
        if self.ability == "aggregation":
            parts.append(f"Answer: {trajectory.answer or '(none)'}")
        return "\n".join(parts)


def asked_steps(trajectory: Trajectory) -> list[Step]:
    """The steps at which a model wrote something that the reasoning went on with."""
    return [step for step in trajectory.steps if step.stands]


def _compared(ability: Ability, steps: Sequence[Step]) -> Sequence[Step]:
    """The first step, those between, or the last one; empty where there is none."""
    if ability == "initialization":
        return steps[:1]
    return steps[1:-1] if ability == "expansion" else steps[-1:]


def pair_of(
    question: Question, a: Trajectory, b: Trajectory, ability: Ability
) -> JudgedPair | None:
    """The pair of one ability; None where a trajectory has no step that could show it.

    One that failed or was dropped shows nothing: its model or its server did not get so far.
    """
    for trajectory in (a, b):
        ended = trajectory.status in ("answered", "capped")
        if not ended or not _compared(ability, asked_steps(trajectory)):
            return None
    return JudgedPair(question, ability, a, b)


def _passages(trajectory: Trajectory, step: Step, seen: set[str], words: int) -> list[str]:
    """The passages that a step's prompt showed; of those that stand above one line."""
    new = [p for p in trajectory.passages if p.id in step.context and p.id not in seen]
    shown = [f"[{passage.title}] {limit_words(passage.text, words)[0]}" for passage in new]
    return shown if not seen else ["(the passages above, and:)", *shown] if new else []
