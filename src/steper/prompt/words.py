"""How each strategy words its prompts: instructions and demonstrations are text files beside this.

`instructions/NAME.txt` is the system message of a strategy or reader; `demonstrations.yaml` holds
worked examples about well-known facts, from which each strategy's demonstrations are made.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources

import yaml
from pydantic import Field

from steper.errors import SettingsError, unknown_name
from steper.records import Passage, Record


@dataclass(frozen=True, slots=True)
class Template:
    """The fixed words around question and reasoning.

    `head` is the question's line. In a `passages_first` prompt `cue` ends the part in front of the
    reasoning, and each piece of reasoning is preceded by `lead`. In an `append_only` prompt of
    plain text, `turn_cue` follows each turn's passages and `turn_lead` precedes its reasoning.
    """

    name: str
    head: str
    cue: str = "\nA:"
    lead: str = " "
    turn_cue: str = "\n\nA:"
    turn_lead: str = " "


_SELF_ASK_HEAD = "Question: {question}\nAre follow up questions needed here: Yes."

TEMPLATES = {
    "self_ask": Template("self_ask", _SELF_ASK_HEAD, "", "\n", "\n\n", ""),
    **{
        name: Template(name, "Q: {question}")
        for name in ("ircot", "one_shot", "closed_book", "reader_direct", "reader_cot")
    },
}


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

    def turns(self, name: str) -> list[tuple[tuple[Passage, ...], str]]:
        """(new passages, text) of each step, as the strategy or reader `name` would go about it."""
        arriving = [_passages(self.first), *(_passages(hop.passages) for hop in self.hops)]
        if name == "ircot":
            texts = [hop.sentence for hop in self.hops] + [f"So the answer is: {self.answer}."]
            return list(zip(arriving, texts, strict=True))
        if name == "self_ask":
            return list(zip(arriving, self._self_ask(), strict=True))
        everything = tuple(p for passages in arriving for p in passages)
        if name == "reader_direct":
            return [(everything, self.answer)]
        whole = " ".join(hop.sentence for hop in self.hops) + f" So the answer is: {self.answer}."
        return [(() if name == "closed_book" else everything, whole)]

    def _self_ask(self) -> list[str]:
        asks = [f"Follow up: {hop.follow_up}" for hop in self.hops]
        asks.append(f"So the final answer is: {self.answer}")
        told = [f"Intermediate answer: {hop.answer}\n" for hop in self.hops]
        return [asks[0], *(t + a for t, a in zip(told, asks[1:], strict=True))]


def _passages(texts: dict[str, str]) -> tuple[Passage, ...]:
    return tuple(Passage.make(title, text) for title, text in texts.items())


def _read(*parts: str) -> str:
    return resources.files("steper.prompt").joinpath(*parts).read_text(encoding="utf-8")


@cache
def instruction(name: str) -> str:
    """The system message of a strategy or reader."""
    if name not in TEMPLATES:
        raise SettingsError(unknown_name("prompt template", name, TEMPLATES))
    return _read("instructions", f"{name}.txt").strip()


@cache
def demonstrations() -> tuple[Demo, ...]:
    """The worked examples, question types taking turns."""
    raw = yaml.safe_load(_read("demonstrations.yaml"))
    return tuple(Demo.model_validate(demo) for demo in raw)
