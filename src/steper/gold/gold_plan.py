"""What a gold annotation says of a question: the ground of all strategies' gold texts.

A strategy words its own gold steps (`Strategy.gold_text`): which hop comes next, and how it reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from steper.errors import QuestionDropped
from steper.gold.facts import fact_hops
from steper.gold.hops import GoldHop, gold_hops, stem
from steper.records import Passage, Question

NOT_RETRIEVED = "gold_passage_not_retrieved"
NOT_SHOWN = "gold_passage_not_in_prompt"
NO_ANNOTATION = "no_gold_annotation"


@dataclass(frozen=True, slots=True)
class GoldPlan:
    """A question's hops in words, and its official answer."""

    hops: tuple[GoldHop, ...]
    answer: str
    sub_questions: bool

    def in_order(self) -> list[str]:
        """Every hop's sentence, the last with its conclusion."""
        last = len(self.hops) - 1
        return [hop.sentence(last=i == last) for i, hop in enumerate(self.hops)]

    def untold(self, rationales: Sequence[str]) -> list[int]:
        """Positions of the hops that no rationale states; a rationale may have been cut short.

        Hops that read alike are told as often as they are stated.
        """
        stated = [stem(" ".join(r.split())) for r in rationales if r.strip()]
        untold = []
        for position, hop in enumerate(self.hops):
            own = stem(hop.statement)
            found = next((s for s in stated if s.startswith(own) or own.startswith(s)), None)
            if found is None:
                untold.append(position)
            else:
                stated.remove(found)
        return untold


def make_gold_plan(question: Question) -> GoldPlan:
    """What can be told of a question; no hops where the annotation does not allow it."""
    answer = question.answers[0].strip() if question.answers else ""
    hops = gold_hops(question)
    return GoldPlan(hops or fact_hops(question), answer, sub_questions=bool(hops))


def closing(cue: str, answer: str) -> str:
    """`So the answer is: X.`, with one closing mark."""
    return f"{cue} {answer}" if answer.endswith((".", "?", "!")) else f"{cue} {answer}."


def shown(hop: GoldHop, passages: Sequence[Passage]) -> bool:
    """Whether the hop's gold passage is among those shown, by id or by title and text."""
    gold = hop.passage
    return gold is not None and any(
        p.id == gold.id or (p.title == gold.title and p.text == gold.text) for p in passages
    )


def all_shown(plan: GoldPlan, hops: Iterable[int], passages: Sequence[Passage]) -> None:
    """Drop the question unless the gold passages of these hops are all shown."""
    for position in hops:
        if not shown(plan.hops[position], passages):
            raise missing(plan.hops[position])


def missing(hop: GoldHop) -> QuestionDropped:
    """Why a question is dropped whose next hop has no passage to stand on."""
    if hop.passage is None:
        return QuestionDropped(NO_ANNOTATION, "a hop has no gold passage")
    return QuestionDropped(NOT_RETRIEVED, hop.passage.title)
