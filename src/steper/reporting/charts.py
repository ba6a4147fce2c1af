"""The report's figures: its numbers as small charts of one size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from markupsafe import Markup

from steper.evaluation.methods import METRIC_NAMES, Metric
from steper.evaluation.statistics import Estimate
from steper.prompt.encode import KINDS
from steper.records import StepKind
from steper.reporting.score_tables import Part, StepPoint
from steper.reporting.svg import (
    PERCENT,
    Axis,
    Dot,
    Line,
    Point,
    Rows,
    count_axis,
    dot_plot,
    line_plot,
    value_axis,
)
from steper.reporting.training_logs import Points, TrainingLog, thin
from steper.reporting.wording import readable

_LOG_FROM = 20.0  # a course that spans more than this factor is drawn on a logarithmic axis


class Panel(NamedTuple):
    """One chart with the line above it."""

    title: str
    chart: Markup


def part_panel(metric: Metric, parts: Sequence[Part], names: Sequence[str]) -> Panel:
    """A dot plot of one metric, rows under each part of the questions."""
    title = METRIC_NAMES[metric]
    groups = [
        Rows(
            f"{readable(part.name)} · n = {_counts(part, names)}",
            [Dot(i, names[i], c.mean) for i, c in enumerate(part.cells) if c],
        )
        for part in parts
    ]
    return Panel(title, dot_plot(f"{title} by part of the questions", groups))


def _counts(part: Part, names: Sequence[str]) -> str:
    """How many questions a part has; a method that has fewer of them is named with its number."""
    fewer = [f"{names[i]} {c.n}" for i, c in enumerate(part.cells) if c and c.n < part.n]
    return f"{part.n} ({', '.join(fewer)})" if fewer else str(part.n)


def step_panels(courses: Sequence[Sequence[StepPoint]], names: Sequence[str]) -> list[Panel]:
    """Lines of recall, of all gold, and of the share of questions still running."""
    steps = sorted({point.step for course in courses for point in course})
    if not steps:
        return []
    x = Axis(steps[0] - 0.25, steps[-1] + 0.25, tuple((s, str(s)) for s in steps))
    panels = []
    for field, title in (
        ("recall", "Gold passages retrieved, %"),
        ("all_gold", "Questions with all gold retrieved, %"),
        ("running", "Questions that took the step, %"),
    ):
        lines = [
            Line(i, names[i], [_point(p.step, getattr(p, field)) for p in course], style="marked")
            for i, course in enumerate(courses)
            if course
        ]
        panels.append(Panel(title, line_plot(title, lines, x, PERCENT, "step")))
    return panels


def _point(x: float, estimate: Estimate) -> Point:
    return Point(x, estimate.value, estimate.low, estimate.high)


def training_panels(index: int, logs: Sequence[TrainingLog]) -> list[Panel]:
    """A method's courses of L_j and of σ_j; its seeds are thin lines of the same dash."""
    last = max(log.steps for log in logs)
    losses = [_positive(log.losses) for log in logs]
    evals = [_positive(log.evals) for log in logs]
    sigmas = [_positive(log.sigmas) for log in logs]
    panels = []
    for title, courses, dots in (("loss L", losses, evals), ("σ", sigmas, [])):
        if any(courses):
            panels.append(Panel(title, _course_plot(title, index, courses, dots, last)))
    return panels


def _positive(courses: Mapping[StepKind, Points]) -> dict[StepKind, Points]:
    """The courses thinned out, without values that a logarithm cannot show."""
    return {kind: thin([p for p in points if p[1] > 0]) for kind, points in courses.items()}


def _course_plot(
    title: str,
    index: int,
    courses: Sequence[Mapping[StepKind, Points]],
    dots: Sequence[Mapping[StepKind, Points]],
    last: int,
) -> Markup:
    every = [points for course in (*courses, *dots) for points in course.values()]
    values = [y for points in every for _, y in points]
    y = value_axis(values, log=bool(values) and max(values) > _LOG_FROM * min(values))
    x = count_axis(float(last))
    lines = []
    for dash, kind in enumerate(KINDS):
        for number, course in enumerate(courses):
            points = [Point(*p) for p in course.get(kind, [])]
            # One label a kind, at the first seed's line.
            label = kind if not number else ""
            lines.append(
                Line(
                    index, label, points, dash=dash, style="faint" if len(courses) > 1 else "plain"
                )
            )
    lines += [
        Line(index, "", [Point(*p) for p in points], style="dots")
        for course in dots
        for points in course.values()
    ]
    return line_plot(title, lines, x, y, "optimizer step")
