"""steper's own generic JSON lines, and FlashRAG's.

Generic, one question a line; only `id` and `question` are needed:

    {"id": "q1", "question": "Who founded the town where Ada Vel was born?",
     "answers": ["Bo Larn", "B. Larn"],             # the first is the official one; or one string
     "type": "bridge", "hops": 2,
     "context": [{"title": "Ada Vel", "text": "Ada Vel was born in Tor."}, …],
     "gold": [0, 4],                                # positions in context, from 0
     "decomposition": [{"question": "Where was Ada Vel born?", "answer": "Tor", "passage": 0},
                       {"subject": "Tor", "relation": "founded by", "answer": "Bo Larn",
                        "passage": 4}],             # #1 in a question is the first hop's answer
     "metadata": {…}}                               # anything; not read

FlashRAG: `{"id", "question", "golden_answers", "metadata"}`; of the metadata only `type` is read
(its copies of the benchmarks lay out the rest in their own ways: use the official files for gold
passages).
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from pydantic import Field, NonNegativeInt, PositiveInt

from steper.data.contexts import distinct
from steper.data.formats import QuestionFormat, given_answers
from steper.data.items import BenchmarkRow, Filled, Item
from steper.records import Hop, Passage, Question


class PassageRow(BenchmarkRow):
    """A candidate passage of a generic question."""

    title: str
    text: str


class HopRow(BenchmarkRow):
    """A hop: a `question`, or a `subject` and a `relation`; `passage` is a context's position."""

    answer: str
    question: str | None = None
    subject: str | None = None
    relation: str | None = None
    passage: NonNegativeInt | None = None


class GenericRow(BenchmarkRow):
    """One line of a generic file."""

    id: str | int
    question: Filled
    answers: list[str] | str = Field(default=[])
    type: str | None = None
    hops: PositiveInt | None = None
    context: list[PassageRow] = Field(default=[])
    gold: list[NonNegativeInt] = Field(default=[])
    decomposition: list[HopRow] = Field(default=[])
    metadata: Any = None


class FlashragRow(BenchmarkRow):
    """One line of a FlashRAG file."""

    id: str | int
    question: Filled
    golden_answers: list[str] | str
    metadata: dict[str, Any] | None = None


def read_flashrag(item: Item, counts: Counter[str]) -> Question:
    """The question of one FlashRAG line."""
    row = item.parse(FlashragRow, "FlashRAG")
    kind = (row.metadata or {}).get("type")
    return Question(
        id=str(row.id),
        text=row.question.strip(),
        answers=given_answers(row.golden_answers, counts),
        type=kind if isinstance(kind, str) else None,
    )


def read_generic(item: Item, counts: Counter[str]) -> Question:
    """The question of one generic line."""
    row = item.parse(GenericRow, "the generic format")
    context = [Passage.make(p.title, p.text) for p in row.context]
    gold = [_pick(item, f"gold[{i}]", index, context) for i, index in enumerate(row.gold)]
    hops = []
    for position, hop in enumerate(row.decomposition):
        passage = None
        if hop.passage is not None:
            passage = _pick(item, f"decomposition[{position}].passage", hop.passage, context)
            gold.append(passage)
        if hop.question is None and (hop.subject is None or hop.relation is None):
            raise item.error(
                f"decomposition[{position}] has neither a question nor a subject and a relation"
            )
        hops.append(
            Hop(
                answer=hop.answer,
                question=hop.question,
                subject=hop.subject,
                relation=hop.relation,
                passage_id=passage.id if passage else None,
            )
        )
    return Question(
        id=str(row.id),
        text=row.question.strip(),
        answers=given_answers(row.answers, counts),
        type=row.type,
        hops=row.hops or len(hops) or None,
        gold=distinct(gold),
        decomposition=tuple(hops),
        context=distinct(context),
    )


def _pick(item: Item, field: str, index: int, context: list[Passage]) -> Passage:
    if index >= len(context):
        has = f"{len(context)} passages (0–{len(context) - 1})" if context else "no passages"
        raise item.error(f"{field} is {index}, but context has {has}")
    return context[index]


FLASHRAG = QuestionFormat(
    "flashrag",
    "id, question, golden_answers",
    read_flashrag,
    lambda fields: "golden_answers" in fields,
    order=5,
    open=True,
)
GENERIC = QuestionFormat(
    "generic",
    "id, question",
    read_generic,
    lambda fields: {"id", "question"} <= set(fields),
    order=6,
    open=True,
)
