"""Keys and values of earlier prompts, kept for prompts that begin with the same tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any


@dataclass(eq=False)
class _Node:
    """A run of tokens after those of its parents; `kv` (2L, H, T, D) belongs to them alone."""

    ids: list[int]
    kv: Any
    used: int = 0
    children: dict[int, _Node] = field(default_factory=dict)


class PrefixCache:
    """A radix tree over token ids: what prompts share is stored once, the least recently used ends
    of branches go first.

    Keys and values are tensors (2L, H, T, D): keys of layer 0, values of layer 0, keys of layer 1,
    …; H heads, T tokens. They depend on a token and on all before it, so a prefix's can be used
    again after whatever prompt they were computed in.
    """

    def __init__(self, limit_bytes: int) -> None:
        """A cache of at most `limit_bytes` of keys and values; 0 keeps nothing."""
        self.limit_bytes = limit_bytes
        self.bytes = 0
        self._root = _Node([], None)
        self._clock = 0

    def match(self, ids: Sequence[int]) -> list[Any]:
        """Keys and values of the longest known beginning of `ids`, in pieces.

        The last token is never among them: its logits have to be computed.
        """
        pieces: list[Any] = []
        node, at, end = self._root, 0, len(ids) - 1
        while at < end and (child := node.children.get(ids[at])):
            same = min(_common(child.ids, ids, at), end - at)
            pieces.append(child.kv[:, :, :same])
            at += same
            if same < len(child.ids):
                break
            node = child
        return pieces

    def add(self, ids: Sequence[int], kv: Any) -> None:
        """Keep the keys and values of `ids`, where `kv` (2L, H, t, D) holds the last t tokens'.

        Those before must be known, as after `match`; otherwise nothing is kept.
        """
        if not self.limit_bytes:
            return
        self._clock += 1
        start = len(ids) - kv.shape[2]
        node, at = self._root, 0
        while at < len(ids) and (child := node.children.get(ids[at])):
            same = _common(child.ids, ids, at)
            if same < len(child.ids) and at + same < len(ids):
                child = node.children[ids[at]] = _split(child, same)
            child.used = self._clock
            node, at = child, at + same
        if start <= at < len(ids):
            # A copy: a view would keep its whole batch in memory.
            leaf = _Node(list(ids[at:]), kv[:, :, at - start :].clone(), self._clock)
            node.children[ids[at]] = leaf
            self.bytes += leaf.kv.nbytes
            self._make_room()

    def clear(self) -> None:
        """Forget everything."""
        self._root.children.clear()
        self.bytes = 0

    def _make_room(self) -> None:
        while self.bytes > self.limit_bytes:
            for parent, leaf in sorted(_leaves(self._root), key=lambda pair: pair[1].used):
                del parent.children[leaf.ids[0]]
                self.bytes -= leaf.kv.nbytes
                if self.bytes <= self.limit_bytes:
                    return


def _common(known: list[int], ids: Sequence[int], at: int) -> int:
    """How many tokens `known` shares with `ids` from `at` on."""
    if known == ids[at : at + len(known)]:
        return len(known)
    pairs = enumerate(zip(known, islice(ids, at, None), strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(known), len(ids) - at))


def _split(node: _Node, at: int) -> _Node:
    """Cut the node in two; returns the upper one. Copies, so that each part's memory is its own."""
    upper = _Node(node.ids[:at], node.kv[:, :, :at].clone(), node.used)
    node.ids, node.kv = node.ids[at:], node.kv[:, :, at:].clone()
    upper.children[node.ids[0]] = node
    return upper


def _leaves(root: _Node) -> list[tuple[_Node, _Node]]:
    """All nodes without children, each with its parent."""
    found, open_nodes = [], [root]
    while open_nodes:
        node = open_nodes.pop()
        for child in node.children.values():
            if child.children:
                open_nodes.append(child)
            else:
                found.append((node, child))
    return found
