"""`steper compare`: runs over the same questions, with paired differences."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from steper.cli.options import SWITCH, at_least
from steper.cli.terminal import plain_console, table_of, warn

if TYPE_CHECKING:
    from steper.evaluation.compare import Comparison, MetricComparison
    from steper.evaluation.statistics import Bootstrap


def compare(
    runs: Annotated[list[str] | None, SWITCH] = None,
    /,
    *,
    group: Annotated[list[str] | None, SWITCH] = None,
    baseline: str | None = None,
    metric: Annotated[list[str] | None, SWITCH] = None,
    trained_on: list[Path] | None = None,
    resamples: int = 2000,
    seed: int = 0,
    partial: Annotated[bool, SWITCH] = False,
    json: Annotated[bool, SWITCH] = False,
) -> None:
    """Compare runs over the same questions, pair by pair.

    Prints each run's scores and its differences from the baseline, with 95 % bootstrap intervals
    and the p-values of a paired sign-flip test; with more than one comparison also Holm's
    correction over those of a metric. Only questions that all runs have are paired; how many are
    left out is said. Intervals and p-values are over questions, for these very runs; where methods
    have several seeds they are given over other seeds, too. "detectable" is the least true
    difference that four of five such experiments would find, in points.

    Parameters
    ----------
    runs
        Folders that `steper teach` wrote; NAME=RUN gives one a name.
    group
        NAME=RUN1,RUN2,…: seeds of one method. A question's score is its mean over them.
    baseline
        The run or group that the others are compared with. Default: the first.
    metric
        em, f1, precision, recall, acc, acc_token, gold_recall, all_gold, too_early (answered before
        all gold passages were found), invented (steps that state what nothing shown holds),
        initialization, expansion or aggregation (the abilities, docs/evaluation.md); can
        be repeated.
        Default: em, f1 and acc.
    trained_on
        A file of training questions. Refused where one of the runs' questions is in it, by id, text
        or all gold passages; of those that share one, the scores of the others are given beside.
        May be given several times.
    resamples
        Draws of the bootstrap, and sign patterns of the test.
    seed
        Seed of both.
    partial
        Take an unfinished run with the trajectories that it has.
    json
        Print JSON instead of tables.
    """
    from steper.api import compare as compare_runs
    from steper.evaluation.compare import DEFAULT_METRICS
    from steper.evaluation.methods import parse_methods

    comparison = compare_runs(
        parse_methods(runs or (), group or ()),
        baseline,
        metric or DEFAULT_METRICS,
        trained_on=trained_on or (),
        bootstrap=bootstrap_settings(resamples, seed),
        partial=partial,
    )
    warn(comparison.warnings)
    if json:
        print(comparison.model_dump_json(indent=2))
    else:
        show_comparison(comparison)


def bootstrap_settings(resamples: int, seed: int) -> Bootstrap:
    """Settings of intervals and tests; SettingsError on a number out of range."""
    from steper.evaluation.statistics import Bootstrap

    at_least(100, resamples=resamples)
    at_least(0, seed=seed)
    return Bootstrap(resamples=resamples, seed=seed)


def show_comparison(comparison: Comparison) -> None:
    """Print what was paired, each method's scores, and the differences from the baseline."""
    from steper.evaluation.tables import difference_rows, score_rows, seeded_rows

    level = f"{100 * comparison.bootstrap.confidence:g}"
    title = f"Scores, %, with {level} % intervals"
    # With its own number of questions behind each mean two metrics are a terminal's width.
    own = any(mean.n is not None for one in comparison.metrics for mean in one.means)
    width = 2 if own else 3
    groups = (comparison.metrics[i : i + width] for i in range(0, len(comparison.metrics), width))
    tables = [(title, score_rows(comparison, group)) for group in groups]
    if any(mean.spread is not None for mean in comparison.metrics[0].means):
        title = "Seeds, %: each run's own mean, and their standard deviation"
        tables.append((title, _seed_rows(comparison)))
    for one in comparison.metrics:
        title = _title(one, comparison)
        tables.append((title, difference_rows(one)))
        tables.append((f"{title}; what other seeds would give", seeded_rows(one)))
    out = plain_console()
    for line in _counts(comparison):
        out.print(line)
    for title, rows in tables:
        if not rows:
            continue
        out.print()
        out.print(title, style="bold")
        out.print(table_of(rows))


def _counts(comparison: Comparison) -> list[str]:
    from steper.evaluation.tables import leakage_line

    lines = [f"{comparison.shared} questions that all runs have, paired"]
    for name, n in comparison.unshared.items():
        if n:
            lines.append(f"{name}: {n} more that others lack, left out")
    for name, n in comparison.not_answered.items():
        if n:
            total = comparison.shared * len(comparison.methods[name])
            lines.append(f"{name}: {n} of {total} did not answer, counted as empty answers")
    if comparison.shared_gold:
        lines.append(leakage_line(comparison))
    return lines


def _seed_rows(comparison: Comparison) -> list[list[str]]:
    from steper.evaluation.methods import METRIC_NAMES
    from steper.text import percent

    rows = [["", "", "runs", "sd"]]
    for i, name in enumerate(comparison.methods):
        for one in comparison.metrics:
            mean = one.means[i]
            if mean.spread is not None:
                each = "  ".join(percent(seed) for seed in mean.seeds)
                rows.append([name, METRIC_NAMES[one.metric], each, f"{100 * mean.spread:.1f}"])
    return rows


def _title(one: MetricComparison, comparison: Comparison) -> str:
    from steper.evaluation.methods import METRIC_NAMES

    fewer = "" if one.n == comparison.shared else f" ({one.n} questions have the gold for it)"
    return f"{METRIC_NAMES[one.metric]}: difference from {comparison.baseline}, points{fewer}"
