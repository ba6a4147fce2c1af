"""What a study found: its rows on each set of test questions, compared, with what each one took.

A row is a method of a cell, or of several cells that have its runs in common: the teacher, say, who
is asked once. Its seeds are its runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from steper.artifact import MANIFEST
from steper.errors import InputError, SettingsError, unknown_name
from steper.evaluation.compare import Comparison, MethodMean, compare
from steper.evaluation.methods import Method, Metric, load_methods
from steper.evaluation.statistics import Bootstrap
from steper.lm.model_source import count_stored_parameters
from steper.lm.shipped import model_folder
from steper.pipeline.choices import note
from steper.pipeline.workspace import EvalRun, Workspace, also_named
from steper.records import GrownRecord, Record
from steper.reporting.score_tables import effort
from steper.store import read_json
from steper.studies.study_file import Measure, StudySettings


@dataclass(frozen=True)
class Row:
    """A method as tables have it: its `name`, the `cells` that have its runs, a run a seed."""

    name: str
    cells: tuple[str, ...]
    runs: tuple[EvalRun, ...]

    @property
    def paths(self) -> tuple[Path, ...]:
        """Its run folders."""
        return tuple(run.path for run in self.runs)


class RowFacts(GrownRecord):
    """What a row is and what it took; means over seeds, None where nobody knows.

    `tokens` (prompt and completion), `seconds` (wall time of the run, many questions under way at
    once) and `dollars` are of a question; `trajectories` were learnt from, with `trained_tokens`
    computed in `trained_seconds`. `tuned`: the settings that were chosen for it on development
    questions, in words; empty where nothing was tuned.
    """

    later: ClassVar[tuple[str, ...]] = ("tuned",)

    name: str
    cells: tuple[str, ...]
    recipe: str
    student: str | None
    trained: bool
    parameters: int | None
    trajectories: float | None
    trained_tokens: float | None
    trained_seconds: float | None
    steps: float
    searches: float
    tokens: float
    seconds: float
    dollars: float | None
    tuned: str = ""

    def measure(self, name: Measure) -> float | None:
        """What is drawn on a plot's axis."""
        value: float | None = getattr(self, name)
        return value


class TestResults(Record):
    """All rows on one set of test questions."""

    comparison: Comparison
    rows: tuple[RowFacts, ...]

    def mean(self, row: str) -> MethodMean:
        """A row's mean by the first metric."""
        return next(mean for mean in self.comparison.metrics[0].means if mean.method == row)


class StudyResults(Record):
    """What a study found, by the name of the test questions."""

    version: int = 1
    title: str
    about: str
    x: tuple[Measure, ...]
    tests: dict[str, TestResults]

    @property
    def metric(self) -> Metric:
        """The metric that comes first."""
        return next(iter(self.tests.values())).comparison.metrics[0].metric

    @property
    def row_names(self) -> list[str]:
        """The rows of all tests, first come first."""
        return list(dict.fromkeys(row.name for test in self.tests.values() for row in test.rows))


def rows_of(cells: Mapping[str, Workspace], test: str) -> list[Row]:
    """The rows on a set of test questions.

    A method whose runs differ from cell to cell has the cell's name before its own.
    """
    found: dict[tuple[Path, ...], tuple[list[str], list[EvalRun]]] = {}
    for cell, workspace in cells.items():
        if test in workspace.tests:
            for runs in _by_method(workspace.eval_runs(test)).values():
                found.setdefault(tuple(run.path for run in runs), ([], runs))[0].append(cell)
    several = [runs[0].method for _, runs in found.values()]
    rows = []
    for names, runs in found.values():
        method = runs[0].method
        name = method if several.count(method) == 1 else f"{', '.join(names)}: {method}"
        rows.append(Row(name, tuple(names), tuple(runs)))
    return rows


def _by_method(runs: Sequence[EvalRun]) -> dict[str, list[EvalRun]]:
    methods: dict[str, list[EvalRun]] = {}
    for run in runs:
        methods.setdefault(run.method, []).append(run)
    return methods


def baselines(
    cells: Mapping[str, Workspace], test: str, rows: Sequence[Row], asked: Mapping[str, str]
) -> dict[str, str]:
    """What each row is compared with: its cell's baseline by the same student, asked likewise.

    `asked` names other rows for some of them; SettingsError where there is none of that name.
    """
    names = {row.runs[0].path: row.name for row in rows}
    against = {}
    for row in rows:
        found = asked.get(row.name) or names[_baseline(cells[row.cells[0]], test, row.runs[0]).path]
        if found not in names.values():
            known = names.values()
            raise SettingsError(f"study.against: {unknown_name('row', found, known)}")
        against[row.name] = found
    return against


