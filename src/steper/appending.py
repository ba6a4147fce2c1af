"""A JSON-lines file that grows a line at a time and survives kills: what runs are recorded in."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from steper.checksums import damaged, without_checksum
from steper.store import cut_unfinished_line

R = TypeVar("R", bound=BaseModel)

SYNC_SECONDS = 1.0


class AppendFile:
    """A JSON-lines file that only grows; a line that a crash cut off goes when it is opened."""

    def __init__(self, path: Path, sync: ThreadPoolExecutor) -> None:
        self._path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        self._end = cut_unfinished_line(self._fd)
        self._sync = sync
        self._syncing: Future[None] | None = None
        self._synced = time.monotonic()

    def append(self, lines: bytes) -> int:
        """Write whole lines, or none; returns where they begin.

        Raises OSError where there is no room for them, or where earlier ones did not get to the
        disk.
        """
        if self._syncing is not None and self._syncing.done():
            self._syncing.result()  # before the write: what raises has written nothing
        start, view = self._end, memoryview(lines)
        try:
            while view:
                view = view[os.pwrite(self._fd, view, start + len(lines) - len(view)) :]
            self._end = start + len(lines)
        except BaseException:
            os.ftruncate(self._fd, start)
            raise
        now = time.monotonic()
        if now - self._synced > SYNC_SECONDS:
            self._synced = now
            self._syncing = self._sync.submit(os.fsync, self._fd)
        return start

    def rows(self, row: type[R]) -> Iterator[tuple[int, R]]:
        """(offset, row) of each line. Raises InputError, naming it, at a damaged one."""
        with os.fdopen(os.dup(self._fd), "rb") as file:
            file.seek(0)
            offset = 0
            for number, line in enumerate(file, start=1):
                try:
                    value = row.model_validate_json(without_checksum(line))
                except ValueError as error:  # pydantic's is one
                    raise damaged(self._path, number, error) from None
                yield offset, value
                offset += len(line)

    def read_at(self, offset: int) -> bytes:
        """The line that begins at `offset`, without its checksum."""
        with os.fdopen(os.dup(self._fd), "rb") as file:
            file.seek(offset)
            return without_checksum(file.readline())

    def close(self) -> None:
        """Force to disk and close."""
        try:
            os.fsync(self._fd)
        finally:
            os.close(self._fd)
