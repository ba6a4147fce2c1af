"""Metrics as tables for a terminal of 80 columns: fractions become percentages with intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Group as Together
from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text

from steper.evaluation.compare import Comparison, Difference, MethodMean, MetricComparison
from steper.evaluation.methods import (
    ABILITY_METRICS,
    METRIC_NAMES,
    RETRIEVAL_METRICS,
    SUPPORT_METRICS,
)
from steper.evaluation.metrics import (
    AbilityMetrics,
    AnswerMetrics,
    Effort,
    Group,
    Metrics,
    RetrievalMetrics,
)
from steper.evaluation.predictions import PredictionMetrics
from steper.evaluation.statistics import Bootstrap, Estimate
from steper.strategy.base import STEP_ENDS
from steper.text import percent, percent_within, points

_OUTCOME_ROWS = 12

_ANSWER_ROWS: dict[str, str] = {
    name: label
    for name, label in METRIC_NAMES.items()
    if name not in RETRIEVAL_METRICS | SUPPORT_METRICS | ABILITY_METRICS
}
_RETRIEVAL_ROWS = {
    "recall": "Gold passages retrieved",
    "all_gold": "All gold retrieved",
    "shown_recall": "Gold passages shown",
    "shown_all_gold": "All gold shown",
}


def with_interval(estimate: Estimate) -> str:
    """Percentages `61.0 [56.8, 65.2]`."""
    return percent_within(estimate.value, estimate.low, estimate.high)


def _level(settings: Bootstrap) -> str:
    return f"{100 * settings.confidence:g}"


def _table(columns: Iterable[str]) -> Table:
    table = Table(box=None, pad_edge=False)
    for i, name in enumerate(columns):
        justify: JustifyMethod = "right" if i else "left"
        table.add_column(name, justify=justify, header_style="dim", no_wrap=True)
    return table


def _titled(title: str, table: Table) -> Together:
    """A table under its title; rich's own titles break to the table's width."""
    return Together(Text(title, style="bold"), table)


def _rows(
    table: Table,
    names: Mapping[str, str],
    columns: Sequence[AnswerMetrics | RetrievalMetrics | None],
) -> None:
    """One row a measure, one cell a column."""
    table.add_row("n", *(str(c.n) if c else "-" for c in columns))
    for field, label in names.items():
        table.add_row(label, *(with_interval(getattr(c, field)) if c else "-" for c in columns))


def overall_tables(metrics: Metrics) -> list[Together]:
    """Answer scores and recall of all trajectories, and of the kept ones where some dropped out."""
    dropped = metrics.statuses.get("dropped", 0)
    groups = [metrics.overall, metrics.kept] if dropped else [metrics.overall]
    columns = ["", "all", "kept"][: len(groups) + 1]
    level = f"%, with {_level(metrics.bootstrap)} % intervals"
    answers, retrieval = _table(columns), _table(columns)
    _rows(answers, _ANSWER_ROWS, [g.answers for g in groups])
    tables = [_titled(f"Answers, {level}", answers)] if metrics.overall.answers else []
    if metrics.overall.retrieval and _searched(metrics):
        _rows(retrieval, _RETRIEVAL_ROWS, [g.retrieval for g in groups])
        tables.append(_titled(f"Retrieval at the end, {level}", retrieval))
    return tables


def _searched(metrics: Metrics) -> bool:
    return metrics.effort is not None and metrics.effort.searches.value > 0


def part_tables(
    by_hops: Mapping[str, AnswerMetrics], by_type: Mapping[str, AnswerMetrics]
) -> list[Together]:
    """EM, F1 and Acc of each part, where there are parts."""
    tables = []
    for title, parts in (("By hops, %", by_hops), ("By type, %", by_type)):
        table = _table(["", "n", "EM", "F1", "Acc"])
        for name, means in parts.items():
            cells = (with_interval(e) for e in (means.em, means.f1, means.acc))
            table.add_row(name, str(means.n), *cells)
        if parts:
            tables.append(_titled(title, table))
    return tables


def steps_table(metrics: Metrics) -> Together:
    """Recall after each step."""
    columns = ["step", "running", "gold retrieved", "all gold", "shown", "passages", "precision"]
    table = _table(columns)
    for row in metrics.steps:
        table.add_row(
            str(row.step),
            str(row.running),
            with_interval(row.recall),
            with_interval(row.all_gold),
            percent(row.shown_recall.value),
            f"{row.passages.value:.1f}",
            percent(row.precision.value),
        )
    return _titled("Retrieval after each step, %", table)


def outcomes_table(metrics: Metrics) -> Together:
    """How trajectories ended, with the reasons of those that did not answer."""
    table = _table(["status", "n", "stop reason", "reason"])
    for column in table.columns[2:]:
        column.justify = "left"
    table.columns[3].no_wrap = False
    for outcome in metrics.outcomes[:_OUTCOME_ROWS]:
        stop = outcome.stop_reason.value
        reason = Text(outcome.reason or "")
        table.add_row(outcome.status, str(outcome.n), stop, reason)
    rest = metrics.outcomes[_OUTCOME_ROWS:]
    if rest:
        others = f"{len(rest)} more kinds, in metrics.json"
        table.add_row("others", str(sum(o.n for o in rest)), "", others)
    return _titled("How trajectories ended", table)


def support_lines(metrics: Metrics) -> list[str]:
    """What answers stand on; nothing where nothing was searched."""
    support = metrics.support
    if support is None or not _searched(metrics):
        return []
    lines = [
        f"{with_interval(support.invented)} % of a question's steps state a name or number that "
        "nothing shown holds"
    ]
    if support.too_early is not None:
        lines.insert(
            0,
            f"{with_interval(support.too_early)} % of questions answered before all gold passages "
            "were found",
        )
    return lines


def ability_line(metrics: Metrics) -> list[str]:
    """The abilities in one line, each with the number of questions that gave occasion for it."""
    measured = metrics.abilities
    if measured is None or not _searched(metrics):
        return []
    parts = [
        f"{name} {with_interval(ability.mean)} of {ability.n}"
        for name in AbilityMetrics.model_fields
        if (ability := getattr(measured, name)) is not None
    ]
    return [f"Abilities, %: {'; '.join(parts)} questions"] if parts else []


def effort_lines(effort: Effort) -> list[str]:
    """Steps and searches in one line, tokens and dollars in another."""
    steps = f"{effort.steps.value:.2f} steps and {effort.searches.value:.2f} searches a question"
    cost = f"{effort.prompt_tokens:,} prompt + {effort.completion_tokens:,} completion tokens"
    if effort.dollars is not None:
        cost += f", ${effort.dollars:,.4f}"
        if effort.unpriced:
            cost += f" (without {effort.unpriced:,} generations of unknown price)"
    return [steps, cost]


def step_end_line(metrics: Metrics) -> list[str]:
    """Who ended a step, where that is known."""
    end = metrics.step_end
    return [f"Step end: {STEP_ENDS.get(end, end)}"] if end else []


def samples_line(metrics: Metrics) -> list[str]:
    """What several samples of each question did, where there are several."""
    found = metrics.samples
    if found is None:
        return []
    shown = {
        "on average": found.em,
        "where any is right": found.em_best,
        "by majority": found.em_majority,
    }
    em = ", ".join(f"{with_interval(value)} {name}" for name, value in shown.items())
    agreed = percent(found.agreement.value)
    return [f"Samples, {found.most} a question: EM {em}; {agreed} % agree with the majority"]


def counts_line(metrics: Metrics) -> str:
    """What was counted: questions, how trajectories ended, what could not be scored."""
    statuses = ", ".join(f"{n} {status}" for status, n in sorted(metrics.statuses.items()))
    tried = f"{metrics.trajectories} trajectories: {statuses or 'none'}"
    extra = [
        f"{n} {what}"
        for n, what in (
            (metrics.missing, "missing"),
            (metrics.without_answers, "without a gold answer (not scored)"),
            (metrics.without_gold_passages, "without gold passages (no recall)"),
        )
        if n
    ]
    return "; ".join([f"{metrics.questions} questions, {tried}", *extra])


def _answer_parts(groups: Mapping[str, Group]) -> dict[str, AnswerMetrics]:
    return {name: g.answers for name, g in groups.items() if g.answers}


def run_tables(metrics: Metrics) -> list[Together]:
    """All tables of an evaluated run that have something to say."""
    tables = overall_tables(metrics)
    tables += part_tables(_answer_parts(metrics.by_hops), _answer_parts(metrics.by_type))
    if metrics.steps and _searched(metrics):
        tables.append(steps_table(metrics))
    if set(metrics.statuses) - {"answered"}:
        tables.append(outcomes_table(metrics))
    return tables


def prediction_tables(metrics: PredictionMetrics) -> list[Together]:
    """Tables of a scored predictions file."""
    overall = _table(["", "all"])
    _rows(overall, _ANSWER_ROWS, [metrics.overall])
    title = f"{metrics.benchmark}: answers, %, with {_level(metrics.bootstrap)} % intervals"
    return [_titled(title, overall), *part_tables(metrics.by_hops, metrics.by_type)]


def score_rows(
    comparison: Comparison, metrics: Sequence[MetricComparison] | None = None
) -> list[list[str]]:
    """Each method's means by all or some metrics, with intervals; the first row are headings."""
    shown = comparison.metrics if metrics is None else metrics
    told = any(comparison.step_end.values())
    rows = [["", *(["step end"] * told), *(METRIC_NAMES[one.metric] for one in shown)]]
    for i, name in enumerate(comparison.methods):
        ends = [comparison.step_end.get(name) or "-"] * told
        means = (mean_of(one.means[i]) for one in shown)
        rows.append([name, *ends, *means])
    return rows


