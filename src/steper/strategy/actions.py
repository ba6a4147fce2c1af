"""What a strategy may ask for: a search or a generation. Nothing here does I/O."""

from __future__ import annotations

import hashlib
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


def request_digest(action: Action) -> str:
    """What identifies an action's request, so that a record is never replayed for another one."""
    if isinstance(action, Search):
        text = f"search\0{action.k}\0{action.query}"
    else:
        said = "\0".join(f"{s.role}\1{s.text}" for s in action.prompt.segments)
        text = f"generate\0{action.role}\0{action.max_tokens}\0{action.stop}\0{said}"
        text += "" if action.logprobs is None else f"\0logprobs\0{action.logprobs}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]
