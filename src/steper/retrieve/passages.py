"""Passages on disk: JSON lines and an array of offsets, read one at a time through a memory map.

Opening a store reads the offsets' header only; a passage costs a few microseconds.
"""

from __future__ import annotations

import hashlib
import mmap
import tempfile
from array import array
from pathlib import Path
from typing import IO, Any

import numpy as np
import orjson

from steper.errors import InputError, RetrievalError
from steper.records import Passage

TEXTS_FILE = "passages.jsonl"
OFFSETS_FILE = "offsets.npy"


class PassageStore:
    """Passages by their number, 0 … len - 1, in corpus order."""

    def __init__(self, file: IO[bytes], offsets: np.ndarray[Any, Any], name: str) -> None:
        """`file` holds the lines, `offsets` (n + 1,) int64 where each starts; the last is the end.

        The file is mapped and closed. `name` stands for the store in error messages.
        """
        self._offsets = offsets
        self._name = name
        with file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, number: int) -> Passage:
        start, end = int(self._offsets[number]), int(self._offsets[number + 1])
        try:
            key, title, text = orjson.loads(self._map[start:end])
        except ValueError:
            raise RetrievalError(
                f"{self._name}: passage {number} is damaged; build the index again"
            ) from None
        return Passage(id=key, title=title, text=text)

    @classmethod
    def open(cls, folder: Path) -> PassageStore:
        """The store in a folder; its files must be there and whole (the index checks that)."""
        offsets = np.load(folder / OFFSETS_FILE, mmap_mode="r")
        return cls((folder / TEXTS_FILE).open("rb"), offsets, str(folder / TEXTS_FILE))

    def save(self, folder: Path) -> None:
        """Write the two files into a folder."""
        (folder / TEXTS_FILE).write_bytes(self._map)
        np.save(folder / OFFSETS_FILE, np.asarray(self._offsets))

    def close(self) -> None:
        """Give back the map."""
        self._map.close()


class PassageWriter:
    """Takes passages one at a time and spools them to an unnamed temporary file.

    So a corpus of any size is indexed without being held in memory.
    """

    def __init__(self, spool: Path | str | None = None) -> None:
        """`spool`: the folder of the temporary file (the system's where None)."""
        self._file = tempfile.TemporaryFile(dir=spool)  # noqa: SIM115
        self._offsets = array("q", [0])
        self._ids = array("q")
        self._digest = hashlib.sha256()

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, passage: Passage) -> None:
        """Append one passage."""
        line = orjson.dumps(
            (passage.id, passage.title, passage.text), option=orjson.OPT_APPEND_NEWLINE
        )
        self._file.write(line)
        self._digest.update(line)
        self._offsets.append(self._offsets[-1] + len(line))
        self._ids.append(hash(passage.id))

    def finish(self) -> tuple[PassageStore, str]:
        """The finished store and the corpus's hash (over ids, titles, texts and their order).

        Raises InputError where two passages have the same id.
        """
        self._file.flush()
        store = PassageStore(self._file, np.array(self._offsets, dtype=np.int64), "the corpus")
        try:
            self._refuse_repeats(store)
        except InputError:
            store.close()
            raise
        return store, self._digest.hexdigest()

    def discard(self) -> None:
        """Give the temporary file back unfinished."""
        self._file.close()

    def _refuse_repeats(self, store: PassageStore) -> None:
        hashes = np.array(self._ids, dtype=np.int64)
        order = np.argsort(hashes, kind="stable")
        same = np.flatnonzero(np.diff(hashes[order]) == 0)
        seen: dict[str, int] = {}
        for number in sorted({int(order[i + step]) for i in same for step in (0, 1)}):
            key = store[number].id
            if key in seen:
                raise InputError(
                    f"passages {seen[key] + 1} and {number + 1} of the corpus have the same id "
                    f"{key!r}; give each passage an id of its own, or drop the repeats"
                )
            seen[key] = number
