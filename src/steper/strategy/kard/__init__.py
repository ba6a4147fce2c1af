"""KARD's reader (Kang et al., NeurIPS 2023): explain step by step with given knowledge."""

from __future__ import annotations

from steper.prompt.words import Demo, DemoTurns, Words
from steper.store import package_text
from steper.strategy.single_pass import SinglePass

__all__ = ["Kard"]


def demonstrate(demo: Demo) -> DemoTurns:
    """The whole chain at once."""
    return [(demo.passages(), demo.chain("So the answer is:"))]


class Kard(SinglePass):
    """Explain and answer from passages given as knowledge (Kang et al., 2023)."""

    name = "kard"
    words = Words(
        "kard",
        package_text(__package__, "instruction.txt"),
        demonstrate,
        shown="Knowledge:\n{passages}\n\n",
        nothing="Knowledge: None\n\n",
    )
