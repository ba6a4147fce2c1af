"""From step examples to batches: encoded, checked for length, grouped by trajectory, laid out.

An item of the data set is a trajectory: one tree of all its examples (`pack: steps`), or a tree
(then a chain) for each of them (`none`). Both hold the same tokens with the same weights.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import torch

from steper.errors import InputError
from steper.examples.step_example import StepExample
from steper.prompt.encode import KINDS, Encoded, Encoder
from steper.training.preference import Pair, collate_pairs, pair_trees
from steper.training.train_settings import Pack, TrainSettings
from steper.training.tree import Tree, build_tree, count_tokens

Item = tuple[Tree, ...]
Batch = dict[str, torch.Tensor]

_POOL = 50  # batches that are sorted by length together


@dataclass
class DataCounts:
    """What came in and what is trained on; `tokens` are computed in one pass, without padding.

    Of `too_long_trajectories` no example is left; `too_long` counts single examples.
    """

    examples: int = 0
    too_long: int = 0
    too_long_kinds: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    too_long_trajectories: int = 0
    longest: int = 0
    trajectories: int = 0
    kinds: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    tokens: int = 0
    tokens_of_separate_examples: int = 0
    supervised_tokens: int = 0
    eval_trajectories: int = 0
    eval_tokens: int = 0


@dataclass(frozen=True)
class Data:
    """Trajectories to train on, trajectories to evaluate on, and what was counted.

    `pairs` are the ids of preference pairs, by their numbers; there are none of other examples.
    """

    train: list[Item]
    eval: list[Item]
    counts: DataCounts
    pairs: tuple[str, ...] = ()

    def learnt_kinds(self) -> list[str]:
        """The kinds that any token of the training set is learnt as."""
        here = np.zeros(len(KINDS), bool)
        for item in self.train:
            for tree in item:
                here |= (tree.weights > 0).any(axis=0)
        return [kind for kind, found in zip(KINDS, here, strict=True) if found]


def load_data(
    examples: Iterable[StepExample],
    encoder: Encoder,
    settings: TrainSettings,
    max_length: int | None,
) -> Data:
    """Encode all examples and group them by trajectory.

    Preference pairs are examples with a rejected target; either all are, or none. Examples of more
    than `max_length` tokens are dropped and counted, or an InputError, as `settings.too_long` says;
    nothing is cut. Raises InputError if nothing is left to train on.
    """
    counts = DataCounts()
    sets: dict[bool, list[Item]] = {False: [], True: []}
    pairs: list[str] = []
    for _, group in groupby(examples, lambda e: e.trajectory):
        steps = list(group)
        kept = list(_encoded(steps, encoder, settings, max_length, counts))
        if not kept:
            counts.too_long_trajectories += 1
            continue
        item = _laid_out(kept, settings.pack, pairs)
        held_out = is_held_out(steps[0].question_id, settings.eval_share, settings.seed)
        sets[held_out].append(item)
        if held_out:
            counts.eval_trajectories += 1
            counts.eval_tokens += count_tokens(item)
            continue
        counts.trajectories += 1
        counts.tokens += count_tokens(item)
        counts.tokens_of_separate_examples += sum(len(e.ids) for one in kept for e in one.texts)
        counts.supervised_tokens += sum(len(tree.supervised) for tree in item)
        for one in kept:
            counts.kinds[one.example.kind] += 1
    if not sets[False]:
        raise InputError(
            f"no example is left to train on: of {counts.examples}, {counts.too_long} are longer "
            f"than max_length {max_length} (longest: {counts.longest} tokens), and "
            f"{counts.eval_trajectories} trajectories are kept out for evaluation"
        )
    return Data(sets[False], sets[True], counts, tuple(pairs))


class _Kept(NamedTuple):
    """An example that is short enough, as tokens; of a pair, the rejected target, too."""

    example: StepExample
    encoded: Encoded
    rejected: Encoded | None

    @property
    def texts(self) -> tuple[Encoded, ...]:
        return (self.encoded,) if self.rejected is None else (self.encoded, self.rejected)


def _laid_out(kept: Sequence[_Kept], pack: Pack, pairs: list[str]) -> Item:
    """The item of a trajectory's examples; pairs are numbered by their places in `pairs`."""
    found = [one for one in kept if one.rejected is not None]
    if len(found) not in (0, len(kept)) or bool(found) < bool(pairs):
        lone = next(one.example.id for one in kept if one.rejected is None)
        raise InputError(
            f"example {lone!r} has no rejected target, and others have; preference pairs and other "
            "examples are trained on apart"
        )
    if not found:
        return lay_out([one.encoded for one in kept], pack)
    numbered = [
        Pair(number, one.encoded, one.rejected)
        for number, one in enumerate(found, start=len(pairs))
        if one.rejected is not None
    ]
    pairs += [one.example.id for one in found]
    return pair_trees(numbered, together=pack == "steps")


def _encoded(
    steps: Iterable[StepExample],
    encoder: Encoder,
    settings: TrainSettings,
    max_length: int | None,
    counts: DataCounts,
) -> Iterator[_Kept]:
    for example in steps:
        rejected = encoder.example(example.worse) if example.rejected else None
        kept = _Kept(example, encoder.example(example), rejected)
        length = max(len(text.ids) for text in kept.texts)
        counts.examples += 1
        counts.longest = max(counts.longest, length)
        if max_length is None or length <= max_length:
            yield kept
            continue
        counts.too_long += 1
        counts.too_long_kinds[example.kind] += 1
        if settings.too_long == "error":
            raise InputError(
                f"example {example.id!r} has {length} tokens, but max_length is "
                f"{max_length}; build examples with fewer passage words, raise max_length, or set "
                "too_long to drop"
            )


def lay_out(examples: Sequence[Encoded], pack: Pack) -> Item:
    """The examples of one trajectory as one tree, or as a tree each."""
    if pack == "none":
        return tuple(build_tree([example]) for example in examples)
    return (build_tree(examples),)


def is_held_out(question_id: str, share: float, seed: int) -> bool:
    """Whether a question is kept for evaluation: by its id alone, whatever else is in the file."""
    digest = hashlib.sha256(f"{seed}/{question_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


class TreeDataset:
    """The items, and as many empty ones as make their number a multiple of `multiple`.

    So every optimizer step is full, and no process is given an item twice to even out batches:
    an empty item has no token and no weight.
    """

    def __init__(self, items: Sequence[Item], multiple: int) -> None:
        self._items = items
        self._length = -(-len(items) // multiple) * multiple

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Item:
        return self._items[index] if index < len(self._items) else ()

    def length(self, index: int) -> int:
        """Longest sequence or tree of an item, in tokens."""
        return max((len(tree) for tree in self[index]), default=0)


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
