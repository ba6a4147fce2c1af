"""Corpora: files → passages, and the corpus that a question file's own contexts make.

A row is `{"id"?, "title"?, "text"}`, with BEIR's `_id` for `id` or not, or FlashRAG's and
Search-R1's `{"id", "contents"}`, where the first line of `contents` is the title (in quotation
marks or not); beside a `text` that is not blank, `contents` says the same once more. `url` and
`metadata` are not read. Files are JSON lines, a JSON array, Parquet or DPR's TSV (see `rows`).
HotpotQA's own corpus has to be fetched: see `steper.data.hotpotqa`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from steper.data.items import BenchmarkRow, Item, meant, read_items
from steper.errors import InputError
from steper.records import Passage, Question
from steper.text import unquoted

log = logging.getLogger(__name__)


class CorpusRow(BenchmarkRow):
    """One line of a corpus."""

    id: str | int | None = Field(None, alias="_id")
    title: str | None = None
    text: str | None = None
    contents: str | None = None
    url: str | None = None
    metadata: Any = None


def load_corpus(path: str | Path) -> Iterator[Passage]:
    """Passages of a corpus, one at a time, in the file's order.

    A passage without an `id` gets its content id; a repeated one of those says nothing new: it is
    skipped and the number logged, as is that of passages whose text is blank. Raises InputError for
    an id that stands twice (both lines named), a passage that has no text, an empty corpus or a bad
    line. Memory: about 80 bytes a passage for the ids seen.
    """
    path = Path(path)
    seen: set[int] = set()
    count = repeated = empty = 0
    item: Item | None = None
    for item in read_items(path, tables=True):
        row = item.parse(CorpusRow, "a corpus line")
        passage = _passage(item, row)
        if passage is None:
            empty += 1
            continue
        mark = hash(passage.id)
        if mark in seen and row.id is None:
            repeated += 1
            continue
        if mark in seen and (first := _first_place(path, passage.id, item.place)):
            raise item.error(f"the same id stands at {first}; ids must differ")
        seen.add(mark)
        count += 1
        yield passage
    if item is not None:
        item.ignored.warn(path)
    if empty:
        log.warning("%s: %d passages without text were skipped", path, empty)
    if repeated:
        log.warning("%s: %d repeated passages were skipped", path, repeated)
    if not count:
        raise InputError(f"{path} holds no passages{' with text' if empty else ''}")


def _passage(item: Item, row: CorpusRow) -> Passage | None:
    """The passage of a row; None where its text is blank."""
    # A null is a blank text: so pandas and Parquet write what is empty.
    if not {"text", "contents"} & item.value.keys():
        near = meant(item.value, ("text", "contents"), CorpusRow)
        raise item.error(f"neither text nor contents is there; one of them is needed{near}")
    title, text = row.title, row.text or ""
    if not text.strip():
        text = row.contents or ""
        head, _, rest = text.partition("\n")
        named = unquoted(head.strip())
        if rest.strip() and title in (None, named):
            title, text = named, rest
    if not text.strip():
        return None
    made = Passage.make(title or "", text.strip())
    return made if row.id is None else made.model_copy(update={"id": str(row.id)})


def _first_place(path: Path, own: str, before: str) -> str | None:
    """Where this id stands first, or None when two ids only share their hash."""
    for item in read_items(path, tables=True):
        if item.place == before:
            return None
        passage = _passage(item, item.parse(CorpusRow, "a corpus line"))
        if passage is not None and passage.id == own:
            return item.place
    return None


def build_corpus(questions: Iterable[Question]) -> list[Passage]:
    """The union of all questions' contexts, without repetition of title and text, in order.

    Passages without text are skipped, and their number logged. This is how IRCoT's authors make
    2Wiki's (430,225 passages) and MuSiQue's (139,416) corpus, of train, dev and test together.
    Raises InputError when no question has contexts.
    """
    every = {passage.id: passage for q in questions for passage in q.context}
    found = [passage for passage in every.values() if passage.text.strip()]
    if empty := len(every) - len(found):
        log.warning("the questions' contexts: %d passages without text were skipped", empty)
    if not found:
        raise InputError(
            f"no question has contexts{' with text' if every else ''}, so no corpus can be made "
            "of them: name a corpus file"
        )
    return found
