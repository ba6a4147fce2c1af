"""MuSiQue (Trivedi et al. 2022): the official JSON lines, Answerable and Full.

`question_decomposition` has one single-hop question a hop, in which `#1` stands for the first
hop's answer, and the position of the paragraph that answers it. MuSiQue-Full pairs every question
with an unanswerable twin of the same id, whose gold paragraphs were taken away: those are left out
and counted as `unanswerable`, since there is nothing to teach or to score by answer. Test files
have neither answers nor decompositions.
"""

from __future__ import annotations

from collections import Counter

from pydantic import Field, NonNegativeInt

from steper.data.contexts import distinct
from steper.data.formats import QuestionFormat, given_answers
from steper.data.items import BenchmarkRow, Filled, Item
from steper.records import Hop, Passage, Question


class ParagraphRow(BenchmarkRow):
    """One candidate paragraph."""

    idx: NonNegativeInt
    title: str
    paragraph_text: str
    is_supporting: bool | None = None


class SubQuestionRow(BenchmarkRow):
    """One hop."""

    question: str
    answer: str
    id: int | str | None = None
    paragraph_support_idx: NonNegativeInt | None = None


class MusiqueRow(BenchmarkRow):
    """One line of a MuSiQue file."""

    id: str
    question: Filled
    paragraphs: list[ParagraphRow]
    question_decomposition: list[SubQuestionRow] = Field(default=[])
    answer: str | None = None
    answer_aliases: list[str] = Field(default=[])
    answerable: bool = True


def read_musique(item: Item, counts: Counter[str]) -> Question | None:
    """The question of one line, or None (counted) for one that is marked unanswerable."""
    row = item.parse(MusiqueRow, "musique")
    if not row.answerable:
        counts["unanswerable"] += 1
        return None
    context = {p.idx: Passage.make(p.title, p.paragraph_text) for p in row.paragraphs}
    hops, gold = [], []
    for position, part in enumerate(row.question_decomposition):
        passage = _support(item, position, part, context)
        if passage is not None:
            gold.append(passage)
        hops.append(
            Hop(
                question=part.question,
                answer=part.answer,
                passage_id=passage.id if passage else None,
            )
        )
    gold += [context[p.idx] for p in row.paragraphs if p.is_supporting]
    answers = () if row.answer is None else (row.answer, *row.answer_aliases)
    return Question(
        id=row.id,
        text=row.question.strip(),
        benchmark="musique",
        answers=given_answers(answers, counts),
        type=row.id.split("__")[0] if "hop" in row.id else None,
        hops=len(hops) or _hops_of_id(row.id),
        gold=distinct(gold),
        decomposition=tuple(hops),
        context=distinct([context[p.idx] for p in row.paragraphs]),
    )


def _support(
    item: Item, position: int, part: SubQuestionRow, context: dict[int, Passage]
) -> Passage | None:
    index = part.paragraph_support_idx
    if index is None:
        return None
    if index not in context:
        raise item.error(
            f"question_decomposition[{position}].paragraph_support_idx is {index}, but the "
            f"question has {len(context)} paragraphs"
            + (f" ({min(context)}–{max(context)})" if context else "")
        )
    return context[index]


def _hops_of_id(own: str) -> int | None:
    """The hop count in an id such as `3hop1__404363_705261_126049`; all that test files have."""
    return int(own[0]) if own[:1].isdigit() and own[1:4] == "hop" else None


MUSIQUE = QuestionFormat(
    "musique",
    "id, question, paragraphs",
    read_musique,
    lambda fields: "paragraphs" in fields or "question_decomposition" in fields,
    order=1,
)
