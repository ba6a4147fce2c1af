"""What a language model is to the rest of the package.

A model takes many requests at once and hands each back, as its future, the moment it is finished;
the caller never waits for a batch.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from pydantic import Field, field_validator

from steper.errors import ModelError
from steper.prompt.segments import Form, Prompt
from steper.records import Finish, GrownRecord, Passage, Record, StepRole, Usage
from steper.text import ANSWER_HEADING, without_surrogates

LOWEST_LOGPROB = -9999.0
"""Stands for the logarithm of 0, which JSON cannot hold (OpenAI's own convention)."""


class FatalModelError(ModelError):
    """No request to this model can succeed (key refused, unknown model): the run should end."""


class TooLongError(ModelError):
    """The model has no room for this prompt, and would not have any the next time."""


class WithheldError(ModelError):
    """A guard of the model or its server withheld the text, as it would each time."""


@dataclass(frozen=True, slots=True)
class Request:
    """One generation asked of a model.

    `strategy`, `step`, `role`, `passages` (those the prompt shows), `retrieved` (ids of all found
    so far), `rationales` (the reasoning that stands) and `cue` (the text's beginning, on which the
    prompt ends) say in structured form what the prompt says in text, for teachers that are no LM
    (gold annotations, scripts). `stop` strings end the text and are not part of it. `gold` is how
    the strategy words a question's gold annotation (`Strategy.word_gold`). With `logprobs` the
    completion has the log-probability of each token written, and at each of these places those of
    the tokens named here (`()`: of none). `sample` is the number of the attempt at the question.
    `target` is a text that the model is made to write, so that its log-probabilities score it; only
    local models can.
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
    logprobs: tuple[str, ...] | None = None
    sample: int = 0
    target: str = ""

    def seed(self, seed: int) -> int:
        """The sampling seed of this attempt at its question, given that of the run.

        The first attempt has the run's own; those of others come from (seed, question, sample).
        """
        if not self.sample:
            return seed
        key = f"{seed}\0{self.question_id}\0{self.sample}"
        return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") >> 1  # 31 bits

    @property
    def may_lead_up(self) -> bool:
        """Whether line breaks may stand in front of what is said (see `truncate_at_stop`).

        In a chat the end of the turn ends a text, and behind a cue one is due; a model that
        continues plain text means an end by them.
        """
        return self.prompt.form == "chat" or bool(self.cue)


class TokenLogprob(Record):
    """A token that a model wrote, and how probable it and others were there.

    Natural logarithms of the softmax of the raw scores, which temperature and top-p leave as they
    are; LOWEST_LOGPROB where the model rules a token out. `of` has the tokens that the request
    asked for; one is missing where a server tells only of likelier ones. `text` is as the tokenizer
    writes it, special tokens included; "" or a replacement sign where it is part of a character.
    """

    text: str
    logprob: float
    of: dict[str, float] = Field(default_factory=dict)

    @field_validator("text")
    @classmethod
    def _can_be_written(cls, value: str) -> str:
        return without_surrogates(value)


class Completion(GrownRecord):
    """What a model wrote, without the stop string; `finish` says why it ended.

    `thoughts` are what it wrote before it spoke; they are no part of the text (see `thinking`).
    `token_logprobs`, where the request asked for them, are of every token written: of thoughts, of
    the stop string and of the end of the turn, too (a server may leave the latter two out).
    """

    later: ClassVar[tuple[str, ...]] = ("thoughts", "token_logprobs")

    text: str
    finish: Finish = "stop"
    usage: Usage = Usage()
    thoughts: str = ""
    token_logprobs: tuple[TokenLogprob, ...] = ()

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


def lacking_logprobs(asked: tuple[str, ...] | None, completion: Completion) -> ModelError | None:
    """The error where log-probabilities were `asked` for and not given; None where all is well."""
    if asked is None or completion.token_logprobs or not completion.text:
        return None
    return ModelError(
        "log-probabilities were asked for, and the text came without: run the model here "
        "(hf:FOLDER), or behind a server that heeds the field logprobs (vLLM, SGLang, llama.cpp); "
        "a model of your own gives them as Completion.token_logprobs"
    )


def is_greedy(lm: LanguageModel) -> bool:
    """Whether the model writes the same text for a prompt each time; False where it does not say.

    A model that may has an attribute `greedy`.
    """
    return bool(getattr(lm, "greedy", False))


def continues_turns(lm: LanguageModel) -> bool:
    """Whether the model goes on with an assistant's turn that a chat prompt begins.

    A model that may not has a method `continues_turns`, which may ask its server. Raises ModelError
    where that fails.
    """
    ask: Callable[[], bool] | None = getattr(lm, "continues_turns", None)
    return ask is None or ask()


_LONGEST_HEADING = 60
_HEADING = rf"^(?i:{ANSWER_HEADING})[ \t]{{0,3}}"
_LEADING_BREAKS = re.compile(rf"(?:\A|[:：][*_]{{0,2}}|{_HEADING}(?=\n))\s+", re.MULTILINE)
_LAST_HEADING = re.compile(rf"{_HEADING}\Z", re.MULTILINE)


def truncate_at_stop(text: str, stop: Sequence[str], may_lead_up: bool = False) -> tuple[str, bool]:
    """`text` up to the first stop string, and whether one was found.

    With `may_lead_up` line breaks end nothing where what is said is still to come: in front of all
    text, behind a colon ("The answer is:\\n\\nParis"), and behind a heading ("**Final Answer**").
    """
    without = _LEADING_BREAKS.sub(lambda m: " " * len(m[0]), text) if may_lead_up else text
    places = ((without if s.isspace() else text).find(s) for s in stop if s)
    cut = min((at for at in places if at >= 0), default=-1)
    return (text[:cut], True) if cut >= 0 else (text, False)


def leads_up(text: str) -> bool:
    """Whether a text says nothing yet: it is blank, or ends with a colon or an answer's heading."""
    if not text.strip() or text.rstrip("*_ \n").endswith((":", "：")):
        return True
    return bool(_LAST_HEADING.search(text.rstrip()[-_LONGEST_HEADING:]))
