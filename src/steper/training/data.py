"""A training's data: trajectories read from a tree file, their order, and batches of them.

An item of the data set is a trajectory: one tree of all its examples (`pack: steps`), or a tree
(then a chain) for each of them (`none`). Both hold the same tokens with the same weights.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, overload

import numpy as np
import torch
from numpy.typing import NDArray

from steper.errors import InputError
from steper.prompt.encode import KINDS
from steper.training.preference import collate_pairs
from steper.training.train_settings import TrainSettings
from steper.training.tree import Tree, count_tokens
from steper.training.tree_file import Item, TreeFile

Batch = dict[str, torch.Tensor]

_POOL = 50  # batches that are sorted by length together


@dataclass
class DataCounts:
    """What came in and what is trained on; `tokens` are computed in one pass, without padding.

    Of `too_long_trajectories` no example is left; `too_long` counts single examples.
    `longest_target` has the most learnt tokens of one text.
    """

    examples: int = 0
    too_long: int = 0
    too_long_kinds: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    too_long_trajectories: int = 0
    longest: int = 0
    longest_target: int = 0
    trajectories: int = 0
    kinds: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    tokens: int = 0
    tokens_of_separate_examples: int = 0
    supervised_tokens: int = 0
    eval_trajectories: int = 0
    eval_tokens: int = 0


class Items(Protocol):
    """Trajectories by their places."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Item: ...
    def longest(self, index: int) -> int: ...


@dataclass(frozen=True)
class FileItems(Sequence[Item]):
    """Some rows of a tree file, each decoded when it is asked for; a slice is some of them."""

    file: TreeFile
    rows: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> FileItems: ...
    def __getitem__(self, index: int | slice) -> Item | FileItems:
        if isinstance(index, slice):
            return FileItems(self.file, self.rows[index])
        return self.file.item(int(self.rows[index]))

    def longest(self, index: int) -> int:
        """Tokens of the largest tree of an item."""
        return int(self.file.numbers["longest_tree"][self.rows[index]])

    def of(self, number: str) -> NDArray[np.int64]:
        """A number of each item, (N,)."""
        return self.file.numbers[number][self.rows].astype(np.int64)


@dataclass(frozen=True)
class Data:
    """Trajectories to train on, trajectories to evaluate on, and what was counted.

    `pairs` are the ids of preference pairs, by their numbers; there are none of other examples.
    """

    train: FileItems
    eval: FileItems
    counts: DataCounts
    pairs: tuple[str, ...] = ()

    def learnt_kinds(self) -> list[str]:
        """The kinds that any token of the training set is learnt as."""
        return [kind for kind in KINDS if self.train.of(f"learnt_{kind}").any()]

    @property
    def every(self) -> FileItems:
        """Those to train on, then those to evaluate on."""
        return FileItems(self.train.file, np.concatenate([self.train.rows, self.eval.rows]))

    @property
    def branches(self) -> bool:
        """Whether any tree has a node with two children."""
        return bool(self.every.of("branches").any())


def read_data(path: Path, limit: int | None) -> Data:
    """The data of a tree file, whose examples have at most `limit` tokens.

    Raises InputError if nothing is left to train on.
    """
    file = TreeFile(path)
    tokens, held_out = file.numbers["tokens"], file.numbers["held_out"] > 0
    every = FileItems(file, np.arange(len(file)))
    train = FileItems(file, np.flatnonzero((tokens > 0) & ~held_out))
    apart = FileItems(file, np.flatnonzero((tokens > 0) & held_out))
    counts = _count(every, train, apart)
    if not len(train):
        raise InputError(
            f"no example is left to train on: of {counts.examples}, {counts.too_long} are longer "
            f"than max_length {limit} (longest: {counts.longest} tokens), and "
            f"{counts.eval_trajectories} trajectories are kept out for evaluation"
        )
    return Data(train, apart, counts, file.pairs)


def _count(every: FileItems, train: FileItems, apart: FileItems) -> DataCounts:
    too_long: dict[str, int] = {kind: int(every.of(f"too_long_{kind}").sum()) for kind in KINDS}
    return DataCounts(
        examples=int(every.of("examples").sum()),
        too_long=sum(too_long.values()),
        too_long_kinds=too_long,
        too_long_trajectories=len(every) - len(train) - len(apart),
        longest=int(every.of("longest_example").max(initial=0)),
        longest_target=int(every.of("longest_target").max(initial=0)),
        trajectories=len(train),
        kinds={kind: int(train.of(f"kept_{kind}").sum()) for kind in KINDS},
        tokens=int(train.of("tokens").sum()),
        tokens_of_separate_examples=int(train.of("tokens_of_separate_examples").sum()),
        supervised_tokens=int(train.of("supervised_tokens").sum()),
        eval_trajectories=len(apart),
        eval_tokens=int(apart.of("tokens").sum()),
    )


