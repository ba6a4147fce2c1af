"""A study's tables: Markdown to read, CSV with every number, LaTeX to cite.

Scores are mean ± standard deviation over seeds (n − 1) where there are several, in per cent.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path

from steper.evaluation.compare import Difference, MethodMean, MetricComparison
from steper.evaluation.methods import METRIC_NAMES
from steper.evaluation.tables import leakage_line, least, p_value, signed, within
from steper.pipeline.choices import NOT_TUNED
from steper.store import atomic_writer
from steper.studies.results import RowFacts, StudyResults, TestResults
from steper.text import percent

Table = list[list[str]]
"""Rows of cells, of which the first are the headings."""

_CSV_COLUMNS = """
test row cells recipe student parameters trajectories trained_tokens trained_seconds metric n mean
low high sd seeds against difference difference_low difference_high relative p p_holm
seeded_low seeded_high p_over_seeds p_over_seeds_holm detectable steps searches tokens seconds
dollars step_end
"""
CSV_COLUMNS = _CSV_COLUMNS.split()


def mean_sd(mean: MethodMean) -> str:
    """`61.0 ± 1.2`: the mean and its standard deviation over seeds, if there are several.

    With the number of questions that it is over where rows differ in that; – where that is 0.
    """
    if mean.n == 0:
        return "–"
    spread = "" if mean.spread is None else f" ± {100 * mean.spread:.1f}"
    return f"{percent(mean.mean.value)}{spread}" + (f" of {mean.n:,}" if mean.n else "")


def score_table(results: StudyResults) -> Table:
    """Every row on every set of test questions by the first metric, – where it was not asked."""
    tests = results.tests
    metrics = [METRIC_NAMES[test.comparison.metrics[0].metric] for test in tests.values()]
    headings = [f"{name}, {metric}" for name, metric in zip(tests, metrics, strict=True)]
    ends = {k: v for test in tests.values() for k, v in test.comparison.step_end.items() if v}
    table = [["", *_ends(ends), *headings]]
    for row in results.row_names:
        means = (_mean_of(test.comparison.metrics[0], row) for test in tests.values())
        cells = (mean_sd(mean) if mean else "–" for mean in means)
        table.append([row, *_ends(ends, row), *cells])
    return table


def _ends(ends: Mapping[str, str], row: str | None = None) -> list[str]:
    """The cell of `row` that says who ended its steps, or the heading; none where no row says."""
    if not any(ends.values()):
        return []
    return ["step end"] if row is None else [ends.get(row) or "–"]


def metric_table(test: TestResults) -> Table:
    """Every row on one set of test questions by all metrics."""
    shown = test.comparison.metrics
    ends = test.comparison.step_end
    table = [["", *_ends(ends), *(METRIC_NAMES[one.metric] for one in shown)]]
    for i, row in enumerate(test.rows):
        table.append([row.name, *_ends(ends, row.name), *(mean_sd(one.means[i]) for one in shown)])
    return table


def difference_table(one: MetricComparison, baseline: str) -> Table:
    """What each row is compared with and how they differ, in points, by one metric.

    Where rows have several seeds, the interval and p-values over other seeds stand there, too.
    """
    over = any(d.over_seeds for d in one.differences)
    more = [OVER_SEEDS, "p", "p (Holm)"] if over else []
    headings = ["", "against", "difference", "relative, %", "p", "p (Holm)", *more, "detectable"]
    table = [headings]
    for found in one.differences:
        tests = [_p(found.p_value), _p(found.p_holm)]
        if over:
            seeded = found.over_seeds
            tests.append(within(seeded.interval) if seeded else "–")
            tests += [_p(seeded.p_value), _p(seeded.p_holm)] if seeded else ["–", "–"]
        table.append(
            [
                found.method,
                found.against or baseline,
                signed(found.difference),
                signed(found.relative),
                *tests,
                least(found),
            ]
        )
    return table


OVER_SEEDS = "over other seeds, too"


def _p(value: float | None) -> str:
    return "–" if value is None else p_value(value)


EFFORT: dict[str, Callable[[RowFacts], float | None]] = {
    "parameters": lambda row: row.parameters,
    "trajectories": lambda row: row.trajectories,
    "trained tokens": lambda row: row.trained_tokens,
    "trained, s": lambda row: row.trained_seconds,
    "steps": lambda row: row.steps,
    "searches": lambda row: row.searches,
    "tokens": lambda row: row.tokens,
    "s": lambda row: row.seconds,
    "$": lambda row: row.dollars,
}


def effort_table(test: TestResults) -> Table:
    """What each row is and what it took: its model, its training, one question."""
    used = [n for n, value in EFFORT.items() if any(value(r) is not None for r in test.rows)]
    return [["", *used], *([r.name, *(amount(EFFORT[n](r)) for n in used)] for r in test.rows)]


def amount(value: float | None) -> str:
    """A number with three figures or whole, thousands apart; – for none."""
    if value is None:
        return "–"
    if value and abs(value) < 10 and value != int(value):
        return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:#.2g}"
    return f"{value:,.1f}" if abs(value) < 100 and value != int(value) else f"{value:,.0f}"


TUNED = "Settings chosen on development questions"


def tuned_of(results: StudyResults) -> dict[str, str]:
    """The settings chosen for each trained row, in words; empty where nothing was tuned."""
    return {n: told for test in results.tests.values() for n, told in tuned_rows(test).items()}


def tuned_rows(test: TestResults) -> dict[str, str]:
    """The same of the rows on one set of test questions."""
    rows = [row for row in test.rows if row.trained]
    tuned = any(row.tuned for row in rows)
    return {row.name: row.tuned or NOT_TUNED for row in rows if tuned}


def _mean_of(one: MetricComparison, row: str) -> MethodMean | None:
    return next((mean for mean in one.means if mean.method == row), None)


def _difference_of(one: MetricComparison, row: str) -> Difference | None:
    return next((found for found in one.differences if found.method == row), None)


def seeds_of(test: TestResults) -> str:
    """`5 seeds`, `1 to 5 seeds`: those of the trained rows."""
    means = zip(test.comparison.metrics[0].means, test.rows, strict=True)
    counts = {len(mean.seeds) for mean, row in means if row.trained} or {1}
    low, high = min(counts), max(counts)
    return f"{high} seed{'s' * (high > 1)}" if low == high else f"{low} to {high} seeds"


def markdown(results: StudyResults) -> str:
    """All tables as Markdown."""
    metric = METRIC_NAMES[results.metric]
    parts = [
        f"# {results.title}",
        results.about,
        f"{metric}, %: mean ± standard deviation over seeds",
        markdown_table(score_table(results)),
    ]
    for name, test in results.tests.items():
        parts += _markdown_of(name, test)
    return "\n\n".join(filter(None, parts)) + "\n"


def _markdown_of(name: str, test: TestResults) -> list[str]:
    """The part on one set of test questions."""
    comparison = test.comparison
    level = f"{100 * comparison.bootstrap.confidence:g}"
    questions = f"{comparison.shared} questions, {seeds_of(test)}; %"
    parts = [f"## {name}", questions, markdown_table(metric_table(test))]
    tuned = tuned_rows(test)
    if tuned:
        parts.append(TUNED + ":")
        parts.append("\n".join(f"- {row}: {told}" for row, told in tuned.items()))
    for one in comparison.metrics:
        metric = METRIC_NAMES[one.metric]
        parts.append(f"{metric}: differences in points, with {level} % intervals over questions")
        parts.append(markdown_table(difference_table(one, comparison.baseline)))
    if comparison.shared_gold:
        parts.append(f"Leakage: {leakage_line(comparison)}.")
    took = "What it took: means of a question, and of a training"
    return [*parts, took, markdown_table(effort_table(test))]


def markdown_table(table: Table) -> str:
    """A table as Markdown; numbers stand right."""
    first, *rows = [[cell.replace("|", "\\|") for cell in row] for row in table]
    rule = ["---", *("---:" for _ in first[1:])]
    return "\n".join(f"| {' | '.join(row)} |" for row in (first, rule, *rows))


def latex(results: StudyResults) -> str:
    """The scores on all tests, and the differences on each, as LaTeX (package booktabs)."""
    metric = METRIC_NAMES[results.metric]
    caption = f"{results.title}: {metric}, %, mean ± standard deviation over seeds"
    if tuned := tuned_of(results):
        caption += f". {TUNED}: " + "; ".join(f"{row}: {told}" for row, told in tuned.items())
    parts = [latex_table(score_table(results), caption)]
    for name, test in results.tests.items():
        for one in test.comparison.metrics:
            caption = f"{name}, {METRIC_NAMES[one.metric]}: differences in points"
            parts.append(latex_table(difference_table(one, test.comparison.baseline), caption))
    return "\n\n".join(parts) + "\n"


_LATEX = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "±": "$\\pm$",
    "−": "$-$",
    "–": "--",
    "<": "$<$",
    ">": "$>$",
}


def escape_latex(text: str) -> str:
    """Text as LaTeX shows it."""
    return "".join(_LATEX.get(c, c) for c in text)


def latex_table(table: Table, caption: str) -> str:
    """A table with booktabs' rules."""
    first, *rows = [" & ".join(map(escape_latex, row)) + r" \\" for row in table]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape_latex(caption)}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(table[0]) - 1)}}}",
        r"\toprule",
        first,
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines)


