"""Small SVG charts: dot plots with intervals, and lines with intervals.

In: numbers and method indices. Out: `Markup` of one `<svg>` each, 360 units wide, so that a chart
fills a phone and several stand side by side on a desk. Colours come from the page's style sheet by
class (`m0`, `m1`, …), so that they follow the page's light and dark.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from markupsafe import Markup, escape

from steper.evaluation.statistics import Estimate
from steper.text import percent

WIDTH = 360
SHAPES = ("circle", "square", "diamond", "triangle", "ring")
PALETTE = 8
DASHES = ("", "6 3", "1.5 3")

_LABEL_CHARACTERS = 15
_LEGEND_CHARACTERS = 56
_LABEL_GAP = 13.0


@dataclass(frozen=True)
class Dot:
    """A row of a dot plot: a method's mean."""

    index: int
    label: str
    estimate: Estimate


class Rows(NamedTuple):
    """Rows of a dot plot under a heading."""

    heading: str
    dots: Sequence[Dot]


class Point(NamedTuple):
    """A point of a line; `low` and `high` are its interval, if it has one."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Line:
    """A line, labelled at its end unless the label is empty.

    `marked`: with the method's mark and an interval at each point; `faint`: thin; `dots`: small
    circles without a line; `level`: across the whole plot, at its one point's height.
    """

    index: int
    label: str
    points: Sequence[Point]
    dash: int = 0
    style: Literal["plain", "marked", "faint", "dots", "level"] = "plain"


@dataclass(frozen=True)
class Axis:
    """A value axis: its ticks with their texts, linear or logarithmic between `low` and `high`."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    log: bool = False

    def place(self, value: float) -> float:
        """Where a value stands, 0 at `low` and 1 at `high`; values outside are put on the edge."""
        value = min(max(value, self.low), self.high)
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


PERCENT = Axis(0.0, 1.0, tuple((t / 4, f"{25 * t}") for t in range(5)))
"""0 to 100 %: all panels of scores have the same axis, so that they can be compared by eye."""


def tag(name: str, *children: object, **attributes: object) -> Markup:
    """An element; `class_` is class, `_` in names is `-`, None is left out, all is escaped."""
    given = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _number(value))
        for key, value in attributes.items()
        if value is not None
    )
    inner = Markup("").join(escape(child) for child in children)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), given, inner)


