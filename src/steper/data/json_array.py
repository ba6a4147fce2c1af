"""A JSON array read item by item: official question files are arrays of half a gigabyte."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import orjson

from steper.errors import InputError
from steper.store import BYTE_ORDER_MARK

CHUNK = 1 << 20

_MARK = re.compile(rb'"(?:[^"\\]|\\.)*+"|["\[\]{}]', re.DOTALL)
"""What tells where an item ends: brackets, outside of strings. A lone " is a string's beginning."""

_SPACE = re.compile(rb"[ \t\r\n]*")
_SCALAR = re.compile(rb"[^,\]\s]*")


def read_array(path: Path, file: IO[bytes]) -> Iterator[Any]:
    """The items of the array that a file holds; the text of one at a time is in memory.

    Raises InputError, naming line and column, where the text is no JSON array.
    """
    text = _Text(path, file)
    text.expect(b"[")
    if text.next() == b"]":
        text.at += 1
    else:
        while True:
            yield text.value()
            if text.expect(b",", b"]") == b"]":
                break
    if text.next():
        raise text.error("nothing was expected after the array")


class _Text:
    """A file's text from where it was read to on; `at` is the place in what is in memory."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path, self._file = path, file
        self._held = b""
        self._line = self._column = 1  # of the first character that is held
        self.at = 0
        self._more()
        self._held = self._held.removeprefix(BYTE_ORDER_MARK)

    def _more(self) -> bool:
        """Hold more text, and no longer what was read; False where there is none."""
        left = len(self._held) - self.at
        chunk = self._file.read(max(CHUNK, left))  # twice as much each time: no copy too many
        self._line, self._column = self._place(self.at)
        self._held = self._held[self.at :] + chunk
        self.at = 0
        return bool(chunk)

    def _place(self, at: int) -> tuple[int, int]:
        """Line and column of a place in what is held."""
        begins = self._held.rfind(b"\n", 0, at) + 1
        column = len(self._held[begins:at].decode(errors="replace"))
        if not begins:
            return self._line, self._column + column
        return self._line + self._held.count(b"\n", 0, at), 1 + column

    def error(self, problem: str, at: int | None = None) -> InputError:
        """The error for a problem at a place in what is held, or here."""
        line, column = self._place(self.at if at is None else at)
        return InputError(f"{self._path}, line {line}, column {column}: not JSON ({problem})")

    def next(self) -> bytes:
        """The next character that is no space, where `at` then is; b"" at the end."""
        while True:
            self.at = _SPACE.match(self._held, self.at).end()  # type: ignore[union-attr]
            if self.at < len(self._held) or not self._more():
                return self._held[self.at : self.at + 1]

    def expect(self, *expected: bytes) -> bytes:
        """Go past the next character, which must be one of these."""
        found = self.next()
        if found not in expected:
            wanted = b" or ".join(expected).decode()
            raise self.error(f"{wanted} was expected" + ("" if found else ", the file ends"))
        self.at += 1
        return found

    def value(self) -> Any:
        """The value that comes next."""
        self.next()
        end = self._end()
        item = self._held[self.at : end]
        if not item:
            raise self.error("a value was expected")
        try:
            value = orjson.loads(item)
        except orjson.JSONDecodeError as error:
            before = item.decode(errors="replace")[: error.pos].encode()
            raise self.error(error.msg, self.at + len(before)) from None
        self.at = end
        return value

    def _end(self) -> int:
        """Where the value that begins here ends, which is then held whole; or the text."""
        if self._held[self.at : self.at + 1] not in (b"{", b"[", b'"'):
            return self._end_of_scalar()
        scanned = depth = 0
        while True:
            for mark in _MARK.finditer(self._held, self.at + scanned):
                scanned, what = mark.start() - self.at, mark[0]
                if what == b'"':
                    break
                depth += (what in b"[{") - (what in b"]}")
                scanned = mark.end() - self.at
                if depth == 0:
                    return mark.end()
            if not self._more():
                return len(self._held)

    def _end_of_scalar(self) -> int:
        """The same of a number or a word."""
        while True:
            end = _SCALAR.match(self._held, self.at).end()  # type: ignore[union-attr]
            if end < len(self._held) or not self._more():
                return end