def mean_of(found: MethodMean) -> str:
    """A method's mean with its interval, and of how many questions where methods differ in that."""
    if found.n is None:
        return with_interval(found.mean)
    return f"{with_interval(found.mean)} of {found.n}" if found.n else "-"


def leakage_line(comparison: Comparison) -> str:
    """How many questions share a gold passage with training, and the scores of the others."""
    told = f"{comparison.shared_gold} of {comparison.shared} questions share a gold passage with"
    if not comparison.others:
        return f"{told} what was trained on; no other question is left to score"
    means = "; ".join(
        f"{METRIC_NAMES[one.metric]} "
        + ", ".join(f"{mean.method} {with_interval(mean.mean)}" for mean in one.means)
        for one in comparison.others
    )
    return f"{told} what was trained on; without these, %: {means}"


def difference_rows(one: MetricComparison) -> list[list[str]]:
    """Each method's difference from the baseline by one metric; the first row are the headings."""
    corrected = any(d.p_holm is not None for d in one.differences)
    seen = not _over_seeds(one) and any(d.seeded for d in one.differences)
    heads = [*(["p (Holm)"] if corrected else []), *(["detectable"] if seen else [])]
    rows = [["", "difference", "relative, %", "p", *heads]]
    for found in one.differences:
        cells = [signed(found.difference), signed(found.relative), p_value(found.p_value)]
        if found.p_holm is not None:
            cells.append(p_value(found.p_holm))
        if seen:
            cells.append(least(found))
        rows.append([found.label, *cells])
    return rows


