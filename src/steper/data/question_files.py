"""Question files of any known format → `Question` records.

`load_questions(path)` recognises the format by its first item; naming a benchmark makes a file of
another one an error. FlashRAG's and the generic format carry no benchmark of their own: naming one
says by which rules their answers are scored.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Literal, cast, get_args

from steper.data.hotpotqa import read_hotpotqa
from steper.data.items import Item, read_items
from steper.data.jsonl import read_flashrag, read_generic
from steper.data.musique import read_musique
from steper.data.wiki2 import load_aliases, read_wiki2
from steper.errors import InputError, unknown_name
from steper.records import Benchmark, Question
from steper.store import sha256_file

log = logging.getLogger(__name__)

Format = Literal["hotpotqa", "2wikimultihopqa", "musique", "flashrag", "generic"]

Reader = Callable[[Item, Counter[str]], Question | None]

FIELDS = {
    "hotpotqa": "_id, question, context",
    "2wikimultihopqa": "_id, question, context, evidences",
    "musique": "id, question, paragraphs",
    "flashrag": "id, question, golden_answers",
    "generic": "id, question",
}

COUNTED = {
    "gold_passage_not_in_context": "gold passages are not among the contexts (fullwiki setting)",
    "supporting_sentence_out_of_range": "supporting facts name a sentence that does not exist",
    "hop_without_gold_passage": "evidences could not be matched to a gold passage",
    "answer_without_aliases": "answers may have aliases, which 2Wiki's own script accepts: give "
    "its id_aliases file (--aliases)",
    "unanswerable": "unanswerable questions were left out",
}


@dataclass(frozen=True, slots=True)
class QuestionFile:
    """What a question file held. `counts` has what was skipped or missing, by reason (COUNTED)."""

    questions: list[Question]
    format: Format
    counts: dict[str, int] = field(default_factory=dict)

    def describe(self, path: Path | str) -> dict[str, Any]:
        """What a run's manifest says of the file `path`, which this was read from."""
        about = {"file": str(path), "sha256": sha256_file(path)}
        return {**about, "format": self.format, "counts": self.counts}


def detect_format(fields: Collection[str]) -> Format | None:
    """The format of an item with these fields, or None."""
    if "paragraphs" in fields or "question_decomposition" in fields:
        return "musique"
    if "evidences" in fields or ("_id" in fields and "answer_id" in fields):
        return "2wikimultihopqa"
    if "_id" in fields and "context" in fields:
        return "hotpotqa"
    if "golden_answers" in fields:
        return "flashrag"
    return "generic" if {"id", "question"} <= set(fields) else None


def load_questions(
    path: str | Path, benchmark: str = "auto", aliases: str | Path | None = None
) -> list[Question]:
    """All questions of a file, in its order; `read_question_file` says what was left out.

    `benchmark` is "auto", a benchmark or a format; `aliases` is 2Wiki's `id_aliases` file. Raises
    InputError, one line, for whatever does not fit.
    """
    return read_question_file(path, benchmark, aliases).questions


def read_question_file(
    path: str | Path, benchmark: str = "auto", aliases: str | Path | None = None
) -> QuestionFile:
    """`load_questions` with the format found and the counts of what was skipped or missing."""
    path = Path(path)
    if benchmark != "auto" and benchmark not in get_args(Format):
        raise InputError(unknown_name("benchmark", benchmark, ("auto", *get_args(Format))))
    items = iter(read_items(path))
    first = next(items, None)
    if first is None:
        raise InputError(f"{path} holds no questions")
    found = _checked_format(first, benchmark)
    if aliases is not None and found != "2wikimultihopqa":
        raise InputError(f"{path} is a {found} file: an aliases file belongs to 2wikimultihopqa")
    named = cast(Benchmark, benchmark) if benchmark in get_args(Benchmark) else None
    counts: Counter[str] = Counter()
    questions = _read_all(chain([first], items), _reader(found, aliases), counts)
    if found in ("flashrag", "generic") and named:
        questions = [q.model_copy(update={"benchmark": named}) for q in questions]
    if not questions:
        reasons = "; ".join(f"{count} {COUNTED[reason]}" for reason, count in (+counts).items())
        raise InputError(f"{path} holds no questions that can be used: {reasons}")
    counts = +counts
    for reason, count in counts.items():
        log.warning("%s: %d %s", path, count, COUNTED[reason])
    return QuestionFile(questions, found, dict(counts))


def _checked_format(first: Item, benchmark: str) -> Format:
    """The format of the file; an InputError if none fits or it is not the one that was named."""
    found = detect_format(first.value)
    has = ", ".join(list(first.value)[:8]) or "no fields"
    if found is None:
        known = "; ".join(f"{name} ({fields})" for name, fields in FIELDS.items())
        raise first.error(f"not a known question format: it has {has}; expected one of {known}")
    if benchmark not in ("auto", found) and not (
        found in ("flashrag", "generic") and benchmark in get_args(Benchmark)
    ):
        raise first.error(
            f"this is not a {benchmark} file ({FIELDS[benchmark]}): it has {has} and looks like "
            f"{found}; name {found}, or auto"
        )
    return found


def _reader(found: Format, aliases: str | Path | None) -> Reader:
    if found == "2wikimultihopqa":
        table = load_aliases(Path(aliases)) if aliases is not None else None
        return lambda item, counts: read_wiki2(item, counts, table)
    readers: dict[Format, Reader] = {
        "hotpotqa": read_hotpotqa,
        "musique": read_musique,
        "flashrag": read_flashrag,
        "generic": read_generic,
    }
    return readers[found]


def _read_all(items: Iterable[Item], reader: Reader, counts: Counter[str]) -> list[Question]:
    """Questions of all items; two of one id are refused."""
    questions: list[Question] = []
    places: dict[str, str] = {}
    for item in items:
        question = reader(item, counts)
        if question is None:
            continue
        if question.id in places:
            raise item.error(f"the same id stands at {places[question.id]}; ids must differ")
        places[question.id] = item.place
        questions.append(question)
    return questions
