"""A chat put into its model's template here, for servers that are sent raw text."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from steper.errors import ModelError, missing_extra
from steper.lm.model_settings import OpenAISettings
from steper.lm.model_source import one_line
from steper.prompt.chat_template import EncodeError, check_arguments
from steper.prompt.encode import Encoder
from steper.prompt.segments import Prompt


class ChatRenderer:
    """The chat template and tokenizer of a model: a folder or hub name, weights not needed.

    `arguments` go to the template (Qwen3's `enable_thinking`).
    """

    def __init__(self, name: str, arguments: Mapping[str, Any] | None = None) -> None:
        """Raises ModelError where there is no tokenizer or it has no template.

        SettingsError for an argument that the template does not ask for.
        """
        try:
            from transformers import AutoTokenizer
        except ImportError as error:
            raise missing_extra("transformers", "hf", error) from None
        with one_line(name, "a tokenizer"):
            tokenizer = AutoTokenizer.from_pretrained(name)
        if not getattr(tokenizer, "chat_template", None):
            raise ModelError(f"{name}: its tokenizer has no chat template")
        check_arguments(tokenizer, "chat", arguments or {}, "extra_body")
        self._name = name
        self._encoder = Encoder(tokenizer, arguments)
        self._lock = threading.Lock()
        self.digest = self._encoder.template.digest

    def render(self, prompt: Prompt) -> str:
        """The text that the model continues. Raises ModelError where the template refuses it."""
        with self._lock:
            try:
                return self._encoder.text(prompt)
            except EncodeError as error:
                raise ModelError(f"{self._name}: {error}") from error

    @property
    def refuses_turns(self) -> str | None:
        """Why a prompt cannot end in an assistant's turn that was begun; None where it can."""
        with self._lock:
            return self._encoder.template.refuses_turns

    def count(self, text: str) -> int:
        """Tokens of `text` without special tokens."""
        with self._lock:
            return self._encoder.count(text)


def renderer_of(settings: OpenAISettings) -> ChatRenderer | None:
    """The renderer for a server that is sent raw text; None where it renders chats itself."""
    arguments = settings.extra_body.get("chat_template_kwargs")
    return ChatRenderer(settings.tokenizer, arguments) if settings.tokenizer else None
