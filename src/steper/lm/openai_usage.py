"""What an answer cost, by the server's count where there is one that can be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from steper.lm.model_settings import TokenPrice
from steper.lm.openai_answers import Answer
from steper.prompt.segments import Prompt
from steper.records import Usage

MOST_BYTES_PER_TOKEN = 6
"""Prompts of more bytes a token than this have been cut: no tokenizer packs prose so densely."""
SHORT_PROMPT = 2000
"""Bytes; shorter prompts may be made of anything."""


@dataclass(frozen=True)
class UsageReader:
    """Usage with an estimate where the server sends none, and dollars where a price is set.

    `exact` says that `count_tokens` is the model's own tokenizer's.
    """

    count_tokens: Callable[[str], int]
    exact: bool
    price: TokenPrice | None
    warn_once: Callable[[str], None]

    def of(self, asked: Prompt, text: str, answer: Answer) -> Usage:
        """The usage of an answer; warns of prompts that the server cuts without saying so."""
        prompt, completion = answer.prompt_tokens, answer.completion_tokens
        if prompt is None or completion is None:
            self.warn_once("the server sends no counts of tokens, or none that can be: estimated")
        if prompt is None:
            prompt = self.count_tokens(asked.text())
        elif prompt < (least := self._least_tokens(asked.text())):
            self.warn_once(
                f"the server counted far fewer tokens ({prompt:,}) than a prompt had ({least:,} "
                "at the least): it seems to cut long prompts in silence; raise its context "
                "(Ollama: num_ctx), and set context_window to it"
            )
        if completion is None:
            completion = self.count_tokens(text)
        price = self.price
        dollars = price and (prompt * price.prompt + completion * price.completion) / 1e6
        return Usage(prompt_tokens=prompt, completion_tokens=completion, dollars=dollars)

    def _least_tokens(self, prompt: str) -> int:
        """Tokens that a prompt has at the least; 0 for a short one."""
        size = len(prompt.encode())
        if size < SHORT_PROMPT:
            return 0
        # Nine tenths: a template may trim, and text in messages has other tokens than in one piece.
        return 9 * self.count_tokens(prompt) // 10 if self.exact else size // MOST_BYTES_PER_TOKEN
