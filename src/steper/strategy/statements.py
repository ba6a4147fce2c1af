"""What a trajectory states, piece by piece: what single-pass readers learn, and stand on passages.

In: a step's text. Out: its `Statement`s; a strategy says how its steps are cut into them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from steper.records import Step
from steper.strategy.reading import with_whole_titles, without_question
from steper.text import sentences


@dataclass(frozen=True, slots=True)
class Statement:
    """Something that a trajectory states.

    `text` as it is learnt; `tells` what of it a passage can support: no clause that asks for what
    comes next, "" where all of it asks. `step` is the one whose passages it was written over.
    """

    text: str
    tells: str
    step: Step


def what_is_told(text: str, titles: Sequence[str] = ()) -> str:
    """A text without what it asks; "?" within one of the `titles` does not ask."""
    told = (
        without_question(sentence)
        for line in text.splitlines()
        for sentence in with_whole_titles(sentences(line), titles)
    )
    return " ".join(filter(None, told))
