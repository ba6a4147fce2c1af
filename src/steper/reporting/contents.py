"""What a report shows: everything that the template names, computed from evaluated methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from markupsafe import Markup
from pydantic import Field

from steper.data.world.world_questions import world_of
from steper.evaluation.compare import Comparison, choose_baseline, compare
from steper.evaluation.methods import METRIC_NAMES, RETRIEVAL_METRICS, Method, shared_questions
from steper.evaluation.statistics import Bootstrap
from steper.evaluation.summaries import partition
from steper.evaluation.tables import leakage_line
from steper.records import GrownRecord, Question
from steper.reporting import charts, score_tables
from steper.reporting.provenance import RunFacts, compare_settings, flatten, run_facts
from steper.reporting.svg import colour, key_mark
from steper.reporting.training_logs import TrainingLog, find_training, read_training
from steper.reporting.trajectories import gather_examples
from steper.store import provenance

BENCHMARK_NAMES = {
    "hotpotqa": "HotpotQA",
    "2wikimultihopqa": "2WikiMultiHopQA",
    "musique": "MuSiQue",
    "generic": "a benchmark without rules of its own",
}


class ReportSettings(GrownRecord):
    """What a report shows: `examples` trajectories drawn by `seed`, differences from `baseline`.

    `against` names another method for single ones to be compared with. `shared_gold` are questions
    that share a gold passage with what was trained on: the scores of the others stand beside.
    `tuned` has a line for each method, where settings were chosen, with what was chosen.
    """

    later: ClassVar[tuple[str, ...]] = ("tuned",)

    title: str = "Multi-step question answering: the methods compared"
    baseline: str | None = None
    against: dict[str, str] = Field(default_factory=dict)
    shared_gold: tuple[str, ...] = ()
    tuned: tuple[str, ...] = ()
    examples: int = 20
    seed: int = 0


@dataclass(frozen=True)
class Entry:
    """A method with what was computed of it; `key` is its mark, `colour` its class."""

    index: int
    name: str
    key: Markup
    colour: str
    step_end: str
    runs: tuple[RunFacts, ...]
    scores: Mapping[str, score_tables.ScoreCell | None]
    steps: Sequence[score_tables.StepPoint]
    effort: score_tables.MethodEffort
    training: tuple[TrainingLog, ...]
    panels: Sequence[charts.Panel]


def gather(
    methods: Sequence[Method],
    settings: ReportSettings,
    bootstrap: Bootstrap,
    training: Mapping[str, Sequence[Path]],
) -> dict[str, Any]:
    """Everything that the template shows, by name; see `write_report`."""
    baseline = choose_baseline(methods, settings.baseline)
    entries = _trainings_once(
        [_entry(i, method, bootstrap, training) for i, method in enumerate(methods)]
    )
    shared = shared_questions(methods)
    facts = [run for entry in entries for run in entry.runs]
    every = score_tables.every_question(methods)
    names = [m.name for m in methods]
    return {
        "settings": settings,
        "entries": entries,
        "baseline": baseline,
        "bootstrap": bootstrap,
        "benchmarks": list(dict.fromkeys(BENCHMARK_NAMES[q.benchmark] for q in every.values())),
        "asked": asked_of(every),
        "of_world": all(world_of(i) for i in every),
        "questions": len(every),
        "shared": len(shared),
        "step_ends": any(entry.step_end for entry in entries),
        "comparison": _comparison(methods, baseline, bootstrap, settings),
        "leakage_line": leakage_line,
        "metric_names": METRIC_NAMES,
        "metrics": [m for m in score_tables.TABLE_METRICS if any(e.scores[m] for e in entries)],
        "breakdowns": breakdowns(methods, bootstrap),
        "step_panels": charts.step_panels([e.steps for e in entries], names),
        "extra_training": _other_training(training, names),
        "examples": gather_examples(
            methods, _judged(methods, entries), shared, settings.examples, settings.seed
        ),
        "runs": facts,
        "trainings": [
            (e, log, flatten(log.settings)) for e in entries if e.panels for log in e.training
        ],
        "run_settings": compare_settings(facts),
        "own": provenance(),
        "warnings": list(dict.fromkeys(w for run in facts for w in run.metrics.warnings)),
    }


def asked_of(questions: Mapping[str, Question]) -> list[str]:
    """What the questions are: a generated world's are in a benchmark's format, and not its own."""
    names = (
        "a generated world" if world_of(i) else BENCHMARK_NAMES[q.benchmark]
        for i, q in questions.items()
    )
    return list(dict.fromkeys(names))


def _entry(
    index: int, method: Method, bootstrap: Bootstrap, training: Mapping[str, Sequence[Path]]
) -> Entry:
    runs = tuple(
        run_facts(path, index, evaluation.metrics)
        for path, evaluation in zip(method.paths, method.evaluations, strict=True)
    )
    found = dict.fromkeys(find_training(run.manifest) for run in runs)
    folders = training.get(method.name) or [folder for folder in found if folder]
    logs = tuple(read_training(folder) for folder in folders)
    effort = score_tables.effort(method, [run.seconds for run in runs], bootstrap)
    searched = effort.searches.value > 0
    return Entry(
        index=index,
        name=method.name,
        key=key_mark(index),
        colour=colour(index),
        step_end=method.step_end,
        runs=runs,
        scores={
            metric: score_tables.cell(method, metric, method.questions, bootstrap)
            if searched or metric not in RETRIEVAL_METRICS
            else None
            for metric in score_tables.TABLE_METRICS
        },
        steps=score_tables.steps(method, bootstrap) if searched else [],
        effort=effort,
        training=logs,
        panels=charts.training_panels(index, logs) if logs else [],
    )


def _trainings_once(entries: Sequence[Entry]) -> list[Entry]:
    """The entries, without panels where an earlier one shows the same trainings.

    So it is with students that are asked in two ways.
    """
    shown: set[Path] = set()
    found = []
    for entry in entries:
        folders = {log.folder for log in entry.training}
        found.append(replace(entry, panels=()) if folders <= shown else entry)
        shown |= folders
    return found


def _judged(methods: Sequence[Method], entries: Sequence[Entry]) -> list[Method]:
    """The methods whose disagreements are worth a look: the trained ones, where there are several.

    An untrained student is nearly always wrong, and a teacher nearly always right.
    """
    trained = [method for method, entry in zip(methods, entries, strict=True) if entry.training]
    return trained if len(trained) > 1 else list(methods)


def _other_training(
    training: Mapping[str, Sequence[Path]], names: Sequence[str]
) -> dict[str, list[charts.Panel]]:
    """Panels of the trainings that belong to no method of the report."""
    others = {name: paths for name, paths in training.items() if name not in names}
    return {
        name: charts.training_panels(index, [read_training(path) for path in paths])
        for index, (name, paths) in enumerate(others.items(), start=len(names))
    }


def _comparison(
    methods: Sequence[Method], baseline: str, bootstrap: Bootstrap, settings: ReportSettings
) -> Comparison | None:
    """Paired differences; None for one method alone, or without gold answers."""
    scored = any(q.answers for q in shared_questions(methods).values())
    if len(methods) < 2 or not scored:
        return None
    metrics, apart = score_tables.PANEL_METRICS, settings.shared_gold
    return compare(methods, baseline, metrics, bootstrap, settings.against, apart)


def _hops(hops: int | None) -> str | None:
    return None if hops is None else f"{hops} hop{'s' * (hops != 1)}"


def breakdowns(
    methods: Sequence[Method], bootstrap: Bootstrap
) -> list[tuple[str, list[charts.Panel]]]:
    """Panels of EM, F1 and Acc by hops, and by type; without those that have a single part."""
    names = [m.name for m in methods]
    every = score_tables.every_question(methods)
    found = []
    hops = {i: _hops(q.hops) for i, q in every.items()}
    types = {i: q.type for i, q in every.items()}
    for title, part_of in (("hops", hops), ("type", types)):
        panels = []
        ids = partition(every, part_of.__getitem__)
        for metric in score_tables.PANEL_METRICS:
            parts = score_tables.parts(methods, metric, ids, bootstrap)
            if len(parts) > 1:
                panels.append(charts.part_panel(metric, parts, names))
        if panels:
            found.append((title, panels))
    return found
