"""What a language model is to the rest of the package.

A model takes many requests at once and hands each back, as its future, the moment it is finished;
the caller never waits for a batch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from pydantic import field_validator

from steper.errors import ModelError
from steper.prompt.segments import Form, Prompt
from steper.records import Finish, GrownRecord, Passage, StepRole, Usage
from steper.text import without_surrogates


class FatalModelError(ModelError):
    """No request to this model can succeed (key refused, unknown model): the run should end."""


@dataclass(frozen=True, slots=True)
class Request:
    """One generation asked of a model.

    `strategy`, `step`, `role`, `passages` (those the prompt shows), `retrieved` (ids of all found
    so far), `rationales` (the reasoning that stands) and `cue` (the text's beginning, on which the
    prompt ends) say in structured form what the prompt says in text, for teachers that are no LM
    (gold annotations, scripts). `stop` strings end the text and are not part of it. `gold` is how
    the strategy words a question's gold annotation (`Strategy.word_gold`).
    """

    question_id: str
    strategy: str
    step: int
    role: StepRole
    prompt: Prompt
    stop: tuple[str, ...] = ()
    max_tokens: int = 128
    passages: tuple[Passage, ...] = field(default=(), repr=False)
    rationales: tuple[str, ...] = ()
    retrieved: frozenset[str] = field(default=frozenset(), repr=False)
    cue: str = ""
    gold: Callable[..., str] | None = field(default=None, repr=False)

    @property
    def may_lead_up(self) -> bool:
        """Whether line breaks may stand in front of what is said (see `truncate_at_stop`).

        In a chat the end of the turn ends a text, and behind a cue one is due; a model that
        continues plain text means an end by them.
        """
        return self.prompt.form == "chat" or bool(self.cue)


class Completion(GrownRecord):
    """What a model wrote, without the stop string; `finish` says why it ended.

    `thoughts` are what it wrote before it spoke; they are no part of the text (see `thinking`).
    """

    later: ClassVar[tuple[str, ...]] = ("thoughts",)

    text: str
    finish: Finish = "stop"
    usage: Usage = Usage()
    thoughts: str = ""

    @field_validator("text", "thoughts")
    @classmethod
    def _can_be_written(cls, value: str) -> str:
        # Half an emoji, cut by a token limit, is valid JSON from a server but no valid UTF-8.
        return without_surrogates(value)


class LanguageModel(Protocol):
    """A teacher or student: requests in, a future per request out."""

    name: str
    form: Form
    context_window: int | None

    def fingerprint(self) -> dict[str, Any]:
        """All that decides what the model writes, as JSON values: recorded, compared on resume."""
        ...

    def count_tokens(self, text: str) -> int:
        """Tokens of `text`: exact for local models, a cautious estimate for servers."""
        ...

    def submit(self, requests: Sequence[Request]) -> list[Future[Completion]]:
        """Start all requests; a future fails with ModelError or QuestionDropped."""
        ...

    def close(self) -> None:
        """Give back threads, connections and memory; requests under way are cancelled."""
        ...


def continues_turns(lm: LanguageModel) -> bool:
    """Whether the model goes on with an assistant's turn that a chat prompt begins.

    A model that may not has a method `continues_turns`, which may ask its server. Raises ModelError
    where that fails.
    """
    ask: Callable[[], bool] | None = getattr(lm, "continues_turns", None)
    return ask is None or ask()


_LEADING_BREAKS = re.compile(r"(?:\A|[:：][*_]{0,2})\s+")


def truncate_at_stop(text: str, stop: Sequence[str], may_lead_up: bool = False) -> tuple[str, bool]:
    """`text` up to the first stop string, and whether one was found.

    With `may_lead_up` line breaks end nothing where what is said is still to come: in front of all
    text, and behind a colon ("The answer is:\\n\\nParis").
    """
    without = _LEADING_BREAKS.sub(lambda m: " " * len(m[0]), text) if may_lead_up else text
    places = ((without if s.isspace() else text).find(s) for s in stop if s)
    cut = min((at for at in places if at >= 0), default=-1)
    return (text[:cut], True) if cut >= 0 else (text, False)


def leads_up(text: str) -> bool:
    """Whether a text says nothing yet: it is blank, or ends with a colon."""
    return not text.strip() or text.rstrip("*_ \n").endswith((":", "："))
