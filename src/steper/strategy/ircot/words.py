"""IRCoT's words: a sentence a step, then the answer."""

from __future__ import annotations

from steper.prompt.words import Demo, DemoTurns, Words
from steper.store import package_text


def demonstrate(demo: Demo) -> DemoTurns:
    """Each hop's sentence after the passages that it stands on, then the answer."""
    texts = [hop.sentence for hop in demo.hops] + [f"So the answer is: {demo.answer}."]
    return list(zip(demo.arriving(), texts, strict=True))


WORDS = Words(
    "ircot",
    package_text(__package__, "instruction.txt"),
    demonstrate,
    anew=package_text(__package__, "anew.txt"),
)
