"""`steper compare`: runs over the same questions, with paired differences."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from steper.evaluation.compare import Comparison, MetricComparison
    from steper.evaluation.statistics import Bootstrap, Estimate


def compare(
    runs: Annotated[list[str] | None, Parameter(negative="")] = None,
    /,
    *,
    group: Annotated[list[str] | None, Parameter(negative="")] = None,
    baseline: str | None = None,
    metric: Annotated[list[str] | None, Parameter(negative="")] = None,
    resamples: int = 2000,
    seed: int = 0,
    partial: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Compare runs over the same questions, pair by pair.

    Prints each run's scores and its differences from the baseline, with 95 % bootstrap intervals
    and the p-values of a paired sign-flip test; with more than one comparison also Holm's
    correction over those of a metric. Only questions that all runs have are paired; how many are
    left out is said. Intervals and p-values are over questions, for these very runs: what another
    seed would give is told by the spread of seeds alone.

    Parameters
    ----------
    runs
        Folders that `steper teach` wrote; NAME=RUN gives one a name.
    group
        NAME=RUN1,RUN2,…: seeds of one method. A question's score is its mean over them.
    baseline
        The run or group that the others are compared with. Default: the first.
    metric
        em, f1, precision, recall, acc, acc_token, gold_recall or all_gold; can be repeated.
        Default: em, f1 and acc.
    resamples
        Draws of the bootstrap, and sign patterns of the test.
    seed
        Seed of both.
    partial
        Take an unfinished run with the trajectories that it has.
    json
        Print JSON instead of tables.
    """
    from rich.console import Console

    from steper.evaluation.compare import (
        DEFAULT_METRICS,
        check_metrics,
        load_methods,
        parse_methods,
    )
    from steper.evaluation.compare import compare as compare_methods

    settings = bootstrap_settings(resamples, seed)
    metrics = check_metrics(metric or DEFAULT_METRICS)
    folders = parse_methods(runs or (), group or ())
    check_several(folders)
    methods = load_methods(folders, partial, settings)
    comparison = compare_methods(methods, baseline, metrics, settings)
    for warning in comparison.warnings:
        Console(stderr=True).print(f"Warning: {warning}", markup=False, style="yellow")
    if json:
        print(comparison.model_dump_json(indent=2))
    else:
        show_comparison(comparison, Console(highlight=False))


def bootstrap_settings(resamples: int, seed: int) -> Bootstrap:
    """Settings of intervals and tests; SettingsError on a number out of range."""
    from steper.errors import SettingsError
    from steper.evaluation.statistics import Bootstrap

    for name, value, least in (("--resamples", resamples, 100), ("--seed", seed, 0)):
        if value < least:
            raise SettingsError(f"{name} is {value}; at least {least} was expected")
    return Bootstrap(resamples=resamples, seed=seed)


def check_several(folders: dict[str, tuple[Path, ...]]) -> None:
    """Refuse to compare fewer than two methods before anything is read."""
    from steper.errors import InputError

    if len(folders) < 2:
        named = ", ".join(folders) or "none"
        raise InputError(f"at least two runs or groups were expected, not {len(folders)} ({named})")


def show_comparison(comparison: Comparison, out: Console) -> None:
    """Print what was paired, each method's scores, and the differences from the baseline."""
    for line in _counts(comparison):
        out.print(line, markup=False)
    out.print()
    level = f"{100 * comparison.bootstrap.confidence:g}"
    out.print(f"Scores, %, with {level} % intervals", style="bold")
    out.print(_scores(comparison))
    if any(mean.spread is not None for mean in comparison.metrics[0].means):
        out.print()
        out.print("Seeds, %: each run's own mean, and their standard deviation", style="bold")
        out.print(_seeds(comparison))
    for one in comparison.metrics:
        out.print()
        out.print(_title(one, comparison), style="bold", markup=False)
        out.print(_differences(one))


def _counts(comparison: Comparison) -> list[str]:
    lines = [f"{comparison.shared} questions that all runs have, paired"]
    for name, n in comparison.unshared.items():
        if n:
            lines.append(f"{name}: {n} more that others lack, left out")
    for name, n in comparison.not_answered.items():
        if n:
            total = comparison.shared * len(comparison.methods[name])
            lines.append(f"{name}: {n} of {total} did not answer, counted as empty answers")
    return lines


def _table(*columns: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for i, name in enumerate(columns):
        if i:
            table.add_column(name, justify="right", header_style="dim", no_wrap=True)
        else:
            table.add_column(name, header_style="dim", overflow="fold")
    return table


def _scores(comparison: Comparison) -> Table:
    from rich.text import Text

    from steper.evaluation.compare import METRIC_NAMES
    from steper.evaluation.tables import with_interval

    table = _table("", *(METRIC_NAMES[one.metric] for one in comparison.metrics))
    for i, name in enumerate(comparison.methods):
        cells = (with_interval(one.means[i].mean) for one in comparison.metrics)
        table.add_row(Text(name), *cells)
    return table


def _seeds(comparison: Comparison) -> Table:
    from rich.text import Text

    from steper.evaluation.compare import METRIC_NAMES
    from steper.evaluation.tables import percent

    table = _table("", "", "runs", "sd")
    for i, name in enumerate(comparison.methods):
        for one in comparison.metrics:
            mean = one.means[i]
            if mean.spread is not None:
                each = "  ".join(percent(seed) for seed in mean.seeds)
                table.add_row(
                    Text(name), METRIC_NAMES[one.metric], each, f"{100 * mean.spread:.1f}"
                )
    return table


def _title(one: MetricComparison, comparison: Comparison) -> str:
    from steper.evaluation.compare import METRIC_NAMES

    fewer = "" if one.n == comparison.shared else f" ({one.n} questions have the gold for it)"
    return f"{METRIC_NAMES[one.metric]}: difference from {comparison.baseline}, points{fewer}"


def _differences(one: MetricComparison) -> Table:
    from rich.text import Text

    corrected = any(d.p_holm is not None for d in one.differences)
    table = _table("", "difference", "relative, %", "p", *(["p (Holm)"] if corrected else []))
    for found in one.differences:
        cells = [signed(found.difference), signed(found.relative), p_value(found.p_value)]
        if found.p_holm is not None:
            cells.append(p_value(found.p_holm))
        table.add_row(Text(found.method), *cells)
    return table


def signed(estimate: Estimate | None) -> str:
    """Percentages with their sign: `+6.2 [+3.1, +9.3]`; `-` for none."""
    if estimate is None:
        return "-"
    value, low, high = (
        f"{100 * x:+.1f}".replace("-0.0", "0.0").replace("+0.0", "0.0")
        for x in (estimate.value, estimate.low, estimate.high)
    )
    return f"{value} [{low}, {high}]"


def p_value(p: float) -> str:
    """A p-value with four decimals, and never a bare 0."""
    return f"{p:.4f}" if p >= 0.0001 else "<0.0001"
