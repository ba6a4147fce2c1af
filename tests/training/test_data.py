"""Encoding a folder: lengths, what is kept out, order, batches."""

from __future__ import annotations

import signal
from dataclasses import replace
from itertools import groupby

import numpy as np
import pytest
import torch

from lm.tiny import make_tiny_llama
from steper.errors import InputError
from steper.prompt.encode import Encoder
from steper.training.data import Collator, OrderSampler, TreeDataset
from steper.training.encoding import Layout, encode, is_held_out, lay_out
from steper.training.preference import PreferencePair, pair_trees
from steper.training.train_settings import TrainSettings
from steper.training.tree_file import write_batches
from training.made import encoded, examples, pairs


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    from transformers import AutoTokenizer

    folder = make_tiny_llama(tmp_path_factory.mktemp("student"))
    return Encoder(AutoTokenizer.from_pretrained(folder))


@pytest.fixture
def few_together(monkeypatch):
    """Several batches of few trajectories."""
    monkeypatch.setattr("steper.training.encoding.TOGETHER", 8)


def load(encoder, max_length=None, rows=None, processes=1, **settings):
    return encoded(rows or examples(12), encoder, TrainSettings(**settings), max_length, processes)


def test_counts(encoder):
    packed, separate = load(encoder), load(encoder, pack="none")
    rows = list(examples(12))
    assert packed.counts.examples == separate.counts.examples == len(rows)
    assert packed.counts.kinds == {
        k: sum(r.kind == k for r in rows) for k in ("init", "exp", "agg")
    }
    assert packed.counts.trajectories == len(packed.train) == 12
    assert packed.counts.tokens < packed.counts.tokens_of_separate_examples
    assert separate.counts.tokens == packed.counts.tokens_of_separate_examples
    assert packed.counts.supervised_tokens == separate.counts.supervised_tokens


def assert_same_arrays(mine, theirs):
    for name in type(theirs).__slots__:
        one, other = getattr(mine, name), getattr(theirs, name)
        if name != "sides":
            assert one.dtype == other.dtype
            assert np.array_equal(one, other), name


@pytest.mark.parametrize("pack", ["steps", "none"])
@pytest.mark.parametrize("processes", [1, 2])
def test_what_is_read_from_the_file_is_what_was_laid_out(few_together, encoder, pack, processes):
    rows = list(examples(30, seed=1))
    data = load(encoder, rows=iter(rows), processes=processes, pack=pack, eval_share=0.3)
    read = {False: iter(range(len(data.train))), True: iter(range(len(data.eval)))}
    for _, steps in groupby(rows, lambda e: e.trajectory):
        group = list(steps)
        held_out = is_held_out(group[0].question_id, 0.3, 0)
        items = data.eval if held_out else data.train
        at = next(read[held_out])
        expected = lay_out([encoder.example(step) for step in group], pack)
        assert len(items[at]) == len(expected)
        assert items.longest(at) == max(map(len, expected))
        for mine, tree in zip(items[at], expected, strict=True):
            assert mine.sides is tree.sides is None
            assert_same_arrays(mine, tree)
    assert [next(places, None) for places in read.values()] == [None, None]
    assert data.branches == (pack == "steps")
    assert data.learnt_kinds() == ["init", "exp", "agg"]


