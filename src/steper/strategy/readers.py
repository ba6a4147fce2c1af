"""Separate readers: a prompt of their own that answers a question from passages.

IRCoT's authors ask one over all passages in the end; Press et al.'s Self-Ask has one answer each
follow-up question. `chain` is the student itself, asked in the end as Vanilla-KD trains it: in
its strategy's own words, with all passages and no reasoning, for the whole chain and the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from steper.prompt.words import Demo, DemoTurns, Words
from steper.records import StopReason
from steper.store import package_text
from steper.strategy.reading import clean_answer, first_line
from steper.strategy.stated_answer import stated_answer, without_label
from steper.strategy.trace import Ending

ReaderName = Literal["direct", "cot", "chain"]

REASONING_TOKENS = 256
"""What the whole reasoning takes, where a step's 128 tokens would cut it off."""


@dataclass(frozen=True, slots=True)
class Reader:
    """A reader: its words, where its text stops, and how its answer is read.

    A `direct` one writes the answer alone, one that reasons (`cot`, `chain`) states it in the
    end. A `chain` text is as long as the reasoning of all steps. `least_tokens` are what it may
    write where its limit is not set and that of a step is smaller.
    """

    name: ReaderName
    words: Words
    stop: tuple[str, ...]
    least_tokens: int = 0

    def answer(self, text: str, reason: StopReason) -> Ending:
        """The answer in the reader's text: what it states, or for `direct` its first line."""
        answer = stated_answer(text)
        if answer is None and self.name == "direct":
            answer = clean_answer(without_label(first_line(text)))
        if answer:
            return Ending(answer, reason)
        return Ending("", StopReason.NO_MARKER if text else StopReason.EMPTY_GENERATION)

    def taught(self, text: str) -> str:
        """What a student of this reader learns of its text: all of it, or the answer alone."""
        text = text.strip()
        return text if self.name != "direct" else self.answer(text, StopReason.ANSWERED).answer


def _direct(demo: Demo) -> DemoTurns:
    return [(demo.passages(), demo.answer)]


def whole_chain(demo: Demo) -> DemoTurns:
    """A demonstration that tells the whole chain at once, from all passages."""
    return [(demo.passages(), demo.chain("So the answer is:"))]


def _words(name: ReaderName, demonstrate: Callable[[Demo], DemoTurns]) -> Words:
    return Words(f"reader_{name}", package_text(__package__, f"reader_{name}.txt"), demonstrate)


def chain_reader(words: Words) -> Reader:
    """A reader in a strategy's own words."""
    return Reader("chain", words, ("\n\n",))


READERS = {
    "direct": Reader("direct", _words("direct", _direct), ("\n",)),
    "cot": Reader("cot", _words("cot", whole_chain), ("\n\n",), REASONING_TOKENS),
}
