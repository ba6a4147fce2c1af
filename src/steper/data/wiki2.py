"""2WikiMultiHopQA (Ho et al. 2020): the official JSON, and the `id_aliases` file.

`evidences` are triples (subject, relation, object), one a hop, in the order of the reasoning. Both
official downloads are read: with Wikidata ids (`evidences_id`, `answer_id`) and without; so are
Hugging Face's copies (`id` for `_id`, and columns). The
`id_aliases` file is JSON lines `{"Q_id", "aliases", "demonyms"}`: as in the official
`2wikimultihop_evaluate_v1.1.py`, the accepted answers are answer ∪ aliases ∪ demonyms of
`answer_id`; an `answer_id` that the file lacks (dates have none) adds nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from steper.data.contexts import (
    Paragraphs,
    SentenceContext,
    SupportingFacts,
    columns,
    distinct,
    gold_passages,
)
from steper.data.formats import QuestionFormat, Read, given_answers
from steper.data.items import BenchmarkRow, Filled, Item, read_items
from steper.errors import InputError
from steper.gold.alignment import align_triples
from steper.records import Hop, Question

HOPS = {"compositional": 2, "inference": 2, "comparison": 2, "bridge_comparison": 4}

Triple = tuple[str, str, str]
Triples = Annotated[list[Triple], columns("fact", "relation", "entity")]

Aliases = Mapping[str, tuple[str, ...]]
"""Wikidata id → other accepted names, without repetition."""


class Wiki2Row(BenchmarkRow):
    """One item of a 2WikiMultiHopQA file."""

    id: str = Field(alias="_id")
    question: Filled
    context: Paragraphs
    type: Literal["compositional", "inference", "comparison", "bridge_comparison"] | None = None
    answer: str | None = None
    answer_id: str | None = None
    supporting_facts: SupportingFacts = Field(default=[])
    evidences: Triples = Field(default=[])
    evidences_id: Triples = Field(default=[])
    entity_ids: str | None = None
    level: str | None = None


class AliasRow(BenchmarkRow):
    """One line of the `id_aliases` file."""

    q_id: str = Field(alias="Q_id")
    aliases: list[str] = Field(default=[])
    demonyms: list[str] = Field(default=[])


def load_aliases(path: Path | str) -> dict[str, tuple[str, ...]]:
    """The `id_aliases` file as Wikidata id → aliases and demonyms."""
    found: dict[str, tuple[str, ...]] = {}
    item: Item | None = None
    for item in read_items(path):
        row = item.parse(AliasRow, "the id_aliases file")
        found[row.q_id] = tuple(dict.fromkeys((*row.aliases, *row.demonyms)))
    if item is None:
        raise InputError(f"{path} holds no aliases; the id_aliases file of 2Wiki was expected")
    item.ignored.warn(item.path)
    return found


def read_wiki2(item: Item, counts: Counter[str], aliases: Aliases | None = None) -> Question:
    """The question of one item; sentences come stripped and are joined with one space."""
    row = item.parse(Wiki2Row, "2wikimultihopqa")
    context = SentenceContext(row.context, joint=" ")
    facts = gold_passages(row.supporting_facts, context, item, counts, may_lack=False)
    gold = distinct([passage for passage, _ in facts])
    passages = align_triples(row.evidences, [passage for passage, _ in facts])
    hops = tuple(
        Hop(subject=s, relation=r, answer=a, passage_id=passage.id if passage else None)
        for (s, r, a), passage in zip(row.evidences, passages, strict=True)
    )
    if row.answer_id and aliases is None:
        counts["answer_without_aliases"] += 1
    counts["hop_without_gold_passage"] += sum(hop.passage_id is None for hop in hops)
    return Question(
        id=row.id,
        text=row.question.strip(),
        benchmark="2wikimultihopqa",
        answers=given_answers(_answers(row, aliases or {}), counts),
        type=row.type,
        hops=len(hops) or HOPS.get(row.type or ""),
        gold=gold,
        decomposition=hops,
        context=distinct(context.passages),
    )


def _answers(row: Wiki2Row, aliases: Aliases) -> tuple[str, ...]:
    if row.answer is None:
        return ()
    others = aliases.get(row.answer_id, ()) if row.answer_id else ()
    return row.answer, *others


def _with_aliases(path: Path) -> Read:
    table = load_aliases(path)
    return lambda item, counts: read_wiki2(item, counts, table)


WIKI2 = QuestionFormat(
    "2wikimultihopqa",
    "_id, question, context, evidences",
    read_wiki2,
    lambda fields: "evidences" in fields or {"_id", "answer_id"} <= set(fields),
    order=2,
    with_aliases=_with_aliases,
)
