"""Methods: names with the evaluated runs behind them, and what each question scored by a metric.

In: run folders by method, one or several (the seeds of one method). Out: `Method`s that answer the
same questions.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from steper.errors import InputError
from steper.evaluation.metrics import QuestionScore
from steper.evaluation.score_table import ScoreTable
from steper.evaluation.scoring import Evaluation, score_run
from steper.evaluation.statistics import Bootstrap, Floats
from steper.records import Question
from steper.stored import ByKey
from steper.text import normalise_space

Metric = Literal[
    "em",
    "f1",
    "precision",
    "recall",
    "acc",
    "acc_token",
    "gold_recall",
    "all_gold",
    "too_early",
    "invented",
    "initialization",
    "expansion",
    "aggregation",
]

METRIC_NAMES: dict[Metric, str] = {
    "em": "EM",
    "f1": "F1",
    "precision": "Precision",
    "recall": "Recall",
    "acc": "Acc",
    "acc_token": "Acc (whole tokens)",
    "gold_recall": "Gold passages retrieved",
    "all_gold": "All gold retrieved",
    "too_early": "Answered too early",
    "invented": "Steps that invent",
    "initialization": "Initialization",
    "expansion": "Expansion",
    "aggregation": "Aggregation",
}

RETRIEVAL_METRICS: frozenset[Metric] = frozenset({"gold_recall", "all_gold"})

SUPPORT_METRICS: frozenset[Metric] = frozenset({"too_early", "invented"})
"""What answers stand on (see `steper.evaluation.metrics.Support`): less is better."""

ABILITY_METRICS: frozenset[Metric] = frozenset({"initialization", "expansion", "aggregation"})
"""See `steper.evaluation.abilities`: of questions that gave occasion, other ones for each run."""


@dataclass(frozen=True)
class Method:
    """A name with the evaluated runs behind it; several are the seeds of one method."""

    name: str
    paths: tuple[Path, ...]
    evaluations: tuple[Evaluation, ...]

    @cached_property
    def scores(self) -> tuple[ByKey[QuestionScore], ...]:
        """Each run's scores by question id; each is read from a file, so `values` is for many."""
        return tuple(e.scores.by_key for e in self.evaluations)

    @cached_property
    def questions(self) -> ByKey[Question]:
        """The questions that all of its runs have, in the first run's order, by id."""
        first = self.evaluations[0].questions
        both = [n for n, i in enumerate(first.keys) if all(i in run for run in self.scores)]
        return first.take(both).by_key

    @property
    def step_end(self) -> str:
        """Who ended a step in its runs; "" where nobody knows."""
        return ", ".join(dict.fromkeys(e.metrics.step_end for e in self.evaluations)).strip(", ")

    def tables(self, ids: Sequence[str]) -> list[ScoreTable]:
        """Each run's scores of these questions, in this order."""
        runs = zip(self.evaluations, self.scores, strict=True)
        return [e.table.take(by_id.places[i] for i in ids) for e, by_id in runs]

    def values(self, metric: Metric, ids: Sequence[str]) -> Floats:
        """Scores of questions: (runs, questions).

        NaN without the gold, or the occasion, that the metric takes.
        """
        return np.array([table.values(metric) for table in self.tables(ids)])


def parse_methods(runs: Iterable[str], groups: Iterable[str] = ()) -> dict[str, tuple[Path, ...]]:
    """Run folders by method name, from `RUN`, `NAME=RUN` and `NAME=RUN1,RUN2,…`.

    A lone folder is named by its last part, or by its path where two have the same. Raises
    InputError on a name or a folder given twice, and on an empty one.
    """
    specs = [(spec, False) for spec in runs] + [(spec, True) for spec in groups]
    lone = [Path(s).name for s, grouped in specs if not grouped and _is_folder(s)]
    methods: dict[str, tuple[Path, ...]] = {}
    seen: set[str] = set()
    for spec, grouped in specs:
        if not grouped and _is_folder(spec):
            paths: tuple[Path, ...] = (Path(spec),)
            name = Path(spec).name
            name = spec if lone.count(name) > 1 or not name else name
        else:
            name, _, folders = (part.strip() for part in spec.partition("="))
            paths = tuple(Path(f.strip()) for f in folders.split(",") if f.strip())
            if not name or not paths:
                raise InputError(f"{spec!r} names no runs; NAME=RUN1,RUN2,… was expected")
        for path in paths:
            place = os.path.realpath(path)
            if place in seen:
                raise InputError(f"{path} is given twice; each run can stand in one method only")
            seen.add(place)
        if name in methods:
            raise InputError(f"two methods are named {name!r}; give them other names")
        methods[name] = paths
    return methods


def _is_folder(spec: str) -> bool:
    """Whether a spec is a path alone; a folder that is there may have = in its name."""
    return "=" not in spec or Path(spec).is_dir()


def load_methods(
    folders: Mapping[str, Sequence[Path | str]],
    partial: bool = False,
    bootstrap: Bootstrap | None = None,
) -> list[Method]:
    """Evaluate all runs of all methods and check that they answer the same questions.

    Raises InputError on what is not a whole run (unless `partial`), and on runs that share no
    question or have one of different text, benchmark or gold.
    """
    methods = [
        Method(
            name, tuple(map(Path, paths)), tuple(score_run(p, partial, bootstrap) for p in paths)
        )
        for name, paths in folders.items()
    ]
    check_same_questions(methods)
    return methods


def check_same_questions(methods: Sequence[Method]) -> None:
    """Refuse runs of different questions; see `load_methods`."""
    every = [(p, e) for m in methods for p, e in zip(m.paths, m.evaluations, strict=True)]
    first: dict[str, tuple[Path, ByKey[Question]]] = {}
    for path, evaluation in every:
        own = evaluation.questions.by_key
        for i in own:
            there, others = first.setdefault(i, (path, own))
            if others is not own:
                _check_same(there, others[i], path, own[i])
    if methods and not shared_questions(methods):
        held = "; ".join(f"{p} holds {_benchmarks(e)}" for p, e in every)
        raise InputError(f"the runs share no question: {held}; runs over the same were expected")


def _benchmarks(evaluation: Evaluation) -> str:
    counts = evaluation.metrics.benchmarks
    return " and ".join(f"{n} of {name}" for name, n in counts.items()) or "none"


def _check_same(there: Path, old: Question, here: Path, new: Question) -> None:
    facts = {
        "benchmark": (old.benchmark, new.benchmark),
        "text": (normalise_space(old.text), normalise_space(new.text)),
        "answers": (old.answers, new.answers),
        "gold passages": (
            sorted(p.title for p in old.gold),
            sorted(p.title for p in new.gold),
        ),
    }
    for what, (a, b) in facts.items():
        if a != b:
            raise InputError(
                f"question {old.id!r} is not the same in all runs: its {what} "
                f"in {there}: {_short(a)}, in {here}: {_short(b)}; only runs over the same "
                "questions can be compared"
            )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"


def shared_questions(methods: Sequence[Method]) -> ByKey[Question]:
    """The questions that all runs of all methods have, in the first method's order, by id."""
    first, *others = (method.questions for method in methods)
    return first.take(n for n, i in enumerate(first) if all(i in other for other in others))
