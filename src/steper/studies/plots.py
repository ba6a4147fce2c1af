"""A study's plots: scores against what they cost, a chart for each axis and set of questions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path

from markupsafe import Markup

from steper.evaluation.methods import METRIC_NAMES
from steper.reporting.svg import Line, Point, log_axis, score_axis, series_plot
from steper.store import atomic_writer
from steper.studies.results import RowFacts, StudyResults, TestResults
from steper.studies.study_file import Measure

AXES: dict[Measure, str] = {
    "tokens": "tokens a question, prompt and completion",
    "seconds": "seconds a question",
    "dollars": "dollars a question",
    "parameters": "parameters of the model",
    "trajectories": "trajectories learnt from",
}

CHART_STYLE = "chart.css"


def plots_of(results: StudyResults) -> list[tuple[str, Measure, Markup]]:
    """(test, axis, chart) of all plots that have something to show."""
    return [
        (name, x, chart)
        for name, test in results.tests.items()
        for x in results.x
        if (chart := plot(f"{name}: {METRIC_NAMES[results.metric]}, %", test, x)) is not None
    ]


def plot(title: str, test: TestResults, x: Measure) -> Markup | None:
    """Scores by the first metric against `x`, on a logarithmic axis.

    Points have the standard deviation over seeds, or without seeds the interval over questions. A
    recipe's rows that differ in `x` alone are one line; rows without an `x` (the teacher, in a plot
    by trajectories) lie across. None where no row has one.
    """
    placed = [row for row in test.rows if (row.measure(x) or 0) > 0]
    if not placed:
        return None
    series: dict[str, list[RowFacts]] = {}
    for row in placed:
        series.setdefault(_series(row, x, placed), []).append(row)
    lines = [
        Line(i, name, sorted(_point(test, row, x) for row in rows), style="marked")
        for i, (name, rows) in enumerate(series.items())
    ]
    for row in test.rows:
        if row not in placed and x != "dollars":
            level = _point(test, row, None).y
            lines.append(Line(len(lines), row.name, [Point(0, level)], dash=1, style="level"))
    points = [point for line in lines for point in line.points]
    across = log_axis(
        [point.x for line in lines if line.style == "marked" for point in line.points]
    )
    up = score_axis([v for p in points for v in (p.y, p.low, p.high) if v is not None])
    return series_plot(title, lines, across, up, AXES[x])


def _series(row: RowFacts, x: Measure, rows: Sequence[RowFacts]) -> str:
    """What a row's line is called: all that it is but for what the axis shows."""
    if x not in ("parameters", "trajectories"):
        return row.name
    same = [other for other in rows if other.recipe == row.recipe]
    apart: list[Callable[[RowFacts], str]] = [_student, _cells]
    name = row.recipe
    for what in apart if x == "trajectories" else apart[::-1]:
        if _repeats(same, x) and len(set(map(what, same))) > 1:
            name = f"{name}, {what(row)}"
            same = [other for other in same if what(other) == what(row)]
    return name


def _student(row: RowFacts) -> str:
    return row.student or ""


def _cells(row: RowFacts) -> str:
    return ", ".join(row.cells)


def _repeats(rows: Sequence[RowFacts], x: Measure) -> bool:
    """Whether two rows would have the same place on the axis."""
    return len({row.measure(x) for row in rows}) < len(rows)


def _point(test: TestResults, row: RowFacts, x: Measure | None) -> Point:
    mean = test.mean(row.name)
    value, spread = mean.mean.value, mean.spread
    low, high = mean.mean.low, mean.mean.high
    if spread is not None:
        low, high = value - spread, value + spread
    return Point((row.measure(x) if x else None) or 0.0, value, low, high)


def write_plots(results: StudyResults, folder: Path) -> list[Path]:
    """Write each plot as an SVG file that needs no style sheet; other plots there are removed."""
    style = (resources.files("steper.reporting") / "templates" / CHART_STYLE).read_text("utf-8")
    written = []
    for test, x, chart in plots_of(results):
        written.append(folder / f"{test}-{x}.svg")
        head, _, rest = chart.partition(">")
        alone = f'{head} xmlns="http://www.w3.org/2000/svg"><style>{style}</style>{rest}'
        with atomic_writer(written[-1]) as file:
            file.write(alone.encode())
    for path in set(folder.glob("*.svg")) - set(written):
        path.unlink()
    return written