def _baseline(cell: Workspace, test: str, run: EvalRun) -> EvalRun:
    """The first seed's run of what a run is compared with."""
    wanted, runs = cell.settings.baseline, cell.eval_runs(test)
    recipe = also_named(wanted, run.also) if run.also else wanted
    fitting = [other for other in runs if other.recipe in (recipe, wanted)]
    for same in (
        [o for o in fitting if (o.recipe, o.student, o.data) == (recipe, run.student, run.data)],
        [o for o in fitting if o.student == run.student],
        fitting,
        runs,
    ):
        if same:
            return same[0]
    raise AssertionError(f"{test}: no run")  # `check_rows` has seen two


def find_results(
    name: str, settings: StudySettings, cells: Mapping[str, Workspace]
) -> StudyResults:
    """Compare all rows on each set of test questions; reads the runs of a study that is done."""
    tests = {}
    for test in dict.fromkeys(test for workspace in cells.values() for test in workspace.tests):
        rows = rows_of(cells, test)
        evaluate = cells[rows[0].cells[0]].settings.evaluate
        methods = load_methods({row.name: row.paths for row in rows}, bootstrap=evaluate.bootstrap)
        against = baselines(cells, test, rows, settings.against)
        first = against[rows[0].name]
        asking = [workspace for workspace in cells.values() if test in workspace.tests]
        apart = {i for workspace in asking for i in workspace.leakage(test).shared_gold}
        comparison = compare(methods, first, evaluate.metrics, evaluate.bootstrap, against, apart)
        facts = [
            _facts(row, method, cells, evaluate.bootstrap)
            for row, method in zip(rows, methods, strict=True)
        ]
        tests[test] = TestResults(comparison=comparison, rows=tuple(facts))
    title = settings.title or name
    return StudyResults(title=title, about=settings.about, x=settings.x, tests=tests)


def _facts(
    row: Row, method: Method, cells: Mapping[str, Workspace], bootstrap: Bootstrap
) -> RowFacts:
    seconds = [float(read_json(path / MANIFEST).get("seconds") or 0.0) for path in row.paths]
    took = effort(method, seconds, bootstrap)
    trainings = [read_json(run.trained / MANIFEST) for run in row.runs if run.trained]
    first = row.runs[0]
    return RowFacts(
        name=row.name,
        cells=row.cells,
        recipe=first.recipe,
        student=first.student,
        trained=bool(trainings),
        parameters=count_stored_parameters(model_folder(cells[row.cells[0]].model_of(first))),
        trajectories=_mean([t["counts"]["trajectories"] for t in trainings]),
        trained_tokens=_mean([t["trained"]["tokens"] for t in trainings]),
        trained_seconds=_mean([t["trained"]["seconds"] for t in trainings]),
        steps=took.steps.value,
        searches=took.searches.value,
        tokens=took.prompt.value + took.completion.value,
        seconds=(_mean(seconds) or 0.0) / took.questions,
        dollars=took.dollars.value if took.dollars else None,
        tuned=note(cells[row.cells[0]], first),
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def check_rows(settings: StudySettings, cells: Mapping[str, Workspace]) -> None:
    """Refuse, before anything is done, a study that its tables cannot be made of.

    Raises InputError where a set of test questions has a single row, or cells mean different
    questions by one name; SettingsError where `study.against` names no row.
    """
    every = set[str]()
    for test in dict.fromkeys(test for workspace in cells.values() for test in workspace.tests):
        rows = rows_of(cells, test)
        every |= {row.name for row in rows}
        if len(rows) < 2:
            raise InputError(f"{test}: one row alone ({rows[0].name}); there is nothing to compare")
        baselines(cells, test, rows, settings.against)
        tested = {
            cell: ws.data_set(test).test_key() for cell, ws in cells.items() if test in ws.tests
        }
        first = next(iter(tested))
        other = next((cell for cell, key in tested.items() if key != tested[first]), None)
        if other is not None:
            raise InputError(
                f"cells {first} and {other} have other test questions by the name {test}: give "
                "the data sets different names"
            )
    for row in settings.against:
        if row not in every:
            raise SettingsError(f"study.against: {unknown_name('row', row, every)}")
