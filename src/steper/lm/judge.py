"""A language model asked one thing at a time, by recipes that need a judgement."""

from __future__ import annotations

from dataclasses import dataclass

from steper.lm.base import LanguageModel, Request
from steper.lm.thinking import without_thoughts
from steper.prompt.segments import Prompt, Segment


@dataclass(frozen=True)
class LMJudge:
    """`judge(prompt)` is what the model writes, without outer white space."""

    lm: LanguageModel
    question_id: str
    max_tokens: int = 256

    def __call__(self, prompt: str) -> str:
        """Ask and wait; raises ModelError where the model gives no answer."""
        asked = Prompt(self.lm.form, (Segment("user", prompt),))
        request = Request(self.question_id, "judge", 1, "read", asked, max_tokens=self.max_tokens)
        return without_thoughts(self.lm.submit([request])[0].result()).text.strip()
