"""Bootstrap intervals and the paired test, against values by hand and against scipy's."""

import numpy as np
import pytest

from steper.errors import InputError
from steper.evaluation.statistics import (
    Bootstrap,
    compare_paired,
    compare_seeded,
    estimate_means,
)


def test_interval_of_a_proportion():
    values = np.repeat([1.0, 0.0], [61, 39])[:, None]
    got = estimate_means(values, Bootstrap(resamples=4000))[0]
    assert got.value == pytest.approx(0.61)
    # Normal approximation: 0.61 ± 1.96·sqrt(0.61·0.39/100) = 0.61 ± 0.0956.
    assert got.low == pytest.approx(0.514, abs=0.015)
    assert got.high == pytest.approx(0.706, abs=0.015)


def test_equal_to_scipy_within_noise():
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(3).beta(0.4, 0.6, size=(80, 2))
    ours = estimate_means(values, Bootstrap(resamples=20_000))
    for column, got in zip(values.T, ours, strict=True):
        theirs = stats.bootstrap(
            (column,), np.mean, method="percentile", n_resamples=20_000, rng=7
        ).confidence_interval
        assert got.low == pytest.approx(theirs.low, abs=0.004)
        assert got.high == pytest.approx(theirs.high, abs=0.004)


def test_same_seed_same_interval_in_any_block_size(monkeypatch):
    values = np.random.default_rng(0).random((30, 3))
    assert estimate_means(values) == estimate_means(values)
    assert estimate_means(values) != estimate_means(values, Bootstrap(seed=1))
    whole = estimate_means(values)
    monkeypatch.setattr("steper.evaluation.statistics._BLOCK", 100)
    for got, want in zip(estimate_means(values), whole, strict=True):
        assert got.low == pytest.approx(want.low, abs=1e-12)
        assert got.high == pytest.approx(want.high, abs=1e-12)


def test_constant_column_and_single_row():
    assert estimate_means([[0.1]] * 7)[0].model_dump() == pytest.approx(
        {"value": 0.1, "low": 0.1, "high": 0.1}
    )
    only = estimate_means([[0.25, 1.0]])
    assert [(e.low, e.value, e.high) for e in only] == [(0.25,) * 3, (1.0,) * 3]
    with pytest.raises(ValueError, match="n >= 1"):
        estimate_means(np.empty((0, 2)))


def test_coverage_of_the_interval():
    """Of 200 samples' 90 % intervals, about 90 % hold the true mean."""
    rng = np.random.default_rng(11)
    settings = Bootstrap(resamples=500, confidence=0.9)
    samples = rng.random((60, 200))
    held = sum(e.low <= 0.5 <= e.high for e in estimate_means(samples, settings))
    assert 0.82 <= held / 200 <= 0.96


def test_permutation_p_is_exact_on_few_differences():
    # Three non-zero differences of one sign: 2 of the 8 sign patterns are as extreme.
    got = compare_paired([1, 1, 1, 0, 1], [0, 0, 0, 0, 1])
    assert got.p_value == pytest.approx(2 / 8)
    assert (got.n, got.a, got.b, got.difference.value) == (5, 0.8, 0.2, pytest.approx(0.6))
    # +1 +1 -1: every pattern sums to at least 1 in size.
    assert compare_paired([1, 1, 0], [0, 0, 1]).p_value == 1.0
    assert compare_paired([1, 0], [1, 0]).p_value == 1.0


def test_permutation_p_with_many_differences():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(5)
    a, b = rng.random(100), rng.random(100) - 0.08
    got = compare_paired(a, b, Bootstrap(resamples=20_000))
    theirs = stats.permutation_test(
        (a - b,), np.mean, permutation_type="samples", n_resamples=20_000, rng=1
    )
    assert got.p_value == pytest.approx(theirs.pvalue, abs=0.01)
    assert got.difference.low < got.difference.value < got.difference.high
    far = compare_paired(a + 1, b, Bootstrap(resamples=999))
    assert far.p_value == pytest.approx(1 / 1000)