def plan_steps(data: Data, settings: TrainSettings) -> tuple[int, int]:
    """(optimizer steps, steps of an epoch), from max_steps, max_tokens or epochs."""
    per_epoch = math.ceil(len(data.train) / settings.batch_size)
    if settings.max_steps is not None:
        return settings.max_steps, per_epoch
    if settings.max_tokens is not None:
        return max(1, round(settings.max_tokens * per_epoch / data.counts.tokens)), per_epoch
    return max(1, math.ceil(settings.epochs * per_epoch)), per_epoch


class TreeDataset:
    """The items, and as many empty ones as make their number a multiple of `multiple`.

    So every optimizer step is full, and no process is given an item twice to even out batches:
    an empty item has no token and no weight.
    """

    def __init__(self, items: Items, multiple: int) -> None:
        self._items = items
        self._length = -(-len(items) // multiple) * multiple

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Item:
        return self._items[index] if index < len(self._items) else ()

    def length(self, index: int) -> int:
        """Longest sequence or tree of an item, in tokens."""
        return self._items.longest(index) if index < len(self._items) else 0


class OrderSampler:
    """The order of an epoch, from (seed, epoch) alone, so that a resumed training has it too.

    With `grouped`, steps hold trajectories of like length: the shuffled order is sorted within
    pools of 50 batches, whose batches are shuffled again.
    """

    def __init__(self, data: TreeDataset, seed: int, batch_size: int, grouped: bool) -> None:
        self._data = data
        self._seed = seed
        self._batch = batch_size
        self._grouped = grouped
        self.epoch = 0

    def __len__(self) -> int:
        return len(self._data)

    def __iter__(self) -> Iterator[int]:
        rng = random.Random(f"{self._seed}/{self.epoch}")
        order = list(range(len(self._data)))
        rng.shuffle(order)
        if not self._grouped:
            return iter(order)
        batches: list[list[int]] = []
        for start in range(0, len(order), _POOL * self._batch):
            pool = sorted(order[start : start + _POOL * self._batch], key=self._data.length)
            batches += [pool[n : n + self._batch] for n in range(0, len(pool), self._batch)]
        rng.shuffle(batches)
        return iter([index for batch in batches for index in batch])


class Collator:
    """Items → a batch of R sequences or trees, padded on the right to T tokens.

    input_ids (R, T). Where some tree branches: end (R, T), see `ancestor_mask`, and position_ids
    (R, T). predict (R, T) bool marks the K nodes from which something is predicted; M supervised
    nodes: source (M,) the place among those K, targets (M,) the token, weights (M, 3) its weight in
    each L_j. tokens (1,): nodes without padding. With `pairs` see `preference.collate_pairs`.
    """

    def __init__(self, pad: int, pairs: bool = False) -> None:
        self._pad, self._pairs = pad, pairs

    def __call__(self, items: Sequence[Item]) -> Batch:
        trees = [tree for item in items for tree in item]
        shape = (max(1, len(trees)), max((len(tree) for tree in trees), default=1))
        ids = np.full(shape, self._pad, np.int64)
        predict = np.zeros(shape, np.bool_)
        for row, tree in enumerate(trees):
            ids[row, : len(tree)] = tree.ids
            predict[row, tree.parent[tree.supervised]] = True
        if not predict.any():
            predict[0, 0] = True  # the forward pass needs something to return
        place = np.cumsum(predict).reshape(shape) - 1
        batch = {
            "input_ids": ids,
            "predict": predict,
            "source": _joined(
                [place[r, t.parent[t.supervised]] for r, t in enumerate(trees)], np.int64
            ),
            "targets": _joined([t.ids[t.supervised] for t in trees], np.int64),
            "weights": _joined([t.weights for t in trees], np.float32).reshape(-1, len(KINDS)),
            "tokens": np.array([count_tokens(trees)], np.int64),
        }
        if not all(tree.is_chain for tree in trees):
            batch |= _branching(trees, shape)
        if self._pairs:
            batch |= collate_pairs(trees)
        return {name: torch.from_numpy(value) for name, value in batch.items()}


def _branching(trees: Sequence[Tree], shape: tuple[int, int]) -> dict[str, Any]:
    positions = np.zeros(shape, np.int64)
    end = np.broadcast_to(np.arange(1, shape[1] + 1), shape).copy()
    for row, tree in enumerate(trees):
        positions[row, : len(tree)] = tree.depth
        end[row, : len(tree)] = tree.end
    return {"position_ids": positions, "end": end}


def _joined(arrays: list[Any], dtype: Any) -> Any:
    return np.concatenate([np.zeros(0, dtype), *(a.ravel() for a in arrays)]).astype(dtype)
