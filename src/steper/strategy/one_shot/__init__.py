"""Retrieve once with the question, then reason and answer."""

from __future__ import annotations

from steper.prompt.words import Demo, DemoTurns, Words
from steper.store import package_text
from steper.strategy.single import SingleStep

__all__ = ["OneShot"]


def demonstrate(demo: Demo) -> DemoTurns:
    """The whole chain at once."""
    return [(demo.passages(), demo.chain("So the answer is:"))]


class OneShot(SingleStep):
    """Retrieve once with the question, then reason and answer."""

    name = "one_shot"
    words = Words("one_shot", package_text(__package__, "instruction.txt"), demonstrate)
