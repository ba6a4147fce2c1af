"""Encoded trajectories in an Arrow file: written once, mapped into memory, decoded one at a time.

A row is a trajectory: the arrays of its trees, one tree behind the other (`nodes` and `targets` say
how long each is, of preference pairs `sides` and `side_nodes`, too), the ids of its preference
pairs, and numbers by which a training is planned without decoding a tree. A trajectory of which no
example is left has a row without trees: it is counted.

A row's pairs are numbered from 0, for whoever encodes it does not know what comes before; what is
read has numbers by the places of the pairs in the whole file.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from steper.errors import InputError
from steper.prompt.encode import KINDS
from steper.store import atomic_writer, read_json, sha256_file, write_json
from steper.training.tree import Sides, Tree

log = logging.getLogger(__name__)

Item = tuple[Tree, ...]

NODES, TARGETS = ("ids", "parent", "depth", "end"), ("supervised", "weights")
"""A tree's arrays: over its nodes, and over those with a loss."""

SIDES, SIDE_NODES = ("pair", "rejected", "kind"), ("node", "of")
"""Arrays of a tree's `sides`: over its targets, and over their nodes; columns `side_…`."""

NUMBERS = (
    "held_out",
    "examples",
    "longest_example",
    "longest_target",
    "tokens",
    "tokens_of_separate_examples",
    "supervised_tokens",
    "longest_tree",
    "branches",
    *(f"{what}_{kind}" for what in ("kept", "too_long", "learnt") for kind in KINDS),
)
"""Of a trajectory: whether it is kept out for evaluation, its examples, the longest one's tokens,
and of what is kept of it: the most tokens learnt of one example, tokens in one pass and apart,
tokens with a loss, nodes of the largest tree, whether any tree branches; of each kind the examples
kept and left out, and whether any token is learnt as it."""

TREES = (*NODES, *TARGETS, "nodes", "targets")
PAIRS = (*(f"side_{name}" for name in (*SIDES, *SIDE_NODES)), "sides", "side_nodes")
FEATURES = datasets.Features(
    {
        **dict.fromkeys((*TREES, *PAIRS), datasets.Sequence(datasets.Value("int32"))),
        "weights": datasets.Sequence(datasets.Value("float32")),
        "pairs": datasets.Sequence(datasets.Value("string")),
        **dict.fromkeys(NUMBERS, datasets.Value("int32")),
    }
)


@dataclass(frozen=True)
class Row:
    """A trajectory to be written; `numbers` are those of NUMBERS that follow from no tree.

    `pairs` are the ids of its preference pairs, whose numbers in the trees are places in it.
    """

    item: Item
    numbers: dict[str, int]
    pairs: Sequence[str] = ()

    def columns(self) -> dict[str, Any]:
        """Its value in each column."""
        trees = self.item
        arrays = {name: _joined([getattr(t, name) for t in trees]) for name in (*NODES, *TARGETS)}
        sizes = [len(tree) for tree in trees]
        sides = [tree.sides for tree in trees if tree.sides is not None]
        learnt = np.zeros(len(KINDS), bool)
        for tree in trees:
            learnt |= (tree.weights > 0).any(axis=0)
        return {
            **arrays,
            "nodes": sizes,
            "targets": [len(tree.supervised) for tree in trees],
            **{
                f"side_{name}": _joined([getattr(each, name) for each in sides])
                for name in (*SIDES, *SIDE_NODES)
            },
            "sides": [len(each.pair) for each in sides],
            "side_nodes": [len(each.node) for each in sides],
            "pairs": list(self.pairs),
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
    """Write the file, whole or not at all, and its checksum; InputError where there is no room."""
    with atomic_writer(path) as file, pa.ipc.new_stream(file, FEATURES.arrow_schema) as out:
        for batch in batches:
            out.write_batch(batch)
    write_json(_checksum_of(path), sha256_file(path))


def is_intact(path: Path) -> bool:
    """Whether the file is there as it was written; an interrupted training left it."""
    if not path.exists():
        return False
    try:
        intact = bool(read_json(_checksum_of(path)) == sha256_file(path))
    except InputError:
        intact = False
    if not intact:
        log.warning("%s: changed since it was written; the examples are encoded anew", path)
    return intact


def _checksum_of(path: Path) -> Path:
    return path.with_suffix(".sha256.json")


class TreeFile:
    """A file of trajectories; `numbers` has an (N,) array for each of NUMBERS.

    `pairs` are the ids of all preference pairs, in order.
    """

    def __init__(self, path: Path) -> None:
        rows = datasets.Dataset.from_file(str(path))
        self.numbers: dict[str, NDArray[np.int32]] = {
            name: rows.data.column(name).to_numpy() for name in NUMBERS
        }
        pairs = rows.data.column("pairs")
        self.pairs: tuple[str, ...] = tuple(pc.list_flatten(pairs).to_pylist())
        self._end_of_pairs = np.cumsum(pc.list_value_length(pairs).to_numpy())
        self._columns = (*TREES, *(PAIRS if self.pairs else ()))
        self._rows: Any = rows.with_format("arrow", columns=list(self._columns))

    def __len__(self) -> int:
        return len(self._rows)

    def item(self, row: int) -> Item:
        """The trees of a row; their arrays are the file's own memory, not to be written to."""
        table = self._rows[row]
        flat = {
            name: table.column(name).combine_chunks().flatten().to_numpy() for name in self._columns
        }
        weights = flat["weights"].reshape(-1, len(KINDS))
        nodes, targets = _slices(flat["nodes"]), _slices(flat["targets"])
        sides = self._sides(flat, row) if self.pairs else [None] * len(nodes)
        return tuple(
            Tree(
                **{name: flat[name][here] for name in NODES},
                supervised=flat["supervised"][there],
                weights=weights[there],
                sides=both,
            )
            for here, there, both in zip(nodes, targets, sides, strict=True)
        )

    def _sides(self, flat: dict[str, NDArray[Any]], row: int) -> Sequence[Sides]:
        before = self._end_of_pairs[row - 1] if row else 0
        flat["side_pair"] = flat["side_pair"] + np.int32(before)
        return [
            Sides(
                **{name: flat[f"side_{name}"][here] for name in SIDES},
                **{name: flat[f"side_{name}"][there] for name in SIDE_NODES},
            )
            for here, there in zip(_slices(flat["sides"]), _slices(flat["side_nodes"]), strict=True)
        ]


def _slices(sizes: NDArray[np.int32]) -> list[slice]:
    """Where pieces of these sizes stand, one behind the other."""
    ends = np.cumsum(sizes)
    return [slice(*both) for both in zip(ends - sizes, ends, strict=True)]


def _joined(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate([array.ravel() for array in arrays]) if arrays else np.zeros(0, np.int32)
