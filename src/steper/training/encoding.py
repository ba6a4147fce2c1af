"""Step examples → rows of a tree file: encoded, checked for length, laid out by trajectory.

Each trajectory by itself, a few at a time, in this process or in several; the rows come in the
examples' order either way.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import signal
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from itertools import groupby, islice
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa

from steper.errors import InputError
from steper.examples.step_example import StepExample
from steper.prompt.encode import KINDS, Encoded, Encoder
from steper.training.train_settings import Pack, TrainSettings
from steper.training.tree import build_tree
from steper.training.tree_file import Item, Row, as_batch

TOGETHER = 32
"""Trajectories that are encoded, and written, together."""

PAYS_FROM = 1 << 24
"""Bytes of examples from which several processes are sooner done than one; it takes some 10 s."""

Trajectories = list[list[StepExample]]


@dataclass(frozen=True)
class Layout:
    """How a training lays out its examples; `limit` is the longest example in tokens."""

    encoder: Encoder
    settings: TrainSettings
    limit: int | None

    def batch(self, trajectories: Trajectories) -> pa.RecordBatch:
        """The rows of these trajectories."""
        return as_batch([self.row(steps) for steps in trajectories])

    def row(self, steps: Sequence[StepExample]) -> Row:
        """The row of a trajectory.

        Longer examples are left out and counted, or an InputError, as `settings.too_long` says;
        nothing is cut.
        """
        settings, kept = self.settings, list[Encoded]()
        numbers = dict.fromkeys((f"{what}_{k}" for what in ("kept", "too_long") for k in KINDS), 0)
        longest = 0
        for example in steps:
            encoded = self.encoder.example(example)
            longest = max(longest, len(encoded.ids))
            fits = self.limit is None or len(encoded.ids) <= self.limit
            numbers[f"{'kept' if fits else 'too_long'}_{example.kind}"] += 1
            if fits:
                kept.append(encoded)
            elif settings.too_long == "error":
                raise InputError(
                    f"example {example.id!r} has {len(encoded.ids)} tokens, but max_length is "
                    f"{self.limit}; build examples with fewer passage words, raise max_length, or "
                    "set too_long to drop"
                )
        numbers |= {
            "held_out": int(is_held_out(steps[0].question_id, settings.eval_share, settings.seed)),
            "examples": len(steps),
            "longest_example": longest,
            "tokens_of_separate_examples": sum(len(encoded.ids) for encoded in kept),
        }
        return Row(lay_out(kept, settings.pack) if kept else (), numbers)


def lay_out(examples: Sequence[Encoded], pack: Pack) -> Item:
    """The examples of one trajectory as one tree, or as a tree each."""
    if pack == "none":
        return tuple(build_tree([example]) for example in examples)
    return (build_tree(examples),)


def is_held_out(question_id: str, share: float, seed: int) -> bool:
    """Whether a question is kept for evaluation: by its id alone, whatever else is in the file."""
    digest = hashlib.sha256(f"{seed}/{question_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def encode(
    examples: Iterable[StepExample], layout: Layout, processes: int = 1
) -> Iterator[pa.RecordBatch]:
    """Rows of all trajectories, in the examples' order, by so many processes; a few in memory.

    Raises InputError for an example that is too long where that is an error, EncodeError for one
    that cannot be encoded.
    """
    trajectories = (list(group) for _, group in groupby(examples, lambda e: e.trajectory))
    pieces = iter(lambda: list(islice(trajectories, TOGETHER)), [])
    if processes == 1:
        yield from map(layout.batch, pieces)
        return
    # Forked: a new interpreter takes seconds to load what is loaded here, and would run a user's
    # script again. No model is loaded and no process group joined by now.
    started = (layout, os.getpid())
    with ProcessPoolExecutor(processes, get_context("fork"), _begin, started) as pool:
        waiting: deque[Future[pa.RecordBatch]] = deque()
        try:
            for piece in pieces:
                waiting.append(pool.submit(_batch, piece))
                if len(waiting) > 2 * processes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def count_encoders(settings: TrainSettings, examples: Path) -> int:
    """How many processes encode a file of examples: as set, or as many as there is work for."""
    if settings.encoders is not None:
        return settings.encoders
    if sys.platform != "linux" or examples.stat().st_size < PAYS_FROM:
        return 1
    return len(os.sched_getaffinity(0))


_layouts: list[Layout] = []
"""What an encoding process encodes with; forked, not sent."""


def _begin(layout: Layout, parent: int) -> None:
    """In a new encoding process: end with the one that started it, whatever ends that."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _layouts.append(layout)


def _batch(trajectories: Trajectories) -> pa.RecordBatch:
    return _layouts[0].batch(trajectories)
