"""What a judge said while examples are made, on disk at once: the same command asks nothing again.

The journal lies in the work folder beside the examples until they are complete, which removes it.
Each line has a checksum (`steper.checksums`).
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from steper.appending import AppendFile
from steper.checksums import with_checksum
from steper.errors import InputError, writing_to
from steper.lm.judge import LMJudge, VerdictRow
from steper.store import dump_line

VERDICTS = "verdicts.jsonl"


@contextmanager
def recorded(judge: LMJudge | None, path: Path, overwrite: bool = False) -> Iterator[None]:
    """Let `judge` know the verdicts of a journal, and add new ones to it.

    Raises InputError, naming it, at a damaged line; with `overwrite` such a journal is begun anew.
    """
    if judge is None:
        yield
        return
    with ThreadPoolExecutor(1, "sync") as sync:
        journal = _opened(judge, path, sync, overwrite)
        judge.record = partial(_write, journal, path)
        try:
            yield
        finally:
            judge.record = None
            with writing_to(path):
                journal.close()


def _opened(judge: LMJudge, path: Path, sync: ThreadPoolExecutor, overwrite: bool) -> AppendFile:
    """The journal at `path`, whose verdicts the judge then knows."""
    with writing_to(path):
        journal = AppendFile(path, sync)
        try:
            judge.known.update({row.key: row for _, row in journal.rows(VerdictRow)})
        except InputError:
            journal.close()
            if not overwrite:
                raise
            path.unlink()
            journal = AppendFile(path, sync)
        return journal


def _write(journal: AppendFile, path: Path, row: VerdictRow) -> None:
    with writing_to(path):
        journal.append(with_checksum(dump_line(row)))
