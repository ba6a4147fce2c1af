"""Encoded trajectories in an Arrow file: written once, mapped into memory, decoded one at a time.

A row is a trajectory: the arrays of its trees, one tree behind the other (`nodes` and `targets` say
where each ends), and numbers by which a training is planned without decoding a tree. A trajectory
of which no example is left has a row without trees: it is counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from steper.prompt.encode import KINDS
from steper.store import atomic_writer
from steper.training.tree import Tree

Item = tuple[Tree, ...]

NODES, TARGETS = ("ids", "parent", "depth", "end"), ("supervised", "weights")
"""A tree's arrays: over its nodes, and over those with a loss."""

NUMBERS = (
    "held_out",
    "examples",
    "longest_example",
    "tokens",
    "tokens_of_separate_examples",
    "supervised_tokens",
    "longest_tree",
    "branches",
    *(f"{what}_{kind}" for what in ("kept", "too_long", "learnt") for kind in KINDS),
)
"""Of a trajectory: whether it is kept out for evaluation, its examples, the longest one's tokens,
and of what is kept of it: tokens in one pass and apart, tokens with a loss, nodes of the largest
tree, whether any tree branches; of each kind the examples kept and left out, and whether any token
is learnt as it."""

TREES = (*NODES, *TARGETS, "nodes", "targets")
FEATURES = datasets.Features(
    {
        **dict.fromkeys(TREES, datasets.Sequence(datasets.Value("int32"))),
        "weights": datasets.Sequence(datasets.Value("float32")),
        **dict.fromkeys(NUMBERS, datasets.Value("int32")),
    }
)


@dataclass(frozen=True)
class Row:
    """A trajectory to be written; `numbers` are those of NUMBERS that follow from no tree."""

    item: Item
    numbers: dict[str, int]

    def columns(self) -> dict[str, Any]:
        """Its value in each column."""
        trees = self.item
        arrays = {name: _joined([getattr(t, name) for t in trees]) for name in (*NODES, *TARGETS)}
        sizes = [len(tree) for tree in trees]
        learnt = np.zeros(len(KINDS), bool)
        for tree in trees:
            learnt |= (tree.weights > 0).any(axis=0)
        return {
            **arrays,
            "nodes": sizes,
            "targets": [len(tree.supervised) for tree in trees],
            "tokens": sum(sizes),
            "supervised_tokens": sum(len(tree.supervised) for tree in trees),
            "longest_tree": max(sizes, default=0),
            "branches": int(not all(tree.is_chain for tree in trees)),
            **{f"learnt_{kind}": int(n) for kind, n in zip(KINDS, learnt, strict=True)},
            **self.numbers,
        }


def as_batch(rows: Sequence[Row]) -> pa.RecordBatch:
    """The rows as a piece of the file."""
    columns = [row.columns() for row in rows]
    schema = FEATURES.arrow_schema
    arrays = [
        pa.array([c[name] for c in columns], schema.field(name).type) for name in schema.names
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def write_batches(path: Path, batches: Iterable[pa.RecordBatch]) -> None:
    """Write the file, which appears whole or not at all; InputError where there is no room."""
    with atomic_writer(path) as file, pa.ipc.new_stream(file, FEATURES.arrow_schema) as out:
        for batch in batches:
            out.write_batch(batch)


class TreeFile:
    """A file of trajectories; `numbers` has an (N,) array for each of NUMBERS."""

    def __init__(self, path: Path) -> None:
        rows = datasets.Dataset.from_file(str(path))
        self.numbers: dict[str, NDArray[np.int32]] = {
            name: rows.data.column(name).to_numpy() for name in NUMBERS
        }
        self._rows: Any = rows.with_format("arrow", columns=list(TREES))

    def __len__(self) -> int:
        return len(self._rows)

    def item(self, row: int) -> Item:
        """The trees of a row; their arrays are the file's own memory, not to be written to."""
        table = self._rows[row]
        flat = {name: table.column(name).combine_chunks().flatten().to_numpy() for name in TREES}
        weights = flat["weights"].reshape(-1, len(KINDS))
        trees, node, target = [], 0, 0
        for nodes, targets in zip(flat["nodes"].tolist(), flat["targets"].tolist(), strict=True):
            here, there = slice(node, node + nodes), slice(target, target + targets)
            arrays = {name: flat[name][here] for name in NODES}
            trees.append(
                Tree(**arrays, supervised=flat["supervised"][there], weights=weights[there])
            )
            node, target = node + nodes, target + targets
        return tuple(trees)


def _joined(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate([array.ravel() for array in arrays]) if arrays else np.zeros(0, np.int32)
