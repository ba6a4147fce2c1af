"""Step examples → rows of a tree file: encoded, checked for length, laid out by trajectory.

Each trajectory by itself, a few at a time, in this process or in several; the rows come in the
examples' order either way.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
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
from typing import NamedTuple

import pyarrow as pa

from steper.errors import InputError
from steper.examples.example_folder import EXAMPLES, ExampleFolder
from steper.examples.step_example import StepExample
from steper.prompt.encode import KINDS, Encoded, Encoder
from steper.training.preference import PreferencePair, pair_trees
from steper.training.train_settings import Pack, TrainSettings
from steper.training.tree import build_tree
from steper.training.tree_file import Item, Row, as_batch, write_batches

log = logging.getLogger(__name__)

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
        """The row of a trajectory, whose examples are all preference pairs, or none is.

        Longer examples are left out and counted, or an InputError, as `settings.too_long` says;
        nothing is cut. A pair goes by its longer text.
        """
        settings, kept = self.settings, list[_Kept]()
        numbers = dict.fromkeys((f"{what}_{k}" for what in ("kept", "too_long") for k in KINDS), 0)
        longest = 0
        for example in steps:
            rejected = self.encoder.example(example.worse) if example.rejected else None
            one = _Kept(example.id, self.encoder.example(example), rejected)
            length = max(len(text.ids) for text in one.texts)
            longest = max(longest, length)
            fits = self.limit is None or length <= self.limit
            numbers[f"{'kept' if fits else 'too_long'}_{example.kind}"] += 1
            if fits:
                kept.append(one)
            elif settings.too_long == "error":
                raise InputError(
                    f"example {example.id!r} has {length} tokens, but max_length is "
                    f"{self.limit}; build examples with fewer passage words, raise max_length, or "
                    "set too_long to drop"
                )
        numbers |= {
            "held_out": int(is_held_out(steps[0].question_id, settings.eval_share, settings.seed)),
            "examples": len(steps),
            "longest_example": longest,
            "longest_target": max((_learnt(one.encoded) for one in kept), default=0),
            "tokens_of_separate_examples": sum(len(text.ids) for one in kept for text in one.texts),
        }
        pairs = [one.id for one in kept if one.rejected is not None]
        return Row(_laid_out(kept, settings.pack), numbers, pairs)


class _Kept(NamedTuple):
    """An example as tokens; of a pair, the rejected target, too."""

    id: str
    encoded: Encoded
    rejected: Encoded | None

    @property
    def texts(self) -> tuple[Encoded, ...]:
        return (self.encoded,) if self.rejected is None else (self.encoded, self.rejected)


def _learnt(encoded: Encoded) -> int:
    """Tokens of an example that are learnt, the end of its turn included."""
    return sum(kind >= 0 for kind in encoded.kinds)


def _laid_out(kept: Sequence[_Kept], pack: Pack) -> Item:
    """The item of a trajectory's examples; pairs are numbered by their places in it."""
    if not kept:
        return ()
    pairs = [
        PreferencePair(number, one.encoded, one.rejected)
        for number, one in enumerate(kept)
        if one.rejected is not None
    ]
    if pairs:
        return pair_trees(pairs, together=pack == "steps")
    return lay_out([one.encoded for one in kept], pack)


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

    Raises InputError for an example that is too long where that is an error, and where only some
    are preference pairs; EncodeError for an example that cannot be encoded.
    """
    grouped = groupby(_all_pairs_or_none(examples), lambda e: e.trajectory)
    trajectories = (list(group) for _, group in grouped)
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


def _all_pairs_or_none(examples: Iterable[StepExample]) -> Iterator[StepExample]:
    first = None
    for example in examples:
        first = first or example
        if bool(example.rejected) != bool(first.rejected):
            lone = first if example.rejected else example
            raise InputError(
                f"example {lone.id!r} has no rejected target, and others have; preference pairs "
                "and other examples are trained on apart"
            )
        yield example


def encode_file(source: ExampleFolder, trees: Path, layout: Layout) -> None:
    """Write the tree file of a folder's examples; for the errors see `encode`."""
    path = source.path / EXAMPLES
    processes, size = count_encoders(layout.settings, path), path.stat().st_size
    if size >= PAYS_FROM:
        log.info("%s: encoding %.0f MB, processes: %d", path, size / 1e6, processes)
    write_batches(trees, encode(source.examples(), layout, processes))


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