def csv_text(results: StudyResults) -> str:
    """Every number: a line for each row, test and metric; scores are fractions."""
    text = io.StringIO()
    tuned = tuned_of(results)
    columns = [*CSV_COLUMNS, "tuned"] if tuned else CSV_COLUMNS
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for name, test in results.tests.items():
        for one in test.comparison.metrics:
            for facts in test.rows:
                row = {"test": name, **_csv_row(facts, one, test.comparison.baseline)}
                row["step_end"] = test.comparison.step_end.get(facts.name) or None
                writer.writerow({**row, **({"tuned": tuned.get(facts.name)} if tuned else {})})
    return text.getvalue()


def _csv_row(facts: RowFacts, one: MetricComparison, baseline: str) -> dict[str, object]:
    mean, found = _mean_of(one, facts.name), _difference_of(one, facts.name)
    assert mean is not None
    row = {k: v for k, v in facts.model_dump().items() if k in CSV_COLUMNS}
    row |= {"row": facts.name, "cells": " ".join(facts.cells), "metric": one.metric, "n": one.n}
    row |= {"mean": mean.mean.value, "low": mean.mean.low, "high": mean.mean.high}
    row |= {"sd": mean.spread, "seeds": len(mean.seeds)}
    if found is not None:
        row |= {
            "against": found.against or baseline,
            "difference": found.difference.value,
            "difference_low": found.difference.low,
            "difference_high": found.difference.high,
            "relative": found.relative and found.relative.value,
            "p": found.p_value,
            "p_holm": found.p_holm,
        }
        row["detectable"] = found.seeded and found.seeded.detectable
        if seeded := found.over_seeds:
            row |= {"seeded_low": seeded.interval.low, "seeded_high": seeded.interval.high}
            row |= {"p_over_seeds": seeded.p_value, "p_over_seeds_holm": seeded.p_holm}
    return row


def write_tables(results: StudyResults, out: Path) -> list[Path]:
    """Write tables.md, tables.csv and tables.tex."""
    texts = {"md": markdown(results), "csv": csv_text(results), "tex": latex(results)}
    paths = [out / f"tables.{suffix}" for suffix in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        with atomic_writer(path) as file:
            file.write(text.encode())
    return paths
