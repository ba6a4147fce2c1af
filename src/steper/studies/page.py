"""A study's page: one HTML file that needs nothing else, readable with ten methods and more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from steper.evaluation.compare import Comparison
from steper.evaluation.methods import METRIC_NAMES
from steper.evaluation.tables import leakage_line, p_value, signed, within
from steper.pipeline.config import PipelineSettings
from steper.reporting.page import render_page, write_page_file
from steper.reporting.provenance import flatten
from steper.store import provenance
from steper.studies.plots import plots_of
from steper.studies.results import StudyResults, TestResults
from steper.studies.study_file import StudyFile
from steper.studies.tables import (
    Table,
    difference_table,
    effort_table,
    mean_sd,
    metric_table,
    score_table,
    seeds_of,
    tuned_rows,
)
from steper.text import percent

SURE = 0.05
"""Below this p-value the headline calls a difference one."""


def write_page(results: StudyResults, out: Path, cells: dict[str, dict[str, str]]) -> Path:
    """Write the page to the file `out`, atomically; `cells` as `what_differs` gives them.

    Raises InputError where it cannot be written.
    """
    return write_page_file(out, render_page("study.html.j2", out.parent, contents(results, cells)))


def contents(results: StudyResults, cells: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Everything that the template shows, by name."""
    tests = results.tests
    scores = score_table(results)
    comparisons = [test.comparison for test in tests.values()]
    return {
        "results": results,
        "metric": METRIC_NAMES[results.metric],
        "headlines": [headline(name, test) for name, test in tests.items()],
        "several": any(m.spread is not None for c in comparisons for m in c.metrics[0].means),
        "scores": scores,
        "best": {
            ("scores", i): best(test)
            for i, test in enumerate(tests.values(), start=len(scores[0]) - len(tests))
        },
        "step_ends": len(scores[0]) - len(tests) > 1,
        "charts": [chart for _, _, chart in plots_of(results)],
        "parts": [_part(name, test) for name, test in tests.items()],
        "cells": cells,
        "bootstrap": comparisons[0].bootstrap,
        "warnings": list(dict.fromkeys(w for c in comparisons for w in c.warnings)),
        "own": provenance(),
    }


def _part(name: str, test: TestResults) -> dict[str, Any]:
    comparison = test.comparison
    return {
        "name": name,
        "shared": comparison.shared,
        "leakage": leakage_line(comparison) if comparison.shared_gold else "",
        "seeds": seeds_of(test),
        "level": f"{100 * comparison.bootstrap.confidence:g}",
        "metrics": metric_table(test),
        "differences": [
            (METRIC_NAMES[one.metric], difference_table(one, comparison.baseline))
            for one in comparison.metrics
        ],
        "effort": effort_table(test),
        "tuned": "; ".join(f"{row}: {told}" for row, told in tuned_rows(test).items()),
        "each_seed": seed_table(comparison),
        "runs": {row: [Path(path) for path in paths] for row, paths in comparison.methods.items()},
    }


def best(test: TestResults) -> tuple[str, ...]:
    """What the best trained row's cell says, by the first metric; nothing without trained rows."""
    means = [test.mean(row.name) for row in test.rows if row.trained]
    return (mean_sd(max(means, key=lambda mean: mean.mean.value)),) if means else ()


def headline(name: str, test: TestResults) -> str:
    """The best trained row of a set of test questions, against what it is compared with."""
    first = test.comparison.metrics[0]
    metric = METRIC_NAMES[first.metric]
    compared = {found.method: found for found in first.differences}
    rows = [row.name for row in test.rows if row.trained]
    if not rows:
        return f"{name}: no student was trained."
    top = max(rows, key=lambda row: test.mean(row).mean.value)
    score = f"{metric} {mean_sd(test.mean(top))} %"
    told = f"{name}: of {len(rows)} trained rows {top} is best, with {score}"
    found = compared.get(top)
    if found is None:
        return f"{told}; others are compared with it."
    against = found.against or test.comparison.baseline
    p, corrected = found.verdict
    holm = " (Holm)" if corrected else ""
    difference = f"{signed(found.difference)} points against {against}"
    if found.over_seeds:
        difference += f"; over other seeds, too, {within(found.over_seeds.interval)}"
    difference += f", p {p_value(p)}{holm}"
    unsure = "" if p < SURE else ", which may be chance"
    return f"{told}: {difference}{unsure}."


def seed_table(comparison: Comparison) -> Table:
    """Each seed's own mean of every row by every metric."""
    table = [["", "metric", "seeds, %", "interval over questions"]]
    for i, name in enumerate(comparison.methods):
        for one in comparison.metrics:
            mean = one.means[i]
            each = "  ".join(percent(seed) for seed in mean.seeds)
            interval = f"{percent(mean.mean.low)}–{percent(mean.mean.high)}"
            table.append([name, METRIC_NAMES[one.metric], each, interval])
    return table


def what_differs(file: StudyFile) -> dict[str, dict[str, str]]:
    """For each cell the settings that not all cells have alike."""
    flat = {name: _flat(settings) for name, settings in file.cells.items()}
    keys = dict.fromkeys(key for settings in flat.values() for key in settings)
    differing = [key for key in keys if len({flat[name].get(key) for name in flat}) > 1]
    return {
        name: {key: settings[key] for key in differing if key in settings}
        for name, settings in flat.items()
    }


def _flat(settings: PipelineSettings) -> dict[str, str]:
    return flatten(settings.model_dump(mode="json", exclude_unset=True))
