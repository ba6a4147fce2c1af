"""A language model asked one thing at a time, by recipes and filters that need a judgement.

A verdict is asked for once: what was said before, in this build or in an interrupted one, is known
by a digest of the prompt, the model's settings and the room for its answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict

from steper.doors import fingerprint_of
from steper.lm.base import LanguageModel, Request
from steper.lm.thinking import without_thoughts
from steper.prompt.segments import Prompt, Segment
from steper.records import Usage


class VerdictRow(BaseModel):
    """A line of a journal of verdicts: what a judge wrote at the prompt of that digest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    text: str
    usage: Usage


@dataclass
class LMJudge:
    """A judge that remembers; `ask` is what the model writes, without outer white space.

    `known` are all verdicts so far, by their digest; `record` is told a new one before anything
    depends on it; `used` are the digests of those that were asked for since it was cleared.
    """

    lm: LanguageModel
    max_tokens: int = 256
    known: dict[str, VerdictRow] = field(default_factory=dict, repr=False)
    record: Callable[[VerdictRow], None] | None = None
    used: set[str] = field(default_factory=set, repr=False)

    def ask(self, prompt: str, question_id: str) -> str:
        """Ask, where it is not known yet, and wait.

        Raises ModelError where the model gives no answer, QuestionDropped where it refuses one.
        """
        key = hashlib.sha256(self._settings + prompt.encode()).hexdigest()
        if key not in self.known:
            asked = Prompt(self.lm.form, (Segment("user", prompt),))
            request = Request(question_id, "judge", 1, "read", asked, max_tokens=self.max_tokens)
            said = without_thoughts(self.lm.submit([request])[0].result())
            row = VerdictRow(key=key, text=said.text.strip(), usage=said.usage)
            if self.record is not None:
                self.record(row)
            self.known[key] = row
        self.used.add(key)
        return self.known[key].text

    def of(self, question_id: str) -> Callable[[str], str]:
        """The judge as one question's recipe asks it."""
        return lambda prompt: self.ask(prompt, question_id)

    def cost(self) -> dict[str, Any]:
        """What the verdicts used took, those of interrupted builds included."""
        usage = sum((self.known[key].usage for key in self.used), Usage())
        return {"calls": len(self.used), **usage.model_dump()}

    @cached_property
    def _settings(self) -> bytes:
        # A local model's path says nothing: its digest is there, too.
        model = fingerprint_of(self.lm)
        if "digest" in model:
            model = {name: value for name, value in model.items() if name != "model"}
        settings = {"model": model, "form": self.lm.form, "max_tokens": self.max_tokens}
        return orjson.dumps(settings, option=orjson.OPT_SORT_KEYS)
