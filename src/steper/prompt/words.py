"""The fixed words of a prompt, and the worked examples from which demonstrations are made.

What the words are is each strategy's own affair (`steper.strategy`); here is only what words there
have to be. `demonstrations.yaml` beside this holds worked examples about well-known facts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import Field

from steper.grounding import lexical_support
from steper.records import Passage, Record
from steper.store import package_yaml

DemoTurns = list[tuple[tuple[Passage, ...], str]]
"""(new passages, text) of each step of a demonstration."""


SHOWN = "{passages}\n\n"
"""How passages stand in front of a question, unless a strategy's words say otherwise."""


class DemoHop(Record):
    """One hop of a worked example; `passages` ({title: text}) are what its search adds."""

    sentence: str
    follow_up: str
    answer: str
    passages: dict[str, str] = Field(default_factory=dict)


class Demo(Record):
    """A worked example for few-shot prompts; `first` are the passages that the question finds."""

    type: str
    question: str
    answer: str
    first: dict[str, str]
    hops: tuple[DemoHop, ...]

    def arriving(self) -> list[tuple[Passage, ...]]:
        """The passages that each search adds: the question's, then each hop's."""
        found = [self.first, *(hop.passages for hop in self.hops)]
        return [tuple(Passage.make(title, text) for title, text in f.items()) for f in found]

    def passages(self) -> tuple[Passage, ...]:
        """All passages, in the order they arrive."""
        return tuple(p for passages in self.arriving() for p in passages)

    def told_by(self, passage: Passage) -> list[str]:
        """The sentences that stand on a passage."""
        text = f"{passage.title} {passage.text}"
        return [h.sentence for h in self.hops if lexical_support(h.sentence, text) == "full"]

    def chain(self, cue: str) -> str:
        """All sentences, then the answer after `cue`: the whole reasoning in one text."""
        return " ".join((*(hop.sentence for hop in self.hops), f"{cue} {self.answer}."))


@dataclass(frozen=True, slots=True)
class Shown:
    """A question as a prompt demonstrates it: (new passages, text) of each step."""

    question: str
    turns: tuple[tuple[tuple[Passage, ...], str], ...]


@dataclass(frozen=True, slots=True)
class Words:
    """The fixed words around question and reasoning.

    `head` is the question's line. In a `passages_first` prompt `cue` ends the part in front of the
    reasoning, and each piece of reasoning is preceded by `lead`. In an `append_only` prompt of
    plain text, `turn_cue` follows each turn's passages and `turn_lead` precedes its reasoning.
    `instruction` is the system message (`anew`: where each step writes all of the reasoning anew,
    if that takes another); `demonstrate` says how a worked example looks at each step.
    With `reads_apart` every second of these is a separate reader's: the model goes on after it.
    In a `passages_first` prompt passages stand as `shown` says, `numbered` from (1) or not, and
    `nothing` stands where there are none. `own` are demonstrations in place of the package's.
    """

    name: str
    instruction: str
    demonstrate: Callable[[Demo], DemoTurns]
    head: str = "Q: {question}"
    cue: str = "\nA:"
    lead: str = " "
    turn_cue: str = "\n\nA:"
    turn_lead: str = " "
    reads_apart: bool = False
    anew: str = ""
    shown: str = SHOWN
    nothing: str = ""
    numbered: bool = False
    own: tuple[Shown, ...] = ()

    def show(self, passages: Sequence[str]) -> str:
        """What stands in front of the question, given its passages as text."""
        if not passages:
            return self.nothing
        if self.numbered:
            passages = [f"({n}) {passage}" for n, passage in enumerate(passages, start=1)]
        return self.shown.format(passages="\n\n".join(passages))

    def demonstrated(self, count: int) -> list[Shown]:
        """The first so many demonstrations in these words."""
        if self.own or not count:
            return list(self.own[:count])
        worked = demonstrations()[:count]
        return [Shown(demo.question, tuple(self.demonstrate(demo))) for demo in worked]

    def own_demonstrations(self) -> dict[str, Any]:
        """What a run's manifest says of demonstrations that are not the package's."""
        if not self.own:
            return {}
        digest = hashlib.sha256(repr(self.own).encode()).hexdigest()[:16]
        return {"demonstrations": {"questions": [o.question for o in self.own], "hash": digest}}

    def instruct(self, anew: bool) -> str:
        """The instruction for steps that write all of the reasoning `anew`, or their own part."""
        return self.anew if anew and self.anew else self.instruction


@cache
def demonstrations() -> tuple[Demo, ...]:
    """The worked examples, question types taking turns."""
    raw = package_yaml(__package__, "demonstrations.yaml")
    return tuple(Demo.model_validate(demo) for demo in raw)