def test_unequal_lengths_are_refused():
    with pytest.raises(InputError, match=r"\(2,\) and \(3,\)"):
        compare_paired([1, 2], [1, 2, 3])


FEW = Bootstrap(resamples=10)
"""For what is not read off the bootstrap."""


def seeded_scores(rng, seeds, n, mean, seed_sd):
    """(seeds, n): a question's own chance, a seed's own shift, and a coin for each score."""
    chance = mean + rng.normal(0, 0.15, n) + rng.normal(0, seed_sd, (seeds, 1))
    return (rng.random((seeds, n)) < chance).astype(float)


@pytest.mark.parametrize("seed_sd", [0.0, 0.04])
def test_interval_over_seeds_and_questions_holds_the_true_difference(seed_sd):
    """About 95 % of 150 experiments hold it; by questions alone far fewer do if seeds differ."""
    rng, held, alone = np.random.default_rng(5), 0, 0
    for _ in range(150):
        a, b = (seeded_scores(rng, 5, 400, mean, seed_sd) for mean in (0.55, 0.5))
        got = compare_seeded(a, b, FEW).interval
        held += got.low <= 0.05 <= got.high
        difference = a.mean(0) - b.mean(0)
        alone += abs(difference.mean() - 0.05) <= 1.96 * difference.std() / np.sqrt(400)
    assert held / 150 >= 0.93
    assert (alone / 150 < 0.8) == bool(seed_sd)


@pytest.mark.parametrize("seed_sd", [0.0, 0.04])
def test_the_two_way_bootstrap_draws_seeds_and_questions(seed_sd):
    """It is nearly as wide as the analytic one, and holds the true difference nearly as often."""
    rng, held, widths = np.random.default_rng(6), 0, []
    for _ in range(100):
        a, b = (seeded_scores(rng, 5, 400, mean, seed_sd) for mean in (0.55, 0.5))
        got = compare_seeded(a, b, Bootstrap(resamples=500))
        held += got.resampled.low <= 0.05 <= got.resampled.high
        widths.append(
            (got.resampled.high - got.resampled.low) / (got.interval.high - got.interval.low)
        )
        assert got.resampled.value == pytest.approx(got.interval.value)
    assert held / 100 >= 0.85
    assert 0.5 < np.mean(widths) < 1


def test_the_two_way_bootstrap_of_equal_seeds_is_that_of_questions():
    rng = np.random.default_rng(4)
    a, b = (rng.random((1, 300)) < mean for mean in (0.6, 0.4))
    three = [np.repeat(x.astype(float), 3, axis=0) for x in (a, b)]
    got = compare_seeded(*three).resampled
    alone = estimate_means((three[0][0] - three[1][0])[:, None])[0]
    assert (got.low, got.high) == (pytest.approx(alone.low), pytest.approx(alone.high))


def test_detectable_is_what_four_of_five_experiments_find():
    rng = np.random.default_rng(8)
    tried = [
        compare_seeded(*(seeded_scores(rng, 5, 400, 0.5, 0.03) for _ in range(2)), FEW)
        for _ in range(100)
    ]
    true = float(np.mean([one.detectable for one in tried]))
    found = 0
    for _ in range(150):
        a, b = (seeded_scores(rng, 5, 400, mean, 0.03) for mean in (0.5 + true, 0.5))
        found += compare_seeded(a, b, FEW).p_value < 0.05
    assert found / 150 == pytest.approx(0.8, abs=0.12)


def test_one_run_each_speaks_of_questions_alone():
    a, b = np.array([[1, 1, 0, 1, 1, 0.0]]), np.array([[1, 0, 0, 1, 0, 0.0]])
    got = compare_seeded(a, b)
    stats = pytest.importorskip("scipy.stats")
    assert got.p_value == pytest.approx(stats.ttest_rel(a[0], b[0]).pvalue)
    assert not got.over_seeds
    assert got.df == 5
    same = compare_seeded(a, a)
    assert (same.p_value, same.detectable) == (1.0, None)  # nothing varied: nobody can say
