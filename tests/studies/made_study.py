"""A small study over generated questions, and made-up results of a large one."""

from __future__ import annotations

from pathlib import Path
from random import Random

from pipeline.made import CONFIG, write_files
from steper.evaluation.compare import Comparison, Difference, MethodMean, MetricComparison
from steper.evaluation.statistics import Bootstrap, Estimate, Seeded, holm
from steper.studies.results import RowFacts, StudyResults, TestResults

STUDY = (
    CONFIG
    + """\
study:
  title: Few or all
  x: [trajectories, tokens]
cells:
  few: {examples: {questions: 6}, recipes: [steper]}
  all: {}
quick:
  evaluate: {bootstrap: {resamples: 50}}
  cells:
    one: {recipes: [steper]}
"""
)


def write_study(folder: Path, tiny: Path, text: str = STUDY) -> Path:
    """The study's file with its questions beside it."""
    return write_files(folder, text.replace("nowhere/tiny", str(tiny)))


METHODS = (
    "teacher",
    "base",
    "vanilla_kd",
    "kard",
    "sail",
    "con",
    "self_rag",
    "steper_uniform",
    "steper",
    "steper_onpolicy (ends_steps)",
)


def made_up(seeds: int = 5, tests: tuple[str, ...] = ("hotpotqa", "2wikimultihopqa", "musique")):
    """Results of ten methods on three benchmarks, drawn at random."""
    rng = Random(1)
    return StudyResults(
        title="All methods on three benchmarks",
        about="What does each method make of the same trajectories?",
        x=("tokens", "seconds", "parameters"),
        tests={name: _test(rng, seeds) for name in tests},
    )


def _test(rng: Random, seeds: int) -> TestResults:
    metrics = [_metric(rng, name, seeds) for name in ("em", "f1", "acc")]
    comparison = Comparison(
        baseline="vanilla_kd",
        methods={m: tuple(f"runs/eval/{m}-{s}" for s in range(_seeds(m, seeds))) for m in METHODS},
        shared=500,
        unshared=dict.fromkeys(METHODS, 0),
        not_answered=dict.fromkeys(METHODS, 0),
        metrics=tuple(metrics),
        bootstrap=Bootstrap(),
    )
    return TestResults(comparison=comparison, rows=tuple(_facts(rng, m) for m in METHODS))


def _seeds(method: str, seeds: int) -> int:
    return 1 if method in ("teacher", "base") else seeds


def _metric(rng: Random, metric: str, seeds: int) -> MetricComparison:
    means, differences = [], []
    for i, method in enumerate(METHODS):
        each = [0.2 + 0.03 * i + rng.gauss(0, 0.01) for _ in range(_seeds(method, seeds))]
        value = sum(each) / len(each)
        several = len(each) > 1
        spread = (sum((e - value) ** 2 for e in each) / (len(each) - 1)) ** 0.5 if several else None
        around = Estimate(value=value, low=value - 0.04, high=value + 0.04)
        means.append(MethodMean(method=method, mean=around, seeds=tuple(each), spread=spread))
    base = means[METHODS.index("vanilla_kd")].mean.value
    p_values = [rng.random() ** 4 for _ in METHODS[1:]]
    others = [mean for mean in means if mean.method != "vanilla_kd"]
    for mean, p, corrected in zip(others, p_values, holm(p_values), strict=True):
        by = mean.mean.value - base
        interval = Estimate(value=by, low=by - 0.03, high=by + 0.03)
        seeded = Seeded(interval=interval, p_value=p, detectable=0.041, df=4, over_seeds=True)
        relative = Estimate(value=by / base, low=by / base - 0.1, high=by / base + 0.1)
        differences.append(
            Difference(
                method=mean.method,
                difference=interval,
                relative=relative,
                p_value=p,
                p_holm=corrected,
                seeded=seeded,
            )
        )
    return MetricComparison(
        metric=metric, n=500, means=tuple(means), differences=tuple(differences)
    )


def _facts(rng: Random, method: str) -> RowFacts:
    trained = method not in ("teacher", "base")
    return RowFacts(
        name=method,
        cells=("",),
        recipe=method,
        student=None if method == "teacher" else "small",
        trained=trained,
        parameters=8_030_261_248 if method == "teacher" else 134_515_008,
        trajectories=1034 if trained else None,
        trained_tokens=rng.uniform(4e5, 9e5) if trained else None,
        trained_seconds=rng.uniform(60, 200) if trained else None,
        steps=3.4,
        searches=3.2,
        tokens=rng.uniform(300, 4000),
        seconds=rng.uniform(0.02, 0.4),
        dollars=None,
    )