def _number(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return str(value)


def shorten(text: str, most: int = _LABEL_CHARACTERS) -> str:
    """A label of at most `most` characters."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def colour(index: int) -> str:
    """The class of a method's colour."""
    return f"m{index % PALETTE}"


def mark(index: int, x: float, y: float, r: float = 4.0) -> Markup:
    """A method's mark: its shape changes with its colour, so that colour is never needed."""
    shape = SHAPES[(index + index // PALETTE) % len(SHAPES)]
    if shape in ("circle", "ring"):
        hollow = "mark hollow" if shape == "ring" else "mark"
        return tag("circle", cx=x, cy=y, r=r, class_=hollow)
    corners = {
        "square": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
        "diamond": ((0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)),
        "triangle": ((0, -1.2), (1.15, 0.9), (-1.15, 0.9)),
    }[shape]
    points = " ".join(f"{x + r * dx:.2f},{y + r * dy:.2f}" for dx, dy in corners)
    return tag("polygon", points=points, class_="mark")


def key_mark(index: int) -> Markup:
    """A method's mark alone, to stand in a line of text."""
    inner = tag("g", mark(index, 6, 6, 4.2), class_=colour(index))
    return tag("svg", inner, viewBox="0 0 12 12", width=12, height=12, class_="key", **_HIDDEN)


_HIDDEN = {"aria_hidden": "true", "focusable": "false"}


def _svg(height: float, title: str, *children: Markup, role: str = "img") -> Markup:
    return tag(
        "svg",
        *children,
        viewBox=f"0 0 {WIDTH} {height:.0f}",
        width=WIDTH,
        height=round(height),
        role=role,
        aria_label=title,
        class_="chart",
    )


def _points(estimate: Estimate) -> tuple[str, str]:
    """Value and interval as percentages without the sign."""
    value, low, high = (percent(x) for x in (estimate.value, estimate.low, estimate.high))
    return value, f"{low}–{high}"


def dot_plot(title: str, groups: Sequence[Rows]) -> Markup:
    """Means as dots with their intervals, rows under headings; fractions on a 0–100 % axis."""
    left, right, row, head = 104.0, 250.0, 17.0, 22.0
    span = right - left
    y = 2.0
    drawn: list[Markup] = []
    for group in groups:
        y += head
        if group.heading:
            drawn.append(tag("text", group.heading, x=0, y=y - 5, class_="heading"))
        for dot in group.dots:
            drawn.append(_dot_row(dot, y + row / 2, left, span))
            y += row
    grid = [
        tag("line", x1=left + span * at, x2=left + span * at, y1=8.0, y2=y + 3, class_="grid")
        for at, _ in PERCENT.ticks
    ]
    ticks = [
        tag("text", text, x=left + span * at, y=y + 15, class_="tick", text_anchor="middle")
        for at, text in PERCENT.ticks
    ]
    return _svg(y + 20, title, *grid, *drawn, *ticks, role="group")


def _dot_row(dot: Dot, y: float, left: float, span: float) -> Markup:
    estimate = dot.estimate
    value, interval = _points(estimate)
    x1, x2 = left + span * estimate.low, left + span * estimate.high
    return tag(
        "g",
        tag("title", f"{dot.label}: {value} % [{interval}]"),
        tag("text", shorten(dot.label), x=left - 10, y=y + 4, class_="name", text_anchor="end"),
        tag("line", x1=x1, x2=x2, y1=y, y2=y, class_="interval"),
        mark(dot.index, left + span * estimate.value, y),
        tag("text", value, x=left + span + 40, y=y + 4, class_="value", text_anchor="end"),
        tag("text", interval, x=WIDTH, y=y + 4, class_="range", text_anchor="end"),
        class_=colour(dot.index),
    )


def line_plot(title: str, lines: Sequence[Line], x: Axis, y: Axis, x_label: str) -> Markup:
    """Lines, labelled at their ends; marked ones are set a little apart so that intervals show."""
    left, right, top, bottom = 34.0, 254.0, 10.0, 190.0
    wide, high = right - left, bottom - top
    marked = [line for line in lines if line.style == "marked"]
    drawn: list[Markup] = []
    ends: list[tuple[float, Line]] = []
    for line in lines:
        # Intervals at one x would hide each other: each method stands up to 6 units aside.
        shift = 0.0
        if line.style == "marked" and len(marked) > 1:
            shift = 12.0 * (marked.index(line) / (len(marked) - 1) - 0.5)
        places = [
            (left + wide * x.place(p.x) + shift, bottom - high * y.place(p.y)) for p in line.points
        ]
        drawn.append(_one_line(line, places, lambda v: bottom - high * y.place(v)))
        if line.label and places:
            ends.append((places[-1][1], line))
    frame = _line_frame(x, y, (left, right, top, bottom))
    axis_name = tag(
        "text", x_label, x=(left + right) / 2, y=bottom + 31, class_="tick", text_anchor="middle"
    )
    labels = _end_labels(ends, right + 10, top + 4, bottom + 4)
    return _svg(bottom + 38, title, *frame, axis_name, *drawn, *labels)


def series_plot(title: str, lines: Sequence[Line], x: Axis, y: Axis, x_label: str) -> Markup:
    """Lines and levels with a legend below, where names of any length have room."""
    left, right, top, bottom = 34.0, WIDTH - 8.0, 24.0, 230.0
    wide, high, row = right - left, bottom - top, 15.0

    def height(value: float) -> float:
        return bottom - high * y.place(value)

    drawn: list[Markup] = []
    legend: list[Markup] = []
    for number, line in enumerate(lines):
        places = [(left + wide * x.place(p.x), height(p.y)) for p in line.points]
        at = bottom + 48 + row * number
        if line.style == "level":
            places = [(left, places[0][1]), (right, places[0][1])]
            key = tag("line", x1=0.0, x2=14.0, y1=at - 4, y2=at - 4, class_="line", **_dash(line))
        else:
            key = mark(line.index, 7.0, at - 4, 3.4)
        drawn.append(_one_line(line, places, height))
        name = shorten(line.label, _LEGEND_CHARACTERS)
        text = tag("text", name, x=22, y=at, class_="name")
        legend.append(tag("g", tag("title", line.label), key, text, class_=colour(line.index)))
    frame = _line_frame(x, y, (left, right, top, bottom))
    heading = tag("text", title, x=0, y=11, class_="heading")
    axis_name = tag(
        "text", x_label, x=(left + right) / 2, y=bottom + 31, class_="tick", text_anchor="middle"
    )
    tall = bottom + 44 + row * len(lines)
    return _svg(tall, title, heading, *frame, axis_name, *drawn, *legend, role="group")


def _dash(line: Line) -> dict[str, str]:
    return {"stroke_dasharray": DASHES[line.dash]} if DASHES[line.dash] else {}


def _one_line(
    line: Line, places: Sequence[tuple[float, float]], height: Callable[[float], float]
) -> Markup:
    if line.style == "dots":
        circles = (tag("circle", cx=x, cy=y, r=2.2, class_="dot") for x, y in places)
        return tag("g", *circles, class_=colour(line.index))
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    children = [
        tag(
            "polyline",
            points=path,
            class_="line faint" if line.style == "faint" else "line",
            **_dash(line),
        )
    ]
    if line.style == "marked":
        for (x, y), point in zip(places, line.points, strict=True):
            if point.low is not None and point.high is not None:
                y1, y2 = height(point.low), height(point.high)
                children.append(tag("line", x1=x, x2=x, y1=y1, y2=y2, class_="interval"))
            children.append(mark(line.index, x, y, 3.4))
    return tag("g", *children, class_=colour(line.index))


def _line_frame(x: Axis, y: Axis, box: tuple[float, float, float, float]) -> list[Markup]:
    left, right, top, bottom = box
    frame = []
    for value, text in y.ticks:
        at = bottom - (bottom - top) * y.place(value)
        frame.append(tag("line", x1=left, x2=right + 4, y1=at, y2=at, class_="grid"))
        frame.append(tag("text", text, x=left - 6, y=at + 4, class_="tick", text_anchor="end"))
    for value, text in x.ticks:
        at = left + (right - left) * x.place(value)
        frame.append(tag("line", x1=at, x2=at, y1=bottom, y2=bottom + 4, class_="grid"))
        frame.append(tag("text", text, x=at, y=bottom + 16, class_="tick", text_anchor="middle"))
    return frame


def _end_labels(
    ends: Sequence[tuple[float, Line]], x: float, top: float, bottom: float
) -> list[Markup]:
    """Labels beside the lines' ends, moved apart where they would overlap."""
    placed = spread([y + 4 for y, _ in ends], _LABEL_GAP, top, bottom)
    return [
        tag(
            "g",
            tag("title", line.label),
            tag("text", shorten(line.label), x=x, y=y, class_="label"),
            class_=colour(line.index),
        )
        for y, (_, line) in zip(placed, ends, strict=True)
    ]


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places near the wanted ones, at least `gap` apart, in the same order, from `low` to `high`.

    More than fit run over `high`.
    """
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    placed = [0.0] * len(wanted)
    last = low - gap
    for i in order:
        last = placed[i] = max(wanted[i], last + gap)
    limit = max(high, low + gap * (len(wanted) - 1))
    for i in reversed(order):
        placed[i] = min(placed[i], limit)
        limit = placed[i] - gap
    return placed


def value_axis(values: Sequence[float], log: bool = False) -> Axis:
    """An axis with about four round ticks over the values, from 0 or, logarithmic, from the least.

    Values of a logarithmic axis must be above 0.
    """
    high = max(values, default=1.0) or 1.0
    if log:
        low = min(values)
        for digits in ((1, 2, 5), (1, 3), (1,)):
            ticks = [m * 10.0**e for e in range(-12, 13) for m in digits]
            inside = [t for t in ticks if low <= t <= high]
            if len(inside) <= 5:
                break
        shown = inside[:: math.ceil(len(inside) / 5) or 1]
        return Axis(low / 1.15, high * 1.15, tuple((t, f"{t:g}") for t in shown), log=True)
    step = _round_step(high / 4)
    count = math.ceil(high / step - 1e-9)
    return Axis(0.0, count * step, tuple((i * step, _tick(i * step)) for i in range(count + 1)))


def log_axis(values: Sequence[float]) -> Axis:
    """A logarithmic axis with room beside the values, at least a factor of two wide."""
    low, high = min(values), max(values)
    wider = max(1.12, (2 * low / high) ** 0.5)
    low, high = low / wider, high * wider
    for digits in ((1, 2, 5), (1, 3), (1,)):
        ticks = [m * 10.0**e for e in range(-9, 13) for m in digits if low <= m * 10.0**e <= high]
        if len(ticks) <= 6:
            break
    if len(ticks) < 2:  # a narrow axis: round numbers of any digits
        step = _round_step((high - low) / 4)
        ticks = [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
    shown = ticks[:: math.ceil(len(ticks) / 6) or 1]
    return Axis(low, high, tuple((t, short_number(t)) for t in shown), log=True)


def score_axis(values: Sequence[float]) -> Axis:
    """An axis of percentages that ends at round ones around the values (fractions)."""
    low, high = max(0.0, min(values)), min(1.0, max(values))
    step = _round_step(max(high - low, 0.04) / 4)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    last = max(last, first + 1)
    ticks = tuple((i * step, f"{100 * i * step:g}") for i in range(first, last + 1))
    return Axis(first * step, last * step, ticks)


def short_number(value: float) -> str:
    """`0.05`, `300`, `20k`, `6.4M`, `8B`."""
    for factor, letter in ((1e9, "B"), (1e6, "M"), (1e4, "k")):
        if value >= factor:
            return f"{value / (1e3 if letter == 'k' else factor):g}{letter}"
    return f"{value:g}"


def count_axis(last: float) -> Axis:
    """An axis from 0 that ends at `last` itself, with round ticks up to there."""
    step = _round_step(max(last, 1.0) / 4)
    count = math.floor(last / step + 1e-9)
    return Axis(0.0, max(last, 1.0), tuple((i * step, _tick(i * step)) for i in range(count + 1)))


def _round_step(least: float) -> float:
    unit = 10.0 ** math.floor(math.log10(least))
    return next(m * unit for m in (1, 2, 2.5, 5, 10) if m * unit >= least * 0.9999)


def _tick(value: float) -> str:
    return f"{value / 1000:g}k" if value >= 10_000 else f"{value:g}"
