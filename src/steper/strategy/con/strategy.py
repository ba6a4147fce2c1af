"""Chain-of-Note's reader: numbered passages, a note on each, then the answer."""

from __future__ import annotations

from steper.prompt.words import Demo, DemoTurns, Words
from steper.store import package_text
from steper.strategy.con.notes import IRRELEVANT, numbered, what_notes_say
from steper.strategy.single_pass import SinglePass


def demonstrate(demo: Demo) -> DemoTurns:
    """All notes, then the answer."""
    passages = demo.passages()
    notes = numbered([" ".join(demo.told_by(passage)) or IRRELEVANT for passage in passages])
    return [(passages, f"{notes} So the answer is: {demo.answer}.")]


class ChainOfNote(SinglePass):
    """Note what each passage says, then answer (Yu et al., 2024)."""

    name = "con"
    words = Words("con", package_text(__package__, "instruction.txt"), demonstrate, numbered=True)

    def query(self, text: str) -> str:
        """What the notes say."""
        return what_notes_say(super().query(text))
