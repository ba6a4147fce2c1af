"""Prompts to token ids and back, for models whose tokenizer is at hand: the same for each of them.

Whoever runs the model (transformers, vLLM), it is given the ids that our renderer and encoder make,
which are those that students are trained on, and what it wrote is decoded in one way.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from steper.errors import ModelError
from steper.lm.base import Request
from steper.lm.thinking import marks_to_keep
from steper.prompt.chat_template import EncodeError, check_arguments
from steper.prompt.encode import Encoder
from steper.prompt.segments import Form

log = logging.getLogger(__name__)

IN_THE_USERS_TURN = (
    "%s does not continue an assistant's turn (%s), so prompts show the reasoning in the user's "
    "turn (reasoning: user)"
)


class LocalText:
    """A model's tokenizer behind a lock, for it is not thread-safe. `name` is for errors."""

    def __init__(
        self, name: str, tokenizer: Any, form: Form | None, arguments: Mapping[str, Any]
    ) -> None:
        """`form` None: chat where there is a template; `arguments` go to the template.

        Raises ModelError where they do not fit the tokenizer.
        """
        self._name = name
        self._tokenizer = tokenizer
        template = bool(getattr(tokenizer, "chat_template", None))
        self.form: Form = form or ("chat" if template else "plain")
        if self.form == "chat" and not template:
            raise ModelError(f"{name}: form is chat, but its tokenizer has no chat template")
        check_arguments(tokenizer, self.form, arguments)
        self._arguments = arguments
        self._encoder = Encoder(tokenizer, arguments)
        self._lock = threading.Lock()
        self._continues: bool | None = None  # not asked yet
        self._marks = marks_to_keep(tokenizer.get_added_vocab())

    def ends(self, eos: frozenset[int]) -> frozenset[int]:
        """The ids that end a text: a base model's `eos` ends a document, its template's a turn."""
        end = self._encoder.turn_end(self.form)
        return eos | ({end} if end is not None else set())

    def fingerprint(self) -> dict[str, Any]:
        """Form and template, with the template's arguments and the day that it is told, if any."""
        if self.form == "plain":
            return {"form": "plain", "chat_template": None}
        template = self._encoder.template
        told = {
            "chat_template_kwargs": self._arguments,
            "today": template.clock,
            # As a server's: there once a prompt has wanted it.
            "continuation": "none" if self._continues is False else None,
        }
        return {
            "form": "chat",
            "chat_template": template.digest,
            **{name: value for name, value in told.items() if value},
        }

    def continues_turns(self) -> bool:
        """Whether the template shows a begun assistant's turn as the model would go on with it.

        The first call tries a chat of two messages; where it cannot, one line says why.
        """
        if self.form == "plain":
            return True
        with self._lock:
            if self._continues is None:
                why = self._encoder.template.refuses_turns
                self._continues = why is None
                if why is not None:
                    log.warning(IN_THE_USERS_TURN, self._name, why)
        return self._continues

    def count(self, text: str) -> int:
        """Tokens of `text` without special tokens, exactly."""
        with self._lock:
            return self._encoder.count(text)

    def encode(self, request: Request) -> list[int]:
        """The ids of a request's prompt. Raises ModelError where the template refuses it."""
        with self._lock:
            try:
                return self._encoder.prompt(request.prompt)
            except EncodeError as error:
                raise ModelError(
                    f"{self._name}: question {request.question_id!r}: {error}"
                ) from error

    def behind(self, text: str, prompt_ids: list[int]) -> list[int]:
        """The ids of a text that stands behind a prompt's."""
        with self._lock:
            return self._encoder.behind(text, prompt_ids)

    def room(self, request: Request, prompt_ids: Sequence[int], window: int | None) -> int:
        """Tokens that a request may write within the window. Raises ModelError for none."""
        room = request.max_tokens
        if window is not None:
            room = min(room, window - len(prompt_ids))
        if room < 1:
            raise ModelError(
                f"{self._name}: the prompt of question {request.question_id!r}, step "
                f"{request.step}, has {len(prompt_ids)} tokens, but the context window is "
                f"{window}; show fewer passages or set a context budget"
                if request.max_tokens > 0
                else f"max_tokens is {request.max_tokens}; it must be at least 1"
            )
        return room

    def asked(self, texts: Sequence[str]) -> dict[str, int]:
        """The ids of tokens that log-probabilities are asked of. Raises ModelError for no token."""
        found = {}
        for text in texts:
            with self._lock:
                token = self._encoder.single(text)
            if token is None:
                raise ModelError(
                    f"{self._name}: {text!r} is not one token of this model, so it has no "
                    "log-probability of its own; add it to the tokenizer, or ask for its first"
                )
            found[text] = token
        return found

    def token_text(self, token: int) -> str:
        """A token's text, special or not."""
        with self._lock:
            return str(self._tokenizer.decode([token], clean_up_tokenization_spaces=False))

    def decode(self, ids: list[int]) -> str:
        """The text of ids, special tokens left out but for those that mark thoughts."""
        with self._lock:
            said, start = "", 0
            for at, token in enumerate(ids):
                if token in self._marks:
                    said += self._plain(ids[start:at]) + self._marks[token]
                    start = at + 1
            return said + self._plain(ids[start:])

    def _plain(self, ids: list[int]) -> str:
        return str(
            self._tokenizer.decode(
                ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )
