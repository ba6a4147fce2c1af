"""Compare methods on the questions that all of them answered: paired differences, seed by seed.

In: methods, each one run folder or several (the seeds of one method). Out: `Comparison`: for each
metric the methods' means with intervals, and each method's paired difference from the baseline.

Only questions that every run has are paired; a method's score of a question is its mean over the
method's runs, taken before pairing. So intervals and p-values speak of other questions of the same
kind, for these very runs. What other seeds would do as well is in `Difference.seeded`, with the
least difference that so many seeds and questions can show.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, get_args

import numpy as np
from pydantic import Field

from steper.errors import InputError, unknown_name
from steper.evaluation.methods import (
    METRIC_NAMES,
    Method,
    Metric,
    shared_questions,
)
from steper.evaluation.statistics import (
    Bootstrap,
    Estimate,
    Floats,
    Seeded,
    compare_paired,
    compare_seeded,
    estimate_means,
    holm,
    relative_difference,
)
from steper.notebook import box, html_table
from steper.records import GrownRecord, Record
from steper.text import percent

DEFAULT_METRICS: tuple[Metric, ...] = ("em", "f1", "acc")


class MethodMean(GrownRecord):
    """A method's mean over the paired questions.

    `seeds`: each run's own mean; `spread`: their standard deviation (n - 1), None for one run. `n`:
    how many questions of its own it is over, where methods differ in that (see `abilities`).
    """

    later: ClassVar[tuple[str, ...]] = ("n",)

    method: str
    mean: Estimate
    seeds: tuple[float, ...]
    spread: float | None = None
    n: int | None = None


class Difference(GrownRecord):
    """A method against the baseline, or `against` another: method - that, as a fraction.

    `relative` is that as a fraction of the baseline's mean, None where this is or may be 0.
    `p_holm` is `p_value` corrected for the other comparisons of the metric, None if there are none.
    `seeded`: the same over other seeds, too; None on a single question. `n`: over how many
    questions that both have, where that is not the metric's.
    """

    later: ClassVar[tuple[str, ...]] = ("n",)

    method: str
    difference: Estimate
    relative: Estimate | None
    p_value: float
    p_holm: float | None = None
    seeded: Seeded | None = None
    against: str | None = None
    n: int | None = None

    @property
    def label(self) -> str:
        """What tables call it: the method, and what it is compared with if not the baseline."""
        return f"{self.method} − {self.against}" if self.against else self.method

    @property
    def over_seeds(self) -> Seeded | None:
        """The test over other seeds, too; None where no method has a second one."""
        return self.seeded if self.seeded and self.seeded.over_seeds else None

    @property
    def verdict(self) -> tuple[float, bool]:
        """The p-value that a verdict goes by, and whether Holm's correction is in it.

        It speaks of other seeds and questions where a method has several seeds, else of other
        questions alone.
        """
        test = self.over_seeds or self
        return (test.p_value, False) if test.p_holm is None else (test.p_holm, True)


class MetricComparison(Record):
    """All methods by one metric, on the `n` shared questions that have it."""

    metric: Metric
    n: int
    means: tuple[MethodMean, ...]
    differences: tuple[Difference, ...]


class Comparison(GrownRecord):
    """What `compare` found.

    `methods`: run folders by method, `shared`: questions that all runs have, `unshared`: questions
    of each method that others lack, left out. `not_answered`: shared trajectories of each method
    that capped, failed or were dropped: they count as an empty answer. `step_end`: who ended a
    step in each method's runs, "" where nobody knows. `shared_gold` questions share a gold passage
    with what was trained on; `others` are the means over the questions without these. `tuned`: what
    was chosen for each method, a line each, where a pipeline chose settings.
    """

    later: ClassVar[tuple[str, ...]] = ("shared_gold", "others", "tuned")

    version: int = 1
    baseline: str
    methods: dict[str, tuple[str, ...]]
    shared: int
    unshared: dict[str, int]
    not_answered: dict[str, int]
    step_end: dict[str, str] = Field(default_factory=dict)
    metrics: tuple[MetricComparison, ...]
    shared_gold: int = 0
    others: tuple[MetricComparison, ...] = ()
    tuned: tuple[str, ...] = ()
    bootstrap: Bootstrap
    warnings: tuple[str, ...] = ()

    def _brief(self) -> Iterable[str]:
        first = self.metrics[0]
        means = (f"{m.method} {percent(m.mean.value)}" for m in first.means)
        return f"{self.shared} questions", f"{METRIC_NAMES[first.metric]}: {', '.join(means)}"

    def _repr_html_(self) -> str:
        """For notebooks: means with intervals, and differences from the baseline with p-values."""
        from steper.evaluation.tables import difference_rows, score_rows  # it imports this

        title = f"{self.shared} questions, %, with {100 * self.bootstrap.confidence:g} % intervals"
        tables = [html_table(title, score_rows(self))]
        for one in self.metrics:
            title = f"{METRIC_NAMES[one.metric]}: difference from {self.baseline}, points"
            tables.append(html_table(title, difference_rows(one)))
        return box(*tables)


def compare_metric(
    methods: Sequence[Method],
    baseline: str,
    metric: Metric,
    ids: Sequence[str],
    settings: Bootstrap,
    against: Mapping[str, str],
) -> MetricComparison | None:
    """All methods by one metric on those of the questions `ids` that have it; None if none has.

    Where that depends on what a method did (abilities), means are each over its own questions, and
    differences over those that both have; one without any is left out.
    """
    known = {method.name: _having(method, metric, ids) for method in methods}
    every = list(dict.fromkeys(i for own in known.values() for i in own))
    if not every:
        return None
    apart = any(len(own) < len(every) for own in known.values())
    values = {method.name: method.values(metric, known[method.name]) for method in methods}
    means = [
        _mean(name, table, settings, len(known[name]) if apart else None)
        for name, table in values.items()
    ]
    differences = _differences(values, known if apart else None, baseline, settings, against)
    return MetricComparison(
        metric=metric, n=len(every), means=tuple(means), differences=differences
    )


def _having(method: Method, metric: Metric, ids: Sequence[str]) -> list[str]:
    """Those of the questions whose value all runs of a method have."""
    known = ~np.isnan(method.values(metric, ids)).any(axis=0)
    return [ids[at] for at in np.flatnonzero(known).tolist()]


def _mean(name: str, table: Floats, settings: Bootstrap, n: int | None) -> MethodMean:
    """A method's mean of (runs, questions); of no question it is 0, with n = 0."""
    if not table.size:
        return MethodMean(method=name, mean=Estimate(value=0, low=0, high=0), seeds=(), n=0)
    estimate = estimate_means(table.mean(axis=0)[:, None], settings)[0]
    seeds = table.mean(axis=1)
    spread = float(seeds.std(ddof=1)) if len(seeds) > 1 else None
    return MethodMean(method=name, mean=estimate, seeds=tuple(seeds.tolist()), spread=spread, n=n)


def _differences(
    tables: Mapping[str, Floats],
    known: Mapping[str, Sequence[str]] | None,
    baseline: str,
    settings: Bootstrap,
    against: Mapping[str, str],
) -> tuple[Difference, ...]:
    """Each method against its baseline, with Holm's correction over all.

    `known` are the questions of each table where they differ: then those count that both have.
    """
    found = []
    for name, table in tables.items():
        own = against.get(name, baseline)
        if name == own:
            continue
        base, n = tables[own], None
        if known is not None:
            table, base = _paired(table, known[name], base, known[own])
            n = table.shape[1]
        if not table.shape[1]:
            continue
        test = compare_paired(table.mean(axis=0), base.mean(axis=0), settings)
        several = table.shape[1] > 1
        found.append(
            Difference(
                method=name,
                difference=test.difference,
                relative=relative_difference(table.mean(axis=0), base.mean(axis=0), settings),
                p_value=test.p_value,
                seeded=compare_seeded(table, base, settings) if several else None,
                against=own if own != baseline else None,
                n=n,
            )
        )
    if len(found) < 2:
        return tuple(found)
    corrected = holm([d.p_value for d in found])
    found = [d.model_copy(update={"p_holm": p}) for d, p in zip(found, corrected, strict=True)]
    return tuple(_with_seeds_corrected(found))


def _with_seeds_corrected(found: Sequence[Difference]) -> list[Difference]:
    """The same with Holm's correction over those that have several seeds, if these are several."""
    over = {at: d.over_seeds for at, d in enumerate(found) if d.over_seeds}
    corrected = holm([seeded.p_value for seeded in over.values()]) if len(over) > 1 else []
    changed = list(found)
    for (at, seeded), p in zip(over.items(), corrected, strict=False):
        seeded = seeded.model_copy(update={"p_holm": p})
        changed[at] = found[at].model_copy(update={"seeded": seeded})
    return changed


def _paired(
    table: Floats, own: Sequence[str], base: Floats, others: Sequence[str]
) -> tuple[Floats, Floats]:
    """The columns of two tables that are the same question's, in the first one's order."""
    place = {i: n for n, i in enumerate(others)}
    both = [n for n, i in enumerate(own) if i in place]
    return table[:, both], base[:, [place[own[n]] for n in both]]


def check_metrics(names: Iterable[str]) -> tuple[Metric, ...]:
    """The metrics of these names; InputError with the nearest known ones for another."""
    found: list[Metric] = []
    for name in names:
        if name not in get_args(Metric):
            raise InputError(unknown_name("metric", name, get_args(Metric)))
        found.extend(m for m in get_args(Metric) if m == name and m not in found)
    return tuple(found)


def check_several(names: Collection[str]) -> None:
    """Refuse to compare fewer than two methods."""
    if len(names) < 2:
        named = ", ".join(names) or "none"
        raise InputError(f"at least two runs or groups were expected, not {len(names)} ({named})")


def choose_baseline(methods: Sequence[Method], baseline: str | None) -> str:
    """The method that `baseline` names, by its name or its one run's path; else the first."""
    if baseline is None:
        return methods[0].name
    for method in methods:
        if baseline == method.name or [Path(baseline)] == list(method.paths):
            return method.name
    raise InputError(unknown_name("baseline", baseline, [m.name for m in methods]))


def compare(
    methods: Sequence[Method],
    baseline: str | None = None,
    metrics: Iterable[str] = DEFAULT_METRICS,
    bootstrap: Bootstrap | None = None,
    against: Mapping[str, str] | None = None,
    shared_gold: Collection[str] = (),
) -> Comparison:
    """Compare evaluated methods, as `load_methods` gives them, with the baseline (the first).

    `against` names another method for single ones to be compared with, or themselves for none.
    `shared_gold` are ids of questions that share a gold passage with what was trained on (see
    `leakage`): the scores of the others are given beside.
    The p-values are the paired sign-flip test's, two-sided. Holm's correction is over the
    comparisons of one metric, not over metrics: these measure the same answers. Raises InputError
    for fewer than two methods, unknown names, and metrics that no shared question has.
    """
    check_several([method.name for method in methods])
    settings = bootstrap or Bootstrap()
    base = choose_baseline(methods, baseline)
    ids = list(shared_questions(methods))
    sharing = set(shared_gold)
    others = [i for i in ids if i not in sharing]
    found, apart = [], []
    for metric in check_metrics(metrics):
        one = compare_metric(methods, base, metric, ids, settings, against or {})
        if one is None:
            raise InputError(f"no shared question has the gold annotation that {metric} takes")
        found.append(one)
        if len(others) < len(ids):
            one = compare_metric(methods, base, metric, others, settings, against or {})
            apart += [one] if one else []
    return Comparison(
        baseline=base,
        methods={m.name: tuple(str(p) for p in m.paths) for m in methods},
        shared=len(ids),
        unshared={m.name: len(set().union(*m.scores)) - len(ids) for m in methods},
        not_answered={
            m.name: sum(own.status != "answered" for table in m.tables(ids) for own in table.labels)
            for m in methods
        },
        step_end={m.name: m.step_end for m in methods},
        metrics=tuple(found),
        shared_gold=len(ids) - len(others),
        others=tuple(apart),
        bootstrap=settings,
        warnings=tuple(
            dict.fromkeys(w for m in methods for e in m.evaluations for w in e.metrics.warnings)
        ),
    )
