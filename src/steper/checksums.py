"""Lines of files that grow carry a checksum each: the whole file has none until it is complete.

    {"question_id":"q0", …, "crc32":"1a2b3c4d"}

It is of the line without it, which comes back byte for byte. Lines without one, of journals that
earlier versions wrote, are taken as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from zlib import crc32

from pydantic import ValidationError

from steper.errors import InputError
from steper.store import field_error

_FIELD, _END = b',"crc32":"', b'"}\n'
_DIGITS = 8
_LENGTH = len(_FIELD) + _DIGITS + len(_END)


def with_checksum(line: bytes) -> bytes:
    """A line that holds a JSON object with fields, and its checksum as the last field."""
    return b"%b%b%08x%b" % (line[:-2], _FIELD, crc32(line), _END)


def without_checksum(line: bytes) -> bytes:
    """The line as it was before. Raises ValueError where the checksum is another line's."""
    end = line[-_LENGTH:]
    if not (end.startswith(_FIELD) and end.endswith(_END)):
        return line
    whole = line[:-_LENGTH] + b"}\n"
    if b"%08x" % crc32(whole) != end[len(_FIELD) : -len(_END)]:
        raise ValueError("changed since it was written")
    return whole


def checked_lines(path: Path, lines: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a file without their checksums. Raises InputError at a changed one."""
    for number, line in enumerate(lines, start=1):
        try:
            yield without_checksum(line)
        except ValueError as error:
            raise damaged(path, number, error) from None


def damaged(path: Path, number: int, error: ValueError) -> InputError:
    """The error for a line that is no record, or not what was written."""
    what = field_error(error) if isinstance(error, ValidationError) else error
    return InputError(
        f"{path}, line {number}: {what}; take the line out, or begin anew with --overwrite"
    )
