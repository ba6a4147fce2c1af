"""The trie of a trajectory's examples against the examples themselves."""

from __future__ import annotations

import random

import numpy as np
import torch

from steper.prompt.encode import KINDS, Encoded
from steper.training.tree import ROOT, ancestor_mask, build_tree, count_tokens


def encoded(ids, supervised=1, kind=0, weight=1.0):
    example = Encoded()
    example.add(ids[: len(ids) - supervised])
    example.add(ids[len(ids) - supervised :], KINDS[kind], weight)
    return example


def random_examples(rng):
    stem = [rng.randrange(5) for _ in range(rng.randint(1, 12))]
    for _ in range(rng.randint(1, 5)):
        ids = stem[: rng.randint(1, len(stem))] + [rng.randrange(5) for _ in range(3)]
        yield encoded(ids, rng.randint(1, 3), rng.randrange(3), rng.choice((0.5, 1.0)))


def path(tree, node):
    nodes = []
    while node != ROOT:
        nodes.append(node)
        node = tree.parent[node]
    return nodes[::-1]


def test_every_example_is_a_path_and_every_loss_is_kept():
    rng = random.Random(0)
    for _ in range(200):
        examples = list(random_examples(rng))
        tree = build_tree(examples)
        expected: dict[tuple, np.ndarray] = {}
        for example in examples:
            for end, (kind, weight) in enumerate(
                zip(example.kinds, example.weights, strict=True), start=1
            ):
                if weight:
                    key = tuple(example.ids[:end])
                    expected.setdefault(key, np.zeros(3))[kind] += weight
        found = {
            tuple(tree.ids[path(tree, node)].tolist()): weights
            for node, weights in zip(tree.supervised, tree.weights, strict=True)
        }
        assert found.keys() == expected.keys()
        assert all((found[key] == expected[key]).all() for key in found)
        prefixes = {tuple(e.ids[:n]) for e in examples for n in range(1, len(e.ids) + 1)}
        assert len(tree) == len(prefixes)


def test_a_node_sees_its_ancestors_alone():
    rng = random.Random(1)
    for _ in range(50):
        tree = build_tree(list(random_examples(rng)))
        padded = np.concatenate([tree.end, np.arange(len(tree) + 1, len(tree) + 4)])
        mask = ancestor_mask(torch.from_numpy(padded)[None])[0, 0]
        for node in range(len(tree)):
            assert mask[node].nonzero().flatten().tolist() == path(tree, node)
            assert tree.depth[node] == len(path(tree, node)) - 1
        for pad in range(len(tree), len(tree) + 3):
            assert mask[pad].nonzero().flatten().tolist() == [pad]


def test_with_a_window_it_sees_the_nearest_of_them():
    rng = random.Random(2)
    for window in (1, 3, 100):
        tree = build_tree(list(random_examples(rng)))
        end, depth = torch.from_numpy(tree.end)[None], torch.from_numpy(tree.depth)[None]
        mask = ancestor_mask(end, depth, window)[0, 0]
        for node in range(len(tree)):
            assert mask[node].nonzero().flatten().tolist() == path(tree, node)[-window:]


def test_an_append_only_chat_is_a_chain():
    tree = build_tree([encoded([1, 2, 3]), encoded([1, 2, 3, 4, 5], 1, 1)])
    assert tree.is_chain
    assert count_tokens([tree]) == 5
    assert tree.supervised.tolist() == [2, 4]
    assert tree.weights.tolist() == [[1, 0, 0], [0, 1, 0]]
    assert not build_tree([encoded([1, 2, 3]), encoded([1, 2, 4])]).is_chain


def test_a_token_that_two_examples_supervise_counts_for_both():
    tree = build_tree([encoded([1, 2, 3], 1, 0), encoded([1, 2, 3], 1, 2, 0.5)])
    assert tree.weights.tolist() == [[1, 0, 0.5]]
