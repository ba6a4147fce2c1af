"""Runs, trajectories and comparisons as HTML for notebooks: small, nothing to load, no script.

Whatever stands in them is somebody else's text, so all of it is escaped. Colours are left to the
notebook, so that they can be read in its light and in its dark theme.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from steper.records import Step, Trajectory
from steper.text import percent_within

SHOWN_SCORES = {"em": "EM", "f1": "F1", "acc": "Acc"}

_DIM = "opacity:.65"
_CELL = "padding:.15em .8em .15em 0;border-bottom:1px solid rgba(128,128,128,.35)"


def element(tag: str, text: object, style: str = "") -> str:
    """An element that holds a text, escaped."""
    return f'<{tag} style="{style}">{escape(str(text))}</{tag}>'


def box(*parts: str) -> str:
    """Pieces of HTML under each other."""
    return f'<div style="max-width:60em;color:inherit">{"".join(parts)}</div>'


def html_table(title: str, rows: Sequence[Sequence[object]]) -> str:
    """A table under its title: headings, then rows; all columns but the first are numbers."""
    lines = []
    for number, row in enumerate(rows):
        tag = "td" if number else "th"
        aligned = ("left", *["right"] * (len(row) - 1))
        cells = (
            element(tag, cell, f"{_CELL};text-align:{side}")
            for cell, side in zip(row, aligned, strict=True)
        )
        lines.append(f'<tr style="background:none">{"".join(cells)}</tr>')
    head = element("div", title, "font-weight:bold;margin-top:.6em")
    return f'{head}<table style="border-collapse:collapse;margin:0">{"".join(lines)}</table>'


def trajectory_html(trajectory: Trajectory) -> str:
    """The question, each step with its query, hits and rationale, and the answer."""
    about = f"{trajectory.question_id} · {trajectory.strategy} · {trajectory.model}"
    end = trajectory.answer or trajectory.error or "none"
    return box(
        element("div", trajectory.question, "font-weight:bold"),
        element("div", about, _DIM),
        *(_step(step, {p.id: p.title for p in trajectory.passages}) for step in trajectory.steps),
        element("div", f"Answer: {end}", "font-weight:bold;margin-top:.6em"),
        element("div", f"{trajectory.status} ({trajectory.stop_reason.value})", _DIM),
    )


def _step(step: Step, titles: Mapping[str, str]) -> str:
    hits = (f"{h.rank}. {titles[h.passage_id]} ({h.score:.2f})" for h in step.hits)
    return "".join(
        (
            element("div", f"Step {step.index} · {step.kind}", "margin-top:.6em;font-weight:bold"),
            element("div", f"Search: {step.query}") if step.query is not None else "",
            *(element("div", hit, f"{_DIM};padding-left:1.5em") for hit in hits),
            element("div", step.rationale, "padding-left:1.5em"),
        )
    )


def run_html(path: object, manifest: Mapping[str, Any], metrics: Mapping[str, Any] | None) -> str:
    """What a run's manifest counts and, once it is scored, its metrics.json says."""
    counts = [(key, n) for key, n in manifest.get("counts", {}).items() if isinstance(n, int) and n]
    rows = [("", "n"), *((key.replace("_", " "), f"{n:,}") for key, n in counts)]
    parts = [html_table(f"{path}: {manifest.get('status')}", rows)]
    answers = (metrics or {}).get("overall", {}).get("answers")
    if answers:
        scores = [(name, percent_within(**answers[key])) for key, name in SHOWN_SCORES.items()]
        parts.append(html_table(f"Scores of {answers['n']} questions, %", [("", "mean"), *scores]))
    return box(*parts)
