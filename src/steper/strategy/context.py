"""Which passages a prompt shows: first come, never re-ranked, without repeats and overlong ones.

After IRCoT's authors' code: passages accumulate in the order they were found; one is skipped when
an earlier one is at least 90 % alike in title and text; passages over 600 words are left out; at
most 15 are kept. The context budget is ours: whole passages are left out, and recorded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from pydantic import Field
from rapidfuzz import fuzz

from steper.prompt.render import Turn
from steper.prompt.segments import Prompt
from steper.records import GrownRecord, Passage
from steper.retrieve.base import Found


class ContextSettings(GrownRecord):
    """What is gathered and shown."""

    k: int = Field(4, ge=1, description="passages a search returns (K)")
    max_passages: int = Field(15, ge=1, description="passages gathered in all")
    max_passage_words: int = Field(600, ge=1, description="longer passages are left out")
    same_passage: float = Field(
        0.9, gt=0, le=1, description="likeness of title and text from which a passage is a repeat"
    )


@dataclass(frozen=True, slots=True)
class Budget:
    """Room for a prompt: at most `tokens` (None: no limit), counted by `count`."""

    tokens: int | None = None
    count: Callable[[str], int] = len

    def less(self, tokens: int) -> Budget:
        """This budget, with `tokens` more left for the text that is written."""
        return self if self.tokens is None else replace(self, tokens=self.tokens - tokens)

    def fits(self, prompt: Prompt) -> bool:
        """Whether the prompt has room. A token takes at least a byte, so short texts are cheap."""
        if self.tokens is None:
            return True
        text = prompt.text()
        # A chat template adds a few tokens a message.
        extra = 8 * len(prompt.segments) if prompt.form == "chat" else 0
        if len(text.encode()) + extra <= self.tokens:
            return True
        return self.count(text) + extra <= self.tokens


@dataclass
class Gathered:
    """The passages gathered so far, one tuple per step."""

    settings: ContextSettings
    turns: list[tuple[Passage, ...]] = field(default_factory=list)

    def add(self, found: Sequence[Found]) -> None:
        """A new step's passages; repeats, overlong ones and those beyond the cap stay out."""
        new: list[Passage] = []
        room = self.settings.max_passages - len(self.all)
        for passage in (f.passage for f in found):
            if len(new) >= room:
                break
            if len(passage.text.split()) > self.settings.max_passage_words:
                continue
            if not any(self._same(passage, earlier) for earlier in (*self.all, *new)):
                new.append(passage)
        self.turns.append(tuple(new))

    @property
    def all(self) -> tuple[Passage, ...]:
        """All passages in the order they came."""
        return tuple(p for turn in self.turns for p in turn)

    def _same(self, a: Passage, b: Passage) -> bool:
        if a.id == b.id:
            return True
        percent = 100 * self.settings.same_passage
        return (
            fuzz.ratio(a.title, b.title, score_cutoff=percent) >= percent
            and fuzz.ratio(a.text, b.text, score_cutoff=percent) >= percent
        )


def _is_named(passage: Passage, text: str) -> bool:
    """Whether the passage's title stands in the text as whole words; short ones ("It") in case."""
    title = " ".join(passage.title.split())
    case = re.IGNORECASE if len(title) > 3 else 0
    return bool(title) and bool(re.search(rf"(?<!\w){re.escape(title)}(?!\w)", text, case))


class Fitted(NamedTuple):
    """A prompt with the passages that it shows and those left out of it.

    `prompt` is None where even without passages it is too long.
    """

    prompt: Prompt | None
    shown: tuple[Passage, ...] = ()
    dropped: tuple[Passage, ...] = ()


def fit(
    gathered: Gathered,
    rationales: Sequence[str],
    question: str,
    render: Callable[[Sequence[Turn]], Prompt],
    budget: Budget,
    append_only: bool,
    recorded: frozenset[str] | None = None,
) -> Fitted:
    """The prompt with as many passages as fit.

    Passages whose title stands in the question or the reasoning are kept longest; among the others
    (the likely distractors) the newest and lowest-ranked goes first, the oldest last. In an
    append-only prompt the past may not change: only the newest step's passages may go, and they
    stay out. `recorded` are the ids that a replayed prompt showed: the others are left out again.
    """
    said = " ".join((question, *rationales))
    newest_first = list(reversed(gathered.turns[-1] if append_only else gathered.all))
    out = [p for p in newest_first if recorded is not None and p.id not in recorded]
    shown = _without(gathered.turns, out)
    prompt = render(_turns(shown, rationales))
    if not budget.fits(prompt):
        newest_first = [p for p in newest_first if p not in out]
        newest_first.sort(key=lambda p: _is_named(p, said))
        while not budget.fits(prompt):
            if not newest_first:
                return Fitted(None, (), tuple(reversed(out)))
            out.append(newest_first.pop(0))
            shown = _without(gathered.turns, out)
            prompt = render(_turns(shown, rationales))
    if append_only:
        gathered.turns = shown
    return Fitted(prompt, tuple(p for turn in shown for p in turn), tuple(reversed(out)))


def _without(
    turns: Sequence[tuple[Passage, ...]], out: Sequence[Passage]
) -> list[tuple[Passage, ...]]:
    return [tuple(p for p in turn if p not in out) for turn in turns]


def _turns(shown: Sequence[tuple[Passage, ...]], rationales: Sequence[str]) -> list[Turn]:
    """Passages and rationale of each step; the last has no rationale yet."""
    return [Turn(p, r) for p, r in zip(shown, (*rationales, ""), strict=True)]
