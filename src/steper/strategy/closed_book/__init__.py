"""Reason and answer from what the model knows."""

from __future__ import annotations

from steper.prompt.words import Demo, DemoTurns, Words
from steper.store import package_text
from steper.strategy.single import SingleStep

__all__ = ["ClosedBook"]


def demonstrate(demo: Demo) -> DemoTurns:
    """The whole chain at once, without passages."""
    return [((), demo.chain("So the answer is:"))]


class ClosedBook(SingleStep):
    """Reason and answer from what the model knows."""

    name = "closed_book"
    words = Words("closed_book", package_text(__package__, "instruction.txt"), demonstrate)
    searches = False
