"""Gold annotations in Self-Ask's words: the hops as follow-up questions and their answers."""

from __future__ import annotations

import re
from collections.abc import Iterable

from steper.gold.gold_plan import GoldPlan, closing, missing, shown
from steper.lm.base import Request

_MARKER = re.compile(r"(?P<asked>follow[- ]?up\s*:)|(?P<told>intermediate answer\s*:)", re.I)


def next_piece(plan: GoldPlan, request: Request, cue: str) -> str:
    """The hops in order: the next follow-up, after the answer of the last one if it is open.

    A separate reader (`request.role` is `read`) answers the follow-up that is open.
    """
    markers = [m.lastgroup for r in request.rationales for m in _first_markers(r)]
    asked, told = markers.count("asked"), markers.count("told")
    if request.role == "read":
        if not asked:
            return closing("So the answer is:", plan.answer)
        hop = plan.hops[min(asked, len(plan.hops)) - 1]
        if not shown(hop, request.passages):
            raise missing(hop)
        return closing("So the answer is:", hop.answer)
    said = ""
    if asked > told and asked <= len(plan.hops):
        hop = plan.hops[asked - 1]
        if not shown(hop, request.passages):
            raise missing(hop)
        said = f"Intermediate answer: {hop.answer}\n"
    if asked >= len(plan.hops):
        return said + closing(cue, plan.answer)
    return f"{said}Follow up: {plan.hops[asked].question}"


def _first_markers(rationale: str) -> Iterable[re.Match[str]]:
    """The marker that opens each line, if one does."""
    return (m for line in rationale.splitlines() if (m := _MARKER.match(line.strip())))
