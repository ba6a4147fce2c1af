"""Chain-of-Note's reader: numbered passages, a note on each, then the answer."""

from __future__ import annotations

from steper.grounding import lexical_support
from steper.prompt.words import Demo, DemoTurns, Words
from steper.records import Passage
from steper.store import package_text
from steper.strategy.con.notes import IRRELEVANT, numbered, what_notes_say
from steper.strategy.single_pass import SinglePass


def demonstrate(demo: Demo) -> DemoTurns:
    """All notes, then the answer."""
    passages = demo.passages()
    notes = numbered([_note(passage, demo) for passage in passages])
    return [(passages, f"{notes} So the answer is: {demo.answer}.")]


def _note(passage: Passage, demo: Demo) -> str:
    text = f"{passage.title} {passage.text}"
    said = [h.sentence for h in demo.hops if lexical_support(h.sentence, text) == "full"]
    return " ".join(said) or IRRELEVANT


class ChainOfNote(SinglePass):
    """Note what each passage says, then answer (Yu et al., 2024)."""

    name = "con"
    words = Words("con", package_text(__package__, "instruction.txt"), demonstrate, numbered=True)

    def query(self, text: str) -> str:
        """What the notes say."""
        return what_notes_say(super().query(text))
