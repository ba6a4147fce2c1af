"""Run folders become one HTML page that needs nothing else: no network, no other file.

Texts of questions, passages and models are somebody else's: jinja2 escapes them all, and the page
forbids itself by a content security policy to load anything or to run any script but its own.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from steper.errors import InputError
from steper.evaluate.compare import (
    METRIC_NAMES,
    RETRIEVAL_METRICS,
    Comparison,
    Method,
    choose_baseline,
    compare,
    shared_questions,
)
from steper.evaluate.statistics import Bootstrap, Estimate
from steper.evaluate.tables import percent
from steper.records import Record
from steper.report import charts, numbers
from steper.report.provenance import RunFacts, compare_settings, flatten, run_facts
from steper.report.svg import colour, key_mark
from steper.report.training import TrainingLog, find_training, read_training
from steper.report.trajectories import gather_examples
from steper.store import atomic_writer, provenance

BENCHMARK_NAMES = {
    "hotpotqa": "HotpotQA",
    "2wikimultihopqa": "2WikiMultiHopQA",
    "musique": "MuSiQue",
    "generic": "a benchmark without rules of its own",
}


class ReportSettings(Record):
    """What a report shows: `examples` trajectories drawn by `seed`, differences from `baseline`."""

    title: str = "Multi-step question answering: the methods compared"
    baseline: str | None = None
    examples: int = 20
    seed: int = 0


@dataclass(frozen=True)
class Entry:
    """A method with what was computed of it; `key` is its mark, `colour` its class."""

    index: int
    name: str
    key: Markup
    colour: str
    runs: tuple[RunFacts, ...]
    scores: Mapping[str, numbers.Cell | None]
    steps: Sequence[numbers.StepPoint]
    effort: numbers.Effort
    training: tuple[TrainingLog, ...]
    panels: Sequence[charts.Panel]


def write_report(
    methods: Sequence[Method],
    out: Path | str,
    settings: ReportSettings | None = None,
    bootstrap: Bootstrap | None = None,
    training: Mapping[str, Sequence[Path]] | None = None,
) -> Path:
    """Write the report of evaluated methods (see `load_methods`) to the file `out`, atomically.

    `training` are folders with training logs, by method name or by any other name; a method that
    has none there is looked up by its model's folder. Raises InputError on a broken log, and when
    `out` cannot be written.
    """
    out = Path(out)
    if out.is_dir():
        raise InputError(f"{out} is a folder; a file such as {out / 'report.html'} was expected")
    page = render(methods, settings or ReportSettings(), bootstrap or Bootstrap(), training or {})
    try:
        with atomic_writer(out) as file:
            file.write(page.encode())
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror})") from None
    return out


def render(
    methods: Sequence[Method],
    settings: ReportSettings,
    bootstrap: Bootstrap,
    training: Mapping[str, Sequence[Path]],
) -> str:
    """The page's HTML; the same input gives the same page."""
    if not methods:
        raise InputError("there is nothing to report; name at least one run")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("steper.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= FILTERS
    script = _asset("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("report.html.j2").render(
        **gather(methods, settings, bootstrap, training),
        style=Markup(_asset("report.css")),
        script=Markup(script),
        script_hash=digest,
    )


def _asset(name: str) -> str:
    return (resources.files("steper.report") / "templates" / name).read_text("utf-8")


def gather(
    methods: Sequence[Method],
    settings: ReportSettings,
    bootstrap: Bootstrap,
    training: Mapping[str, Sequence[Path]],
) -> dict[str, Any]:
    """Everything that the template shows, by name."""
    baseline = choose_baseline(methods, settings.baseline)
    entries = [_entry(i, method, bootstrap, training) for i, method in enumerate(methods)]
    shared = shared_questions(methods)
    facts = [run for entry in entries for run in entry.runs]
    every = numbers.every_question(methods)
    names = [m.name for m in methods]
    known = set(names)
    extra = {
        name: charts.training_panels(len(methods) + i, [read_training(p) for p in paths])
        for i, (name, paths) in enumerate((n, p) for n, p in training.items() if n not in known)
    }
    return {
        "settings": settings,
        "entries": entries,
        "baseline": baseline,
        "bootstrap": bootstrap,
        "benchmarks": _benchmarks(every.values()),
        "questions": len(every),
        "shared": len(shared),
        "comparison": _comparison(methods, baseline, bootstrap),
        "metric_names": METRIC_NAMES,
        "metrics": [m for m in numbers.TABLE_METRICS if any(e.scores[m] for e in entries)],
        "breakdowns": breakdowns(methods, bootstrap),
        "step_panels": charts.step_panels([e.steps for e in entries], names),
        "extra_training": extra,
        "examples": gather_examples(methods, shared, settings.examples, settings.seed),
        "runs": facts,
        "trainings": [
            (entry, log, flatten(log.manifest.get("settings") or {}))
            for entry in entries
            for log in entry.training
        ],
        "run_settings": compare_settings(facts),
        "own": provenance(),
        "warnings": list(dict.fromkeys(w for run in facts for w in run.metrics.warnings)),
    }


def _entry(
    index: int, method: Method, bootstrap: Bootstrap, training: Mapping[str, Sequence[Path]]
) -> Entry:
    runs = tuple(
        run_facts(path, index, evaluation.metrics)
        for path, evaluation in zip(method.paths, method.evaluations, strict=True)
    )
    folders = training.get(method.name) or _training_folders(runs)
    logs = tuple(read_training(folder) for folder in folders)
    effort = numbers.effort(method, [run.seconds for run in runs], bootstrap)
    searched = effort.searches.value > 0
    return Entry(
        index=index,
        name=method.name,
        key=key_mark(index),
        colour=colour(index),
        runs=runs,
        scores={
            metric: numbers.cell(method, metric, method.questions, bootstrap)
            if searched or metric not in RETRIEVAL_METRICS
            else None
            for metric in numbers.TABLE_METRICS
        },
        steps=numbers.steps(method, bootstrap) if searched else [],
        effort=effort,
        training=logs,
        panels=charts.training_panels(index, logs) if logs else [],
    )


def _training_folders(runs: Sequence[RunFacts]) -> list[Path]:
    found = (find_training(run.manifest) for run in runs)
    return list(dict.fromkeys(folder for folder in found if folder))


def _benchmarks(questions: Any) -> list[str]:
    return list(dict.fromkeys(BENCHMARK_NAMES[q.benchmark] for q in questions))


def _comparison(
    methods: Sequence[Method], baseline: str, bootstrap: Bootstrap
) -> Comparison | None:
    """Paired differences; None for one method alone, or without gold answers."""
    scored = any(q.answers for q in shared_questions(methods).values())
    if len(methods) < 2 or not scored:
        return None
    return compare(methods, baseline, numbers.PANEL_METRICS, bootstrap)


def breakdowns(
    methods: Sequence[Method], bootstrap: Bootstrap
) -> list[tuple[str, list[charts.Panel]]]:
    """Panels of EM, F1 and Acc by hops, and by type; without those that have a single part."""
    names = [m.name for m in methods]
    found = []
    for title, key in (
        ("hops", lambda q: None if q.hops is None else f"{q.hops} hop{'s' * (q.hops != 1)}"),
        ("type", lambda q: q.type),
    ):
        panels = []
        for metric in numbers.PANEL_METRICS:
            parts = numbers.parts(methods, metric, key, bootstrap)
            if len(parts) > 1:
                panels.append(charts.part_panel(metric, parts, names))
        if panels:
            found.append((title, panels))
    return found


def interval(estimate: Estimate) -> str:
    """An interval of percentages: `[56.8, 65.2]`."""
    return f"[{percent(estimate.low)}, {percent(estimate.high)}]"


def signed(fraction: float) -> str:
    """A percentage with its sign, minus as a minus sign, 0.0 without one."""
    text = f"{100 * fraction:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def signed_interval(estimate: Estimate) -> str:
    """An interval of signed percentages."""
    return f"[{signed(estimate.low)}, {signed(estimate.high)}]"


def amount(value: float) -> str:
    """A number a reader takes in: three figures or whole, thousands apart."""
    if value and abs(value) < 10:
        return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:#.2g}"
    return f"{value:,.1f}" if abs(value) < 100 else f"{value:,.0f}"


def amount_interval(estimate: Estimate) -> str:
    """An interval of amounts."""
    return f"[{amount(estimate.low)}, {amount(estimate.high)}]"


def dollars(value: float) -> str:
    """Dollars, with as many decimals as small sums take."""
    return f"${value:,.2f}" if value >= 1 or not value else f"${value:#.2g}"


def p_value(p: float) -> str:
    """A p-value with four decimals, and never a bare 0."""
    return f"{p:.4f}" if p >= 0.0001 else "< 0.0001"


FILTERS = {
    "percent": percent,
    "interval": interval,
    "signed": signed,
    "signed_interval": signed_interval,
    "amount": amount,
    "amount_interval": amount_interval,
    "dollars": dollars,
    "p_value": p_value,
    "readable": charts.readable,
}
