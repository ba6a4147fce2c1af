"""A JSON array read item by item: official question files are arrays of half a gigabyte."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import ijson

from steper.store import BYTE_ORDER_MARK, parse_json


def read_array(path: Path | str, file: IO[bytes]) -> Iterator[Any]:
    """The items of the array that a file holds; one at a time is in memory.

    Raises InputError, naming line and column, where the text is no JSON array. A lone surrogate
    (half of a character, which no text can hold) is read as "?".
    """
    begins = file.tell()
    if file.read(len(BYTE_ORDER_MARK)) != BYTE_ORDER_MARK:
        file.seek(begins)
    read = 0
    try:
        for value in ijson.items(file, "item", use_float=True):
            yield value
            read += 1
    except ijson.JSONError:
        # Read whole, it says where; or it is right but for what ijson alone refuses (numbers
        # beyond 64 bits).
        file.seek(begins)
        yield from parse_json(path, file.read(), foreign=True)[read:]