def _over_seeds(one: MetricComparison) -> bool:
    return any(found.over_seeds for found in one.differences)


def seeded_rows(one: MetricComparison) -> list[list[str]]:
    """The differences over other seeds, too, and what could be seen; the first row are headings.

    None where no method has a second seed.
    """
    if not _over_seeds(one):
        return []
    corrected = any(d.seeded and d.seeded.p_holm is not None for d in one.differences)
    holm = ["p (Holm)"] if corrected else []
    rows = [["", "over other seeds, too", "p", *holm, "df", "bootstrap", "detectable"]]
    for found in one.differences:
        if (seeded := found.seeded) is not None:
            over = [signed(seeded.interval), p_value(seeded.p_value)]
            if corrected:
                over.append("-" if seeded.p_holm is None else p_value(seeded.p_holm))
            over += [str(seeded.df), within(seeded.resampled)]
            cells = over if seeded.over_seeds else ["-"] * len(over)
            rows.append([found.label, *cells, least(found)])
    return rows if len(rows) > 1 else []


def least(found: Difference) -> str:
    """The least difference that could be seen, in points; `-` where nobody can say."""
    seeded = found.seeded
    return "-" if seeded is None or seeded.detectable is None else points(seeded.detectable)


def within(estimate: Estimate | None) -> str:
    """The bounds alone: `[+3.1, +9.3]`."""
    return "-" if estimate is None else signed(estimate).partition(" ")[2]


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
    return f"{p:.4f}" if p >= 0.0001 else "< 0.0001"
