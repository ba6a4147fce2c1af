"""Uncertainty of means: bootstrap intervals, paired tests of two systems, and over seeds, too.

In: one row of scores a question, or a matrix of seeds and questions. Out: `Estimate` (mean and
percentile interval), `Paired`, or `Seeded`. All is seeded by the caller's settings and vectorised;
memory is bounded by working in blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from steper.errors import InputError
from steper.records import GrownRecord, Record

_BLOCK = 2_000_000  # resampled values held at a time

Floats = NDArray[np.float64]


class Bootstrap(Record):
    """How intervals are made: `resamples` draws of all questions with replacement."""

    resamples: int = Field(default=2000, ge=1)
    confidence: float = Field(default=0.95, gt=0, lt=1)
    seed: int = 0


class Estimate(Record):
    """A mean with its percentile bootstrap interval `[low, high]`."""

    value: float
    low: float
    high: float


class Paired(Record):
    """Two systems on the same questions: mean of each, mean difference `a - b`, two-sided p."""

    n: int
    a: float
    b: float
    difference: Estimate
    p_value: float


def _blocks(total: int, width: int) -> Iterator[int]:
    """Sizes of row blocks that add up to `total`, each of about `_BLOCK` values of `width`."""
    size = max(1, _BLOCK // max(1, width))
    for start in range(0, total, size):
        yield min(size, total - start)


def _resampled_means(values: Floats, settings: Bootstrap) -> Floats:
    """Column means of `resamples` draws of the rows of `values`: (n, m) -> (resamples, m).

    A draw is held as how often each row came up, so all columns share it in one matrix product.
    """
    n = len(values)
    rng = np.random.default_rng(settings.seed)
    means = []
    for rows in _blocks(settings.resamples, n):
        drawn = rng.integers(0, n, size=(rows, n)) + np.arange(rows)[:, None] * n
        counts = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n)
        means.append(counts.astype(np.float64) @ values / n)
    return np.concatenate(means)


def estimate_means(values: ArrayLike, settings: Bootstrap | None = None) -> list[Estimate]:
    """Mean and percentile interval (Efron 1979) of each column of `values` (n, m), n >= 1.

    Rows are questions: they are drawn whole, so columns stay paired. Where all values of a column
    are equal the interval is that point: the bootstrap cannot see what was never observed.
    """
    settings = settings or Bootstrap()
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or not len(table):
        raise ValueError(f"values have shape {table.shape}; (n, m) with n >= 1 was expected")
    tail = (1 - settings.confidence) / 2
    low, high = np.quantile(_resampled_means(table, settings), [tail, 1 - tail], axis=0)
    mean = table.mean(axis=0)
    # Rounding of the matrix product may put a bound of a constant column an ulp off its mean.
    constant = np.ptp(table, axis=0) == 0
    low, high = np.where(constant, mean, low), np.where(constant, mean, high)
    columns = zip(mean.tolist(), low.tolist(), high.tolist(), strict=True)
    return [Estimate(value=v, low=lo, high=hi) for v, lo, hi in columns]


def _sign_flip_p(differences: Floats, settings: Bootstrap) -> float:
    """Two-sided p of the paired permutation test: under the null each difference's sign is a coin.

    All 2^k sign patterns of the k non-zero differences where there are at most `resamples` of
    them; else as many random ones, with the observed one counted in: (1 + hits) / (1 + resamples).
    """
    moving = differences[differences != 0]
    k = len(moving)
    observed = abs(moving.sum()) - 1e-9 * np.abs(moving).sum()
    if k == 0:
        return 1.0
    if k < 63 and 2**k <= settings.resamples:
        patterns = (np.arange(2**k)[:, None] >> np.arange(k)) & 1
        return float((np.abs((2 * patterns - 1) @ moving) >= observed).mean())
    rng = np.random.default_rng(settings.seed)
    hits = 0
    for rows in _blocks(settings.resamples, k):
        signs = 2.0 * rng.integers(0, 2, size=(rows, k)) - 1
        hits += int((np.abs(signs @ moving) >= observed).sum())
    return (1 + hits) / (1 + settings.resamples)


def compare_paired(
    a: Sequence[float] | Floats, b: Sequence[float] | Floats, settings: Bootstrap | None = None
) -> Paired:
    """Compare two systems' scores of the same questions, in the same order: shapes (n,), n >= 1.

    The interval is the paired bootstrap's (questions drawn whole), p the sign-flip permutation
    test's. Raises InputError when the two differ in length or are empty.
    """
    settings = settings or Bootstrap()
    left, right = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if left.shape != right.shape or left.ndim != 1 or not len(left):
        raise InputError(
            f"paired scores have shapes {left.shape} and {right.shape}; "
            "two lists of the same questions' scores were expected"
        )
    differences = left - right
    return Paired(
        n=len(left),
        a=float(left.mean()),
        b=float(right.mean()),
        difference=estimate_means(differences[:, None], settings)[0],
        p_value=_sign_flip_p(differences, settings),
    )


class Seeded(GrownRecord):
    """Two methods, each trained with several seeds, on the same questions.

    `resampled` is the two-way bootstrap's percentile interval: seeds of each method and questions
    drawn with replacement, at once. Of few seeds that differ much it is somewhat too narrow, so
    verdicts are by the other one.
    `interval` and `p_value` (two-sided) speak of other seeds *and* other questions of the same
    kind. `detectable` is the least true difference that such an experiment finds in four of five
    repetitions, at the interval's level, None where no score varies, which says nothing of it; `df`
    are the degrees of freedom of both, the fewer seeds' less one. `p_holm` is `p_value`
    corrected for the other comparisons over seeds, None if there are none. Where no method has a
    second seed, it is by questions alone: for these very systems.
    """

    later: ClassVar[tuple[str, ...]] = ("resampled", "p_holm")

    interval: Estimate
    p_value: float
    detectable: float | None
    df: int
    over_seeds: bool
    resampled: Estimate | None = None
    p_holm: float | None = None


POWER = 0.8
"""The share of repetitions in which a `detectable` difference is found."""


def compare_seeded(a: Floats, b: Floats, settings: Bootstrap | None = None) -> Seeded:
    """Compare two methods' scores, shapes (seeds of a, n) and (seeds of b, n), n >= 2.

    The variance of the difference is clustered two ways (Cameron, Gelbach & Miller 2011): that of
    the seeds' means, each method's apart, and that of the questions' differences, less that of
    single scores, which both hold. A method with one seed adds no variance of seeds: it is taken
    as given. Student's t with as many degrees of freedom as the fewest seeds allow.
    """
    from scipy import special  # not stats, which takes three times as long to import

    settings = settings or Bootstrap()
    n = a.shape[1]
    differences = a.mean(axis=0) - b.mean(axis=0)
    by_questions = differences.var(ddof=1) / n
    several = [x for x in (a, b) if len(x) > 1]
    by_seeds = sum(x.mean(axis=1).var(ddof=1) / len(x) for x in several)
    both = sum(_residual_variance(x) / x.size for x in several)
    variance = max(by_seeds + by_questions - both, by_seeds, by_questions)
    df = min((len(x) for x in several), default=n) - 1
    error = float(np.sqrt(variance))
    reach, power = special.stdtrit(df, [(1 + settings.confidence) / 2, POWER]).tolist()
    mean = float(differences.mean())
    p = float(2 * special.stdtr(df, -abs(mean) / error)) if error else float(mean == 0)
    return Seeded(
        interval=Estimate(value=mean, low=mean - reach * error, high=mean + reach * error),
        p_value=p,
        detectable=(reach + power) * error if error else None,
        df=df,
        over_seeds=bool(several),
        resampled=_two_way(a, b, settings) if several else None,
    )


def _two_way(a: Floats, b: Floats, settings: Bootstrap) -> Estimate:
    """The two-way bootstrap's interval: questions are drawn for all, seeds for each method."""
    rng = np.random.default_rng(settings.seed)
    by_question = _resampled_means(np.concatenate([a, b]).T, settings)
    drawn = np.zeros(settings.resamples)
    for sign, means in ((1, by_question[:, : len(a)]), (-1, by_question[:, len(a) :])):
        seeds = means.shape[1]
        chosen = rng.integers(0, seeds, size=(settings.resamples, seeds))
        drawn += sign * np.take_along_axis(means, chosen, axis=1).mean(axis=1)
    tail = (1 - settings.confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Estimate(value=float(a.mean() - b.mean()), low=float(low), high=float(high))


def _residual_variance(scores: Floats) -> float:
    """Of (seeds, n): what the means of each seed and of each question leave unexplained."""
    seeds, n = scores.shape
    left = scores - scores.mean(axis=1, keepdims=True) - scores.mean(axis=0) + scores.mean()
    return float(np.square(left).sum() / ((seeds - 1) * (n - 1)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) step-down correction: adjusted p-values, in the same order.

    The i-th smallest of m is multiplied by m - i + 1, is never below a smaller one's, at most 1.
    """
    order = np.argsort(p_values, kind="stable")
    multiplied = np.arange(len(p_values), 0, -1) * np.asarray(p_values)[order]
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.maximum.accumulate(np.minimum(multiplied, 1))
    return adjusted.tolist()


class Kappa(Record):
    """Cohen's (1960) κ of two raters over `n` things, with its bootstrap interval.

    `agreed` is the share of equal ratings. κ is None where chance alone makes them all equal: each
    rater has but one rating, the same; bounds are None where it is, or draws without it are.
    """

    n: int
    agreed: float
    kappa: float | None
    low: float | None = None
    high: float | None = None


def cohen_kappa(a: Sequence[int], b: Sequence[int], settings: Bootstrap | None = None) -> Kappa:
    """κ = (p_o - p_e) / (1 - p_e): p_o is the share of equal ratings, p_e that by chance.

    Ratings are labels, of which none is nearer to another than the rest. Raises ValueError where
    the two differ in length or are empty.
    """
    settings = settings or Bootstrap()
    labels, both = np.unique([a, b], return_inverse=True)
    left, right = both.reshape(2, -1)
    if len(a) != len(b) or not len(a):
        raise ValueError(f"{len(a)} and {len(b)} ratings; as many of both were expected")
    kinds = len(labels)
    cells = left * kinds + right
    table = np.bincount(cells, minlength=kinds**2)
    rng = np.random.default_rng(settings.seed)
    drawn = rng.multinomial(len(a), table / len(a), size=settings.resamples)
    agreed, kappa = _kappas(table.reshape(1, kinds, kinds))
    _, resampled = _kappas(drawn.reshape(-1, kinds, kinds))
    value = float(kappa[0])
    if np.isnan(value):
        return Kappa(n=len(a), agreed=float(agreed[0]), kappa=None)
    low = high = None
    if not np.isnan(resampled).any():
        tail = (1 - settings.confidence) / 2
        low, high = (float(x) for x in np.quantile(resampled, [tail, 1 - tail]))
    return Kappa(n=len(a), agreed=float(agreed[0]), kappa=value, low=low, high=high)


def _kappas(tables: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Shares of equal ratings and κ of contingency tables (m, k, k); NaN where κ is none."""
    total = tables.sum(axis=(1, 2))
    agreed = np.trace(tables, axis1=1, axis2=2) / total
    chance = (tables.sum(axis=2) * tables.sum(axis=1)).sum(axis=1) / total**2
    with np.errstate(invalid="ignore", divide="ignore"):
        return agreed, np.where(chance < 1, (agreed - chance) / (1 - chance), np.nan)


def relative_difference(a: Floats, b: Floats, settings: Bootstrap) -> Estimate | None:
    """(mean a - mean b) / mean b with the paired bootstrap's interval; shapes (n,).

    None where b's mean is 0, or so near it that draws without any success reach the interval.
    """
    if not b.mean():
        return None
    drawn = _resampled_means(np.stack([a, b], axis=1), settings)
    if (drawn[:, 1] <= 0).any():
        return None
    tail = (1 - settings.confidence) / 2
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1] - 1, [tail, 1 - tail])
    value = float(a.mean() / b.mean() - 1)
    if np.ptp(a - b) == 0 and not (a - b).any():
        return Estimate(value=0.0, low=0.0, high=0.0)
    return Estimate(value=value, low=float(low), high=float(high))
