"""Notes on passages in words: `(1) Gold Rain was directed by Ann Lee. (2) irrelevant.`"""

from __future__ import annotations

import re
from collections.abc import Sequence

IRRELEVANT = "irrelevant."

_NUMBER = re.compile(r"\(\d+\)\s")


def on_topic(title: str) -> str:
    """The note on a passage that is relevant, of which nothing was said."""
    return f"It is about {title}."


def numbered(notes: Sequence[str]) -> str:
    """All notes in a row, with their passages' numbers."""
    return " ".join(f"({n}) {note}" for n, note in enumerate(notes, start=1))


def what_notes_say(text: str) -> str:
    """A text without numbers and notes of irrelevant passages."""
    notes = (note.strip() for note in _NUMBER.split(text))
    said = (note.removeprefix(IRRELEVANT).strip() for note in notes)
    return " ".join(note for note in said if note)
