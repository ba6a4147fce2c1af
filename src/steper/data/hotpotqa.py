"""HotpotQA (Yang et al. 2018): the official JSON of the distractor and fullwiki settings.

A distractor item has ten paragraphs, the gold ones among them; a fullwiki item has those that the
authors' retriever found, so gold passages may be missing: they are counted, not invented. The
corpus of the fullwiki setting, 5,233,329 abstracts, is not part of these files: `steper data`
(`hotpotqa_abstracts`) makes it of the official dump. Test files have no answers and no facts.
Hugging Face's copy (`id` for `_id`, and columns) is read, too.
"""

from __future__ import annotations

from collections import Counter
from typing import Literal

from pydantic import Field

from steper.data.contexts import (
    Paragraphs,
    SentenceContext,
    SupportingFacts,
    distinct,
    gold_passages,
)
from steper.data.formats import QuestionFormat, given_answers
from steper.data.items import BenchmarkRow, Filled, Item
from steper.records import Hop, Passage, Question

HOPS = 2


class HotpotRow(BenchmarkRow):
    """One item of a HotpotQA file."""

    id: str = Field(alias="_id")
    question: Filled
    context: Paragraphs
    answer: str | None = None
    supporting_facts: SupportingFacts = Field(default=[])
    type: Literal["bridge", "comparison"] | None = None
    level: str | None = None


def read_hotpotqa(item: Item, counts: Counter[str]) -> Question:
    """The question of one item.

    HotpotQA has no decomposition: its hops are the supporting sentences (`Hop.fact`), in the
    file's order, with no answer of their own. Sentences carry their own leading spaces.
    """
    row = item.parse(HotpotRow, "hotpotqa")
    context = SentenceContext(row.context, joint="")
    facts = gold_passages(row.supporting_facts, context, item, counts, may_lack=True)
    return Question(
        id=row.id,
        text=row.question.strip(),
        benchmark="hotpotqa",
        answers=given_answers(row.answer, counts),
        type=row.type,
        hops=HOPS,
        gold=distinct([passage for passage, _ in facts]),
        decomposition=_hops(facts, complete=len(facts) == len(row.supporting_facts)),
        context=distinct(context.passages),
    )


def _hops(facts: list[tuple[Passage, str | None]], *, complete: bool) -> tuple[Hop, ...]:
    """Supporting sentences as hops; none at all where one of them is not to be had."""
    if not complete or any(not sentence for _, sentence in facts):
        return ()
    return tuple(
        Hop(answer="", subject=passage.title, fact=sentence, passage_id=passage.id)
        for passage, sentence in facts
    )


HOTPOTQA = QuestionFormat(
    "hotpotqa",
    "_id, question, context",
    read_hotpotqa,
    lambda fields: (
        {"_id", "context"} <= set(fields) or {"id", "context", "supporting_facts"} <= set(fields)
    ),
    order=3,
)
