"""What a strategy may ask for: a search or a generation. Nothing here does I/O."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Protocol

from steper.lm.base import Completion
from steper.prompt.segments import Prompt
from steper.records import Passage, StepRole
from steper.retrieve.base import Found
from steper.strategy.trace import Ending, Trace


@dataclass(frozen=True, slots=True)
class Search:
    """Ask for the best `k` passages; the answer is `list[Found]`, best first."""

    query: str
    k: int


@dataclass(frozen=True, slots=True)
class Generate:
    """Ask for a text; the answer is a `Completion`. Fields as in `steper.lm.base.Request`."""

    step: int
    role: StepRole
    prompt: Prompt
    stop: tuple[str, ...]
    max_tokens: int
    passages: tuple[Passage, ...] = field(default=(), repr=False)
    rationales: tuple[str, ...] = ()
    retrieved: frozenset[str] = field(default=frozenset(), repr=False)


Action = Search | Generate
Actions = Generator[Action, "list[Found] | Completion", Ending]


class Strategy(Protocol):
    """A way to answer a question in steps: a pure generator of actions.

    It does no I/O, holds no model and knows no batching. `run` is sent the result of each action
    it yields, writes its steps into the trace and returns how it ended.
    """

    name: str

    def run(self, trace: Trace) -> Actions:
        """Answer `trace.question`."""
        ...

    def fingerprint(self) -> dict[str, object]:
        """All settings (JSON values); recorded, and compared on resume."""
        ...