@pytest.mark.parametrize("pack", ["steps", "none"])
@pytest.mark.parametrize("processes", [1, 2])
def test_pairs_are_numbered_through_the_file(few_together, encoder, pack, processes):
    """Also where some of a trajectory, or all of it, is too long, and some is kept out."""
    rows = list(pairs(30, seed=1))
    for at, row in enumerate(rows):
        if row.trajectory == "q13":
            long = tuple(replace(s, text=" film" * 500) for s in row.rejected)
            rows[at] = row.model_copy(update={"rejected": long})
    texts = [(encoder.example(row), encoder.example(row.worse)) for row in rows]
    lengths = [max(len(text.ids) for text in both) for both in texts]
    limit = sorted(lengths)[2 * len(rows) // 3]
    kept = [(row, *both) for row, both, n in zip(rows, texts, lengths, strict=True) if n <= limit]
    how = {"pack": pack, "eval_share": 0.3}
    data = load(encoder, limit, iter(rows), processes, **how)
    assert data.pairs == tuple(row.id for row, *_ in kept)
    expected, number = {False: [], True: []}, 0
    for _, steps in groupby(kept, lambda one: one[0].trajectory):
        group = list(steps)
        numbered = [PreferencePair(number + n, *both) for n, (_, *both) in enumerate(group)]
        number += len(group)
        held_out = is_held_out(group[0][0].question_id, 0.3, 0)
        expected[held_out].append(pair_trees(numbered, pack == "steps"))
    assert number > len(data.train) + len(data.eval) > 0
    assert data.counts.too_long_trajectories == 1
    assert list(map(len, data.every)) == list(map(len, expected[False] + expected[True]))
    for item, theirs in zip(data.every, expected[False] + expected[True], strict=True):
        for tree, other in zip(item, theirs, strict=True):
            assert_same_arrays(tree, other)
            assert_same_arrays(tree.sides, other.sides)


def test_some_of_the_items_are_still_read_one_at_a_time(encoder):
    items = load(encoder).train
    every = [tree.ids.tolist() for item in items for tree in item]
    assert [tree.ids.tolist() for item in items[1::3] for tree in item] == every[1::3]
    assert len(items[1::3]) == len(every[1::3]) < len(items)
    assert type(items[1::3]) is type(items)


@pytest.mark.parametrize("processes", [1, 2])
def test_pairs_and_other_examples_are_never_mixed(few_together, encoder, processes):
    """In whichever order they come, and however far apart they are."""
    other = next(examples(1, seed=5)).model_copy(update={"id": "lone", "trajectory": "t"})
    rows = [*pairs(20), other]
    for mixed in (rows, rows[::-1]):
        with pytest.raises(InputError, match="example 'lone' has no rejected target, and others"):
            load(encoder, None, iter(mixed), processes)


def test_a_kind_that_nothing_is_learnt_as_is_none(encoder):
    assert load(encoder, rows=examples(5, steps=1)).learnt_kinds() == ["agg"]


def test_a_worker_s_error_is_that_of_one_process(few_together, encoder):
    """And whichever process meets it first, it is about the first such example of the file."""
    rows = list(examples(50, seed=2))
    lengths = [len(encoder.example(row).ids) for row in rows]
    limit = sorted(lengths)[-5]
    first = next(r.id for r, n in zip(rows, lengths, strict=True) if n > limit)
    for processes in (1, 3):
        with pytest.raises(InputError, match=f"example '{first}' has"):
            load(encoder, limit, iter(rows), processes, too_long="error")


def test_a_file_that_cannot_be_written_whole_is_none(encoder, tmp_path):
    import resource

    file, layout = tmp_path / "trees.arrow", Layout(encoder, TrainSettings(), None)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(
            InputError, match=r"trees.arrow: cannot be written \(File too large\); m"
        ):
            write_batches(file, encode(examples(100), layout))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert not list(tmp_path.iterdir())


def test_long_examples_are_dropped_and_counted_or_refused(encoder):
    longest = load(encoder).counts.longest
    data = load(encoder, longest - 1)
    assert data.counts.too_long == 1
    assert sum(data.counts.too_long_kinds.values()) == 1
    assert data.counts.too_long_kinds["agg"] == 1
    assert data.counts.too_long_trajectories == 0
    assert sum(data.counts.kinds.values()) == data.counts.examples - 1
    with pytest.raises(InputError, match=rf"'q\d+/\d' has {longest} tokens, but max_length is"):
        load(encoder, longest - 1, too_long="error")
    with pytest.raises(InputError, match=r"no example is left .* longer than max_length 5"):
        load(encoder, 5)


def test_questions_are_held_out_by_their_id_alone(encoder):
    data = load(encoder, eval_share=0.4, seed=3)
    names = [f"q{n}" for n in range(12)]
    held = [name for name in names if is_held_out(name, 0.4, 3)]
    assert 0 < len(held) < 12
    assert data.counts.eval_trajectories == len(data.eval) == len(held)
    assert len(data.train) == 12 - len(held)
    assert sum(is_held_out(f"q{n}", 0.4, 0) for n in range(5000)) == pytest.approx(2000, rel=0.1)


@pytest.mark.parametrize("grouped", [False, True])
def test_the_order_depends_on_seed_and_epoch_alone(encoder, grouped):
    data = TreeDataset(load(encoder).train, 8)
    assert len(data) == 16
    one, other = (OrderSampler(data, 1, 4, grouped) for _ in range(2))
    first = list(one)
    assert sorted(first) == list(range(16))
    one.epoch = 1
    assert list(one) != first
    other.epoch = 1
    assert list(one) == list(other)
    assert list(OrderSampler(data, 2, 4, grouped)) != first


def test_grouped_batches_hold_like_lengths(encoder):
    data = TreeDataset(load(encoder).train, 4)
    batches = [list(OrderSampler(data, 1, 4, True))[n : n + 4] for n in range(0, len(data), 4)]
    spans = [(min(map(data.length, b)), max(map(data.length, b))) for b in batches]
    for (_, high), (low, _) in zip(sorted(spans), sorted(spans)[1:], strict=False):
        assert high <= low


def test_a_batch_points_from_each_parent_to_its_target(encoder):
    items = load(encoder).train[:3]
    batch = Collator(pad=0)(items)
    trees = [tree for item in items for tree in item]
    rows, columns = batch["predict"].nonzero(as_tuple=True)
    at = 0
    for row, tree in enumerate(trees):
        for node in tree.supervised:
            source = int(batch["source"][at])
            assert (rows[source], columns[source]) == (row, tree.parent[node])
            assert batch["targets"][at] == tree.ids[node]
            at += 1
    assert at == len(batch["targets"]) == len(batch["weights"])
    assert int(batch["tokens"]) == sum(map(len, trees))


def test_a_batch_of_nothing_weighs_nothing():
    batch = Collator(pad=0)([(), ()])
    assert batch["input_ids"].shape == (1, 1)
    assert batch["weights"].shape == (0, 3)
    assert batch["targets"].dtype == batch["source"].dtype == torch.int64
    assert int(batch["tokens"]) == 0
