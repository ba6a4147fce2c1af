"""Metrics as tables for a terminal of 80 columns: fractions become percentages with intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich.table import Table

from steper.evaluate.metrics import AnswerMetrics, Effort, Group, Metrics, RetrievalMetrics
from steper.evaluate.predictions import PredictionMetrics
from steper.evaluate.statistics import Bootstrap, Estimate

_ANSWER_ROWS = {
    "em": "EM",
    "f1": "F1",
    "precision": "Precision",
    "recall": "Recall",
    "acc": "Acc",
    "acc_token": "Acc (whole tokens)",
}
_RETRIEVAL_ROWS = {
    "recall": "Gold passages retrieved",
    "all_gold": "All gold retrieved",
    "shown_recall": "Gold passages shown",
    "shown_all_gold": "All gold shown",
}


def percent(fraction: float) -> str:
    """A fraction as a percentage with one decimal: 0.61 -> 61.0, 1.0 -> 100."""
    text = f"{100 * fraction:.1f}"
    return "100" if text == "100.0" else text


def with_interval(estimate: Estimate) -> str:
    """Percentages `61.0 [56.8, 65.2]`."""
    return f"{percent(estimate.value)} [{percent(estimate.low)}, {percent(estimate.high)}]"


def _level(settings: Bootstrap) -> str:
    return f"{100 * settings.confidence:g}"


def _table(title: str, columns: Iterable[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for i, name in enumerate(columns):
        table.add_column(name, justify="right" if i else "left", header_style="dim")
    return table


def _rows(
    table: Table,
    names: Mapping[str, str],
    columns: Sequence[AnswerMetrics | RetrievalMetrics | None],
) -> None:
    """One row a measure, one cell a column; nothing where no column has the measures."""
    if not any(columns):
        return
    table.add_row("n", *(str(c.n) if c else "-" for c in columns))
    for field, label in names.items():
        table.add_row(label, *(with_interval(getattr(c, field)) if c else "-" for c in columns))


def overall_table(metrics: Metrics) -> Table:
    """Answer scores and recall of all trajectories, and of the kept ones where some dropped out."""
    dropped = metrics.statuses.get("dropped", 0)
    groups = [metrics.overall, metrics.kept] if dropped else [metrics.overall]
    title = f"Scores in %, with {_level(metrics.bootstrap)} % intervals"
    table = _table(title, ["", "all", "kept"][: len(groups) + 1])
    _rows(table, _ANSWER_ROWS, [g.answers for g in groups])
    if metrics.effort and metrics.effort.searches.value:
        table.add_section()
        _rows(table, _RETRIEVAL_ROWS, [g.retrieval for g in groups])
    return table


def answers_table(title: str, parts: Mapping[str, AnswerMetrics]) -> Table:
    """EM, F1 and Acc of each part."""
    table = _table(title, ["", "n", "EM", "F1", "Acc"])
    for name, means in parts.items():
        cells = (with_interval(e) for e in (means.em, means.f1, means.acc))
        table.add_row(name, str(means.n), *cells)
    return table


def steps_table(metrics: Metrics) -> Table:
    """Recall after each step."""
    columns = ["step", "running", "gold retrieved", "all gold", "shown", "passages", "gold of them"]
    table = _table("Retrieval after each step", columns)
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
    return table


def outcomes_table(metrics: Metrics) -> Table:
    """How trajectories ended, with the reasons of those that did not answer."""
    table = _table("How trajectories ended", ["status", "stop reason", "reason", "n"])
    for outcome in metrics.outcomes:
        stop = outcome.stop_reason.value
        table.add_row(outcome.status, stop, outcome.reason or "", str(outcome.n))
    table.columns[1].justify = table.columns[2].justify = "left"
    return table


def effort_line(effort: Effort) -> str:
    """Steps, searches, tokens and dollars in one line."""
    tokens = f"{effort.prompt_tokens:,} + {effort.completion_tokens:,} tokens (prompt + completion)"
    parts = [
        f"{effort.steps.value:.2f} steps and {effort.searches.value:.2f} searches a question",
        tokens,
    ]
    if effort.dollars is not None:
        floor = f" (without {effort.unpriced:,} unpriced generations)" if effort.unpriced else ""
        parts.append(f"${effort.dollars:,.4f}{floor}")
    return ", ".join(parts)


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


def run_tables(metrics: Metrics) -> list[Table]:
    """All tables of an evaluated run that have something to say."""
    tables = [overall_table(metrics)]
    for title, groups in (("By hops", metrics.by_hops), ("By type", metrics.by_type)):
        parts = _answer_parts(groups)
        if parts:
            tables.append(answers_table(title, parts))
    if metrics.steps and metrics.effort and metrics.effort.searches.value:
        tables.append(steps_table(metrics))
    if set(metrics.statuses) - {"answered"}:
        tables.append(outcomes_table(metrics))
    return tables


def prediction_tables(metrics: PredictionMetrics) -> list[Table]:
    """Tables of a scored predictions file."""
    level = _level(metrics.bootstrap)
    overall = _table(f"{metrics.benchmark}: scores in %, with {level} % intervals", ["", "all"])
    _rows(overall, _ANSWER_ROWS, [metrics.overall])
    parts = (("By hops", metrics.by_hops), ("By type", metrics.by_type))
    return [overall, *(answers_table(title, found) for title, found in parts if found)]
