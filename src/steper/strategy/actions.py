"""What a strategy may ask for: a search or a generation. Nothing here does I/O."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field

from steper.lm.base import Completion
from steper.prompt.segments import Prompt
from steper.records import Passage, StepRole
from steper.retrieve.base import Found
from steper.strategy.readers import Reader
from steper.strategy.trace import Ending


@dataclass(frozen=True, slots=True)
class Search:
    """Ask for the best `k` passages; the answer is `list[Found]`, best first."""

    query: str
    k: int


@dataclass(frozen=True, slots=True)
class Generate:
    """Ask for a text; the answer is a `Completion`. Fields as in `steper.lm.base.Request`.

    `cue` is the beginning of the text that the prompt ends on; `reader` is the separate reader
    whose prompt this is.
    """

    step: int
    role: StepRole
    prompt: Prompt
    stop: tuple[str, ...]
    max_tokens: int
    passages: tuple[Passage, ...] = field(default=(), repr=False)
    rationales: tuple[str, ...] = ()
    retrieved: frozenset[str] = field(default=frozenset(), repr=False)
    cue: str = ""
    reader: Reader | None = None
    logprobs: tuple[str, ...] | None = None


Action = Search | Generate
Actions = Generator[Action, "list[Found] | Completion", Ending]
