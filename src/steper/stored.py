"""Records that stay in a file: what is in memory is where each lies, and what it is known by.

A hundred thousand questions with their passages are gigabytes of objects; on the disk they are some
hundred megabytes of lines, of which those that are worked on are read, anew each time.
"""

from __future__ import annotations

import os
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

from pydantic import BaseModel

from steper.checksums import checked_lines, without_checksum
from steper.errors import writing_to
from steper.records import Question
from steper.store import BYTE_ORDER_MARK, dump_line, open_input, parse_records
from steper.text import brief

R = TypeVar("R", bound=BaseModel)


class _Held:
    """A file that is open for as long as anything reads from it."""

    def __init__(self, fd: int) -> None:
        self.fd = os.dup(fd)

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        close(self.fd)


class Stored(Sequence[R]):
    """A sequence of records, each read from its file whenever it is asked for.

    `keys` are what they are known by, in their order; `by_key` finds them by it. A part of it (a
    slice, or `take`) is such a sequence, too. Pickled, it carries its lines. The file is held open:
    another one that is put in its place changes nothing here.
    """

    def __init__(
        self, record: type[R], file: _Held, places: Sequence[array[int]], keys: Sequence[Any]
    ) -> None:
        self.keys = keys
        self._record, self._file = record, file
        self._starts, self._lengths = places

    def __len__(self) -> int:
        return len(self.keys)

    @overload
    def __getitem__(self, at: int) -> R: ...
    @overload
    def __getitem__(self, at: slice) -> Stored[R]: ...
    def __getitem__(self, at: int | slice) -> R | Stored[R]:
        if isinstance(at, slice):
            return self.take(range(len(self))[at])
        return self._record.model_validate_json(self._line(at))

    def __iter__(self) -> Iterator[R]:
        return (self[at] for at in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return brief("Stored", f"{len(self)} {self._record.__name__}")

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (self._record, [self._line(n) for n in range(len(self))], self.keys)

    def _line(self, at: int) -> bytes:
        line = os.pread(self._file.fd, self._lengths[at], self._starts[at])
        return without_checksum(line.removeprefix(BYTE_ORDER_MARK))

    def take(self, places: Iterable[int]) -> Stored[R]:
        """Those at these places, in this order; none of them is read."""
        chosen = list(places)
        parts = [array("q", (of[at] for at in chosen)) for of in (self._starts, self._lengths)]
        return Stored(self._record, self._file, parts, [self.keys[at] for at in chosen])

    @property
    def by_key(self) -> ByKey[R]:
        """The records by key; of several with one key the last."""
        return ByKey(self)


class ByKey(Mapping[Any, R]):
    """Stored records by what they are known by; `places` has where each stands."""

    def __init__(self, records: Stored[R]) -> None:
        self._records = records
        self.places: dict[Any, int] = {key: at for at, key in enumerate(records.keys)}

    def __getitem__(self, key: Any) -> R:
        return self._records[self.places[key]]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def take(self, places: Iterable[int]) -> ByKey[R]:
        """The records at these places alone."""
        return self._records.take(places).by_key


class Spool(Generic[R]):
    """A file without a name that records are put into one at a time; it goes when nobody reads it.

    `keys` are what those that are in are known by. Raises InputError where there is no room for
    temporary files.
    """

    def __init__(self, record: type[R]) -> None:
        self._record = record
        self._where = Path(tempfile.gettempdir())
        with writing_to(self._where), tempfile.TemporaryFile() as file:
            self._file = _Held(file.fileno())
        self._out = open(self._file.fd, "wb", closefd=False)  # noqa: SIM115 (it is held)
        self._places, self.keys, self._end = (array("q"), array("q")), list[Any](), 0

    def add(self, row: R | bytes, key: Any) -> None:
        """Put one more record, or its line, in."""
        line = row if isinstance(row, bytes) else dump_line(row)
        with writing_to(self._where):
            self._out.write(line)
        for place, value in zip(self._places, (self._end, len(line)), strict=True):
            place.append(value)
        self.keys.append(key)
        self._end += len(line)

    def stored(self) -> Stored[R]:
        """What was put in; nothing more can be."""
        with writing_to(self._where):
            self._out.close()
        return Stored(self._record, self._file, self._places, self.keys)


def _unpickled(record: type[R], lines: Iterable[bytes], keys: Iterable[Any]) -> Stored[R]:
    spool = Spool(record)
    for line, key in zip(lines, keys, strict=True):
        spool.add(line, key)
    return spool.stored()


def open_stored(
    path: Path, record: type[R], key: Callable[[R], Any], *, growing: bool = False
) -> Stored[R]:
    """The records of a JSON-lines file, which stay there; each is validated once here.

    The last line of a `growing` file is left out where its end is missing. Raises InputError at a
    bad record, naming it by file, line and field.
    """
    start = end = 0
    places, keys = (array("q"), array("q")), []
    with open_input(path) as file:

        def lines() -> Iterator[bytes]:
            nonlocal start, end
            for line in file:
                if growing and not line.endswith(b"\n"):
                    return
                start, end = end, end + len(line)
                yield line

        for row in parse_records(path, checked_lines(path, lines()), record):
            places[0].append(start)
            places[1].append(end - start)
            keys.append(key(row))
        return Stored(record, _Held(file.fileno()), places, keys)


def id_of(question: Question) -> str:
    """What a question is known by."""
    return question.id


def stored_questions(questions: Iterable[Question]) -> Stored[Question]:
    """Questions in a temporary file; what is stored already stays where it is."""
    if isinstance(questions, Stored):
        return questions
    spool = Spool(Question)
    for question in questions:
        spool.add(question, question.id)
    return spool.stored()


def without_contexts(questions: Iterable[Question]) -> Iterator[Question]:
    """The questions as they are asked: contexts are for corpora."""
    for question in questions:
        yield question.model_copy(update={"context": ()}) if question.context else question


def choose(records: Sequence[R], places: Iterable[int]) -> Sequence[R]:
    """The records at these places; of stored ones nothing is read."""
    return records.take(places) if isinstance(records, Stored) else [records[n] for n in places]
