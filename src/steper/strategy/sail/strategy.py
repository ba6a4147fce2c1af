"""SAIL's reader: search results in numbers, their verification, then the answer."""

from __future__ import annotations

from steper.prompt.words import Demo, DemoTurns, Words
from steper.store import package_text
from steper.strategy.sail.verification import verification, without_verification
from steper.strategy.single_pass import SinglePass


def demonstrate(demo: Demo) -> DemoTurns:
    """The verification and the whole chain at once."""
    passages = demo.passages()
    said = verification([bool(demo.told_by(passage)) for passage in passages])
    return [(passages, f"{said} {demo.chain('So the answer is:')}")]


class Sail(SinglePass):
    """Verify the search results, then reason and answer (Luo et al., 2023)."""

    name = "sail"
    words = Words(
        "sail",
        package_text(__package__, "instruction.txt"),
        demonstrate,
        shown="Search results:\n{passages}\n\n",
        nothing="Search results: None\n\n",
        numbered=True,
    )

    def query(self, text: str) -> str:
        """The reasoning; the verification asks for nothing."""
        return super().query(without_verification(text))
