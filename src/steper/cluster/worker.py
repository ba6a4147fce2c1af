"""One of the workers that make a run: a process that opens its job once and asks shard by shard."""

from __future__ import annotations

import os
import time
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from steper.cluster.job import Asking, TeachingJob, shards_folder
from steper.engine import Stats
from steper.errors import InputError
from steper.journal import IN_USE
from steper.shards import Shard

LOCK_SECONDS = 120.0
"""How long a shard's folder may stay locked by a worker that died on another machine: network file
systems give such locks back when they notice, after a minute and a half at most (NFS's lease)."""


class Worker:
    """Makes shards of a job, one at a time, in the file system that all workers share.

    `teach` and `stats` are called from two threads.
    """

    def __init__(self, job: TeachingJob, out: Path, folder: Path) -> None:
        """`folder` is the one that the paths in the job start from."""
        self._job = job
        self._out = out
        self._folder = folder
        self._open = ExitStack()
        self._asking: Asking | None = None
        self._stats: Stats | None = None

    def teach(self, shard: str | None, retry_failed: bool = False) -> Stats:
        """Make a shard (`3/8`), going on where a worker left it; None: the whole run.

        What it opens it opens at the first call, for what goes wrong then is the caller's to tell.
        """
        if self._asking is None:
            self._asking = self._open.enter_context(self._opened())
        part = Shard.parse(shard) if shard else None
        out = shards_folder(self._out) / shard_name(part) if part else self._out
        until = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                run = self._asking.run(
                    out, shard=part, retry_failed=retry_failed, progress=self._note
                )
                break
            except InputError as error:
                if IN_USE not in str(error) or time.monotonic() > until:
                    raise
            time.sleep(1.0)
        stats, self._stats = self._stats or Stats(), None
        counts = run.manifest["counts"]
        stats.total = stats.done = counts.get("trajectories", counts["questions"])
        return stats

    def stats(self) -> Stats | None:
        """How far it is with its shard; None between two."""
        return self._stats

    def _note(self, stats: Stats) -> None:
        self._stats = stats

    def _opened(self) -> AbstractContextManager[Asking]:
        try:
            os.chdir(self._folder)
        except OSError as error:
            raise InputError(
                f"{self._folder}: not there on {os.uname().nodename} ({error.strerror}); workers "
                "need a file system that all machines share"
            ) from None
        return self._job.opened()


def shard_name(shard: Shard) -> str:
    """The name of a shard's folder, which sorts by its number."""
    return f"{shard.number:0{len(str(shard.of))}d}-of-{shard.of}"
