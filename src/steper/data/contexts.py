"""Contexts of sentences, as HotpotQA and 2WikiMultiHopQA ship them, and their gold passages.

Hugging Face's copies keep lists of tuples as columns, `{"title": […], "sentences": [[…]]}`, or as
strings of JSON (2Wiki's): a field type of `columns(…)` reads them all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any

import orjson
from pydantic import BeforeValidator, NonNegativeInt

from steper.data.items import Item
from steper.records import Passage

Paragraph = tuple[str, list[str]]
"""A title and its sentences."""

SupportingFact = tuple[str, NonNegativeInt]
"""A title and the position of a sentence in that paragraph, from 0."""


def columns(*names: str, also: str | None = None) -> BeforeValidator:
    """Makes a list of tuples of columns of these names; `also` is another name of the last."""

    def as_tuples(value: Any) -> Any:
        if isinstance(value, str):
            try:
                value = orjson.loads(value)
            except orjson.JSONDecodeError:
                return value  # which is no list
        if not isinstance(value, dict):
            return value
        known = names if also is None or names[-1] in value else (*names[:-1], also)
        missing = [name for name in known if not isinstance(value.get(name), list)]
        if missing:
            raise ValueError(
                f"columns need the lists {', '.join(known)}; {', '.join(missing)} is none"
            )
        lengths = {name: len(value[name]) for name in known}
        if len(set(lengths.values())) > 1:
            said = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise ValueError(f"columns must be of one length ({said})")
        return list(zip(*(value[name] for name in known), strict=True))

    return BeforeValidator(as_tuples)


Paragraphs = Annotated[list[Paragraph], columns("title", "sentences", also="content")]
SupportingFacts = Annotated[list[SupportingFact], columns("title", "sent_id")]


class SentenceContext:
    """The candidate paragraphs of one question; `joint` stands between two sentences.

    Titles may repeat: a supporting fact then means the first paragraph that has such a sentence.
    """

    def __init__(self, paragraphs: Sequence[Paragraph], joint: str) -> None:
        self._paragraphs = paragraphs
        self.passages = tuple(
            Passage.make(title, joint.join(sentences).strip()) for title, sentences in paragraphs
        )

    def find(self, title: str, sentence: int) -> tuple[Passage, str | None] | None:
        """The passage of a supporting fact and its sentence.

        None when no paragraph has that title; the sentence is None when it is out of range, as it
        is for a few questions of both official data sets.
        """
        found: tuple[Passage, str | None] | None = None
        for passage, (own, sentences) in zip(self.passages, self._paragraphs, strict=True):
            if own == title:
                if sentence < len(sentences):
                    return passage, sentences[sentence].strip()
                found = found or (passage, None)
        return found


def distinct(passages: Sequence[Passage]) -> tuple[Passage, ...]:
    """Passages without repetition, in order."""
    return tuple({passage.id: passage for passage in passages}.values())


def gold_passages(
    facts: Sequence[tuple[str, int]],
    context: SentenceContext,
    item: Item,
    counts: Counter[str],
    *,
    may_lack: bool,
) -> list[tuple[Passage, str | None]]:
    """(passage, sentence) of each supporting fact whose passage is among the contexts.

    With `may_lack` (fullwiki settings) absent ones are counted, without it they are refused.
    """
    found = []
    absent = set()
    for position, (title, sentence) in enumerate(facts):
        fact = context.find(title, sentence)
        if fact is None:
            if not may_lack:
                raise item.error(
                    f"supporting_facts[{position}] names {title!r}, but no context has that title"
                )
            absent.add(title)
            continue
        counts["supporting_sentence_out_of_range"] += fact[1] is None
        found.append(fact)
    counts["gold_passage_not_in_context"] += len(absent)
    return found
