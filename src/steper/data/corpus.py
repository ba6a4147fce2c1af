"""Corpora: JSON lines → passages, and the corpus that a question file's own contexts make.

A line is `{"id"?, "title"?, "text"}` or FlashRAG's and Search-R1's `{"id", "contents"}`, where the
first line of `contents` is the title (in quotation marks or not). `url` and `metadata` are not
read. HotpotQA's own corpus has to be fetched: see `steper.data.hotpotqa`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from steper.data.items import BenchmarkRow, Item
from steper.errors import InputError
from steper.records import Passage, Question
from steper.store import read_json_lines

log = logging.getLogger(__name__)


class CorpusRow(BenchmarkRow):
    """One line of a corpus."""

    id: str | int | None = None
    title: str | None = None
    text: str | None = None
    contents: str | None = None
    url: str | None = None
    metadata: Any = None


def load_corpus(path: str | Path) -> Iterator[Passage]:
    """Passages of a JSON-lines corpus, one at a time, in the file's order.

    A passage without an `id` gets its content id; a repeated one of those says nothing new: it is
    skipped and the number logged. Raises InputError for an id that stands twice (both lines
    named), a passage without text, an empty corpus or a bad line. Memory: about 80 bytes a passage
    for the ids seen.
    """
    path = Path(path)
    seen: set[int] = set()
    count = repeated = 0
    for number, value in read_json_lines(path):
        item = Item(path, f"line {number}", value)
        row = item.parse(CorpusRow, "a corpus line")
        passage = _passage(item, row)
        mark = hash(passage.id)
        if mark in seen and row.id is None:
            repeated += 1
            continue
        if mark in seen and (first := _first_line(path, passage.id, number)):
            raise item.error(f"the same id stands on line {first}; ids must differ")
        seen.add(mark)
        count += 1
        yield passage
    if not count:
        raise InputError(f"{path} holds no passages")
    if repeated:
        log.warning("%s: %d repeated passages were skipped", path, repeated)


def _passage(item: Item, row: CorpusRow) -> Passage:
    title, text = row.title, row.text if row.text is not None else row.contents
    if text is None or (row.text is not None and row.contents is not None):
        raise item.error("exactly one of text and contents is needed")
    if title is None and row.contents is not None:
        head, _, rest = text.partition("\n")
        if rest.strip():
            title, text = head.strip().strip('"').strip(), rest
    if not text.strip():
        raise item.error(f"{'text' if row.contents is None else 'contents'} is empty")
    made = Passage.make(title or "", text.strip())
    return made if row.id is None else made.model_copy(update={"id": str(row.id)})


def _first_line(path: Path, own: str, before: int) -> int | None:
    """The first line with this id, or None when two ids only share their hash."""
    for number, value in read_json_lines(path):
        if number >= before:
            return None
        item = Item(path, f"line {number}", value)
        if _passage(item, item.parse(CorpusRow, "a corpus line")).id == own:
            return number
    return None


def build_corpus(questions: Iterable[Question]) -> list[Passage]:
    """The union of all questions' contexts, without repetition of title and text, in order.

    This is how IRCoT's authors make 2Wiki's (430,225 passages) and MuSiQue's (139,416) corpus, of
    train, dev and test together. Raises InputError when no question has contexts.
    """
    found = {passage.id: passage for q in questions for passage in q.context}
    if not found:
        raise InputError(
            "no question has contexts, so no corpus can be made of them: name a corpus file"
        )
    return list(found.values())
