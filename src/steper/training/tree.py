"""All examples of a trajectory as one tree of tokens: shared beginnings once, a branch for each.

The examples of a trajectory begin alike: with the same instruction and passages (`passages_first`)
or with all that was said so far (`append_only`). Merged into a trie, a token stands once however
many examples hold it, and attends to its ancestors alone, at the position that it has in each of
its examples. So every token sees exactly what it would see in its own sequence, and losses and
gradients are those of the separate sequences.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steper.prompt.encode import KINDS, Encoded

ROOT = -1
Ints = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Sides:
    """The S targets of preference pairs that a tree holds; arrays (S,), but for E nodes (E,).

    pair: the pair's number. rejected: 1 where it is the pair's worse target. kind: its step's, by
    KINDS. node: the places, among the tree's supervised nodes, of what the targets hold; of: whose
    each is, as a place among the S.
    """

    pair: Ints
    rejected: Ints
    kind: Ints
    node: Ints
    of: Ints


@dataclass(frozen=True, slots=True)
class Tree:
    """Tokens of a trajectory in depth-first order; all arrays over nodes have shape (N,).

    ids: token ids. parent: the node before in its sequence(s), ROOT at the start. depth: position
    in its sequence(s). end: one past the last node of the subtree, so that node j is an ancestor of
    node i, or i itself, exactly if j <= i < end[j].

    supervised (M,) are the nodes with a loss, each predicted from its parent, and weights (M, 3)
    their weight in L_init, L_exp and L_agg, summed over the examples that supervise them there.
    With preference pairs (`sides`) the nodes of worse targets are among them, with weight 0.
    """

    ids: Ints
    parent: Ints
    depth: Ints
    end: Ints
    supervised: Ints
    weights: NDArray[np.float32]
    sides: Sides | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def is_chain(self) -> bool:
        """Whether no node has two children: plain causal attention is enough."""
        return bool((self.end == len(self.ids)).all())


def build_tree(examples: Sequence[Encoded]) -> Tree:
    """The trie of all `examples`."""
    children: list[dict[int, int]] = []
    ids: list[int] = []
    roots: dict[int, int] = {}
    weights: dict[int, list[float]] = {}
    for example in examples:
        below = roots
        for token, kind, weight in zip(example.ids, example.kinds, example.weights, strict=True):
            node = below.get(token)
            if node is None:
                node = below[token] = len(ids)
                ids.append(token)
                children.append({})
            if weight > 0:
                weights.setdefault(node, [0.0] * len(KINDS))[kind] += weight
            below = children[node]
    return _depth_first(ids, roots, children, weights)


def _depth_first(
    ids: list[int],
    roots: dict[int, int],
    children: list[dict[int, int]],
    weights: dict[int, list[float]],
) -> Tree:
    count = len(ids)
    order: list[int] = []
    parent, depth = [ROOT] * count, [0] * count
    end = list(range(1, count + 1))
    stack = [(node, ROOT, 0) for node in reversed(roots.values())]
    while stack:
        node, above, level = stack.pop()
        here = len(order)
        order.append(node)
        parent[here], depth[here] = above, level
        stack.extend((child, here, level + 1) for child in reversed(children[node].values()))
    for node in range(count - 1, -1, -1):
        if parent[node] != ROOT:
            end[parent[node]] = max(end[parent[node]], end[node])
    supervised = [n for n, node in enumerate(order) if node in weights]
    return Tree(
        ids=np.array([ids[node] for node in order], np.int32),
        parent=np.array(parent, np.int32),
        depth=np.array(depth, np.int32),
        end=np.array(end, np.int32),
        supervised=np.array(supervised, np.int32),
        weights=np.array([weights[order[n]] for n in supervised], np.float32).reshape(-1, 3),
    )


def ancestor_mask(end: Any, depth: Any = None, window: int | None = None) -> Any:
    """(R, T) subtree ends → (R, 1, T, T) bool: [r, 0, i, j] where j is i or an ancestor of i.

    With a `window` an ancestor is seen where it is less than so many tokens before i in i's own
    sequence, by the nodes' `depth` (R, T). Padding with end[j] = j + 1 sees itself alone.
    """
    import torch

    at = torch.arange(end.shape[1], device=end.device)
    seen = (at[None, None, :] <= at[None, :, None]) & (at[None, :, None] < end[:, None, :])
    if window is not None:
        seen &= depth[:, :, None] - depth[:, None, :] < window
    return seen[:, None]


def count_tokens(trees: Iterable[Tree]) -> int:
    """Tokens that a forward pass over `trees` computes, padding not counted."""
    return sum(len(tree) for tree in trees)
