"""Question files of any known format → `Question` records.

`load_questions(path)` recognises the format by its first item; naming a benchmark makes a file of
another one an error. FlashRAG's and the generic format carry no benchmark of their own: naming one
says by which rules their answers are scored.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, cast, get_args

from steper.data.formats import BENCHMARKS, QuestionFormat, Read, as_format
from steper.data.items import Item, meant, read_items
from steper.errors import InputError, SettingsError
from steper.records import Benchmark, Question
from steper.store import sha256_file
from steper.stored import stored_questions

log = logging.getLogger(__name__)

AUTO = "auto"

COUNTED = {
    "gold_passage_not_in_context": "gold passages are not among the contexts (fullwiki setting)",
    "supporting_sentence_out_of_range": "supporting facts name a sentence that does not exist",
    "hop_without_gold_passage": "evidences could not be matched to a gold passage",
    "answer_without_aliases": "answers may have aliases, which 2Wiki's own script accepts: give "
    "its id_aliases file (--aliases)",
    "unanswerable": "unanswerable questions were left out",
    "left_out_by_reader": "rows were left out by the reader",
    "blank_answer": "answers are blank and count as no answer: no letter, digit or symbol is in "
    "them",
}


Named = str | QuestionFormat | Callable[[dict[str, object]], "Question | None"]
"""How a benchmark is named."""


@dataclass(frozen=True, slots=True)
class QuestionFile:
    """What a question file held; its questions are read from a temporary file as they are needed.

    `counts` has what was skipped or missing, by reason (COUNTED), `ignored` how many rows have each
    field that the format does not have.
    """

    questions: Sequence[Question]
    format: str
    counts: dict[str, int] = field(default_factory=dict)
    ignored: dict[str, int] = field(default_factory=dict)

    def describe(self, path: Path | str) -> dict[str, Any]:
        """What a run's manifest says of the file `path`, which this was read from."""
        about = {"file": str(path), "sha256": sha256_file(path)}
        ignored = {"ignored": self.ignored} if self.ignored else {}
        return {**about, "format": self.format, "counts": self.counts, **ignored}


def load_questions(
    path: str | Path, benchmark: Named = AUTO, aliases: str | Path | None = None
) -> list[Question]:
    """All questions of a file, in its order; `read_question_file` says what was left out.

    `benchmark` is "auto", a benchmark or format by name or `package.module:Name`, or the object: a
    QuestionFormat, or a function that makes a Question of a row (a dict). `aliases` is 2Wiki's
    `id_aliases` file. Raises
    InputError, one line, for whatever does not fit.
    """
    return list(read_question_file(path, benchmark, aliases).questions)


def read_question_file(
    path: str | Path, benchmark: Named = AUTO, aliases: str | Path | None = None
) -> QuestionFile:
    """`load_questions` with the format found and the counts of what was skipped or missing."""
    path = Path(path)
    named = _named(benchmark)
    items = iter(read_items(path))
    first = next(items, None)
    if first is None:
        raise InputError(f"{path} holds no questions")
    found = _checked_format(first, named)
    read: Read = found.read
    if aliases is not None:
        if found.with_aliases is None:
            needs = ", ".join(f.name for f in BENCHMARKS.ours().values() if f.with_aliases)
            raise InputError(f"{path} is a {found.name} file: an aliases file belongs to {needs}")
        read = found.with_aliases(Path(aliases))
    counts: Counter[str] = Counter()
    every = _read_all(chain([first], items), read, counts)
    if found.open and named and named.name in get_args(Benchmark):
        rules = cast(Benchmark, named.name)
        every = (q.model_copy(update={"benchmark": rules}) for q in every)
    questions = stored_questions(every)
    if not questions:
        reasons = "; ".join(f"{count} {COUNTED[reason]}" for reason, count in (+counts).items())
        raise InputError(f"{path} holds no questions that can be used: {reasons}")
    counts = +counts
    for reason, count in counts.items():
        log.warning("%s: %d %s", path, count, COUNTED[reason])
    first.ignored.warn(path)
    return QuestionFile(questions, found.name, dict(counts), dict(first.ignored.rows))


def _named(benchmark: Named) -> QuestionFormat | None:
    """The format that was named, None for auto; InputError for an unknown one."""
    if benchmark == AUTO:
        return None
    if not isinstance(benchmark, str):
        found = as_format(benchmark)
        if found is None:
            raise InputError(f"{benchmark!r} is no benchmark: expected {BENCHMARKS.expected}")
        return found
    try:
        return BENCHMARKS.find(benchmark)
    except SettingsError as error:
        raise InputError(str(error)) from None


def _checked_format(first: Item, named: QuestionFormat | None) -> QuestionFormat:
    """The format of the file; an InputError if none fits or it is not the one that was named."""
    ours = BENCHMARKS.ours()
    if named is not None and named.name not in ours:
        return named  # a reader of the user's own says itself what it cannot read
    found = next((f for f in ours.values() if f.matches(first.value)), None)
    has = ", ".join(list(first.value)[:8]) or "no fields"
    if found is None:
        raise first.error(f"not a known question format: it has {has}{_nearest(first.value, ours)}")
    if named not in (None, found) and not (found.open and named.name in get_args(Benchmark)):
        raise first.error(
            f"this is not a {named.name} file ({named.fields}): it has {has} and looks like "
            f"{found.name}; name {found.name}, or auto"
        )
    return found


def _nearest(row: dict[str, Any], formats: Mapping[str, QuestionFormat]) -> str:
    """What was expected: the format of which a row lacks least, or all where none is near.

    Where rows stand in a list under some name, it says under which.
    """
    known = {each: each.fields.split(", ") for each in formats.values()}
    lacks = {each: [f for f in fields if f not in row] for each, fields in known.items()}
    names = {field for fields in known.values() for field in fields}
    strange = {name: None for name in row if name not in names}
    best = min(known, key=lambda each: (len(lacks[each]), -len(known[each])))
    if len(lacks[best]) == len(known[best]):
        for name, value in row.items():
            if isinstance(value, list) and value and isinstance(value[0], dict):
                return f"; its rows seem to be under {name!r}: write them as a list, or one a line"
        every = "; ".join(f"{each.name} ({each.fields})" for each in known)
        near = meant(strange, sorted(names - row.keys()))
        return f"{near}; expected one of {every}"
    near, needs = meant(strange, lacks[best]), ", ".join(lacks[best])
    return f"{near}; the nearest, {best.name} ({best.fields}), needs {needs}"


def _read_all(items: Iterable[Item], reader: Read, counts: Counter[str]) -> Iterator[Question]:
    """Questions of all items; two of one id are refused."""
    places: dict[str, str] = {}
    for item in items:
        question = reader(item, counts)
        if question is None:
            continue
        if question.id in places:
            raise item.error(f"the same id stands at {places[question.id]}; ids must differ")
        places[question.id] = item.place
        yield question
