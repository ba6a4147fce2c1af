"""A Python function as a language model: whatever answers a prompt, called from threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from steper.doors import CODE, SPEC, origin
from steper.errors import ModelError, QuestionDropped, SteperError
from steper.lm.base import Completion, Request
from steper.lm.thinking import in_words
from steper.prompt.segments import Form

Answer = Callable[[Request], "str | Completion"]


class FunctionModel:
    """A `LanguageModel` that calls `function(request)`.

    `request.prompt.messages()` is the prompt as chat messages, `.text()` as plain text, as `form`
    says. Up to `concurrency` calls run at once, each in a thread. A text is taken apart from its
    thoughts, cut at the stop strings, and its tokens counted as white-space separated words; a
    Completion is handed on as it is. Errors of ours fail the request as they are, any other with
    its type and text.
    """

    def __init__(
        self,
        function: Answer,
        *,
        form: Form = "chat",
        concurrency: int = 8,
        context_window: int | None = None,
    ) -> None:
        self._origin = origin(function)
        self.name = str(self._origin.get(SPEC, getattr(function, "__name__", "function")))
        self.form: Form = form
        self.context_window = context_window
        self._function = function
        self._threads = ThreadPoolExecutor(concurrency, "steper-function")

    def fingerprint(self) -> dict[str, Any]:
        """The function's place, and a hash of its code."""
        code = self._origin.get(CODE)
        return {"kind": "function", "function": self.name, "form": self.form, "code": code}

    def count_tokens(self, text: str) -> int:
        """White-space separated words."""
        return len(text.split())

    def submit(self, requests: Sequence[Request]) -> list[Future[Completion]]:
        """Start all requests; those beyond `concurrency` wait their turn."""
        return [self._threads.submit(self._answer, request) for request in requests]

    def close(self) -> None:
        """Let go of the threads; calls under way end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _answer(self, request: Request) -> Completion:
        try:
            said = self._function(request)
        except (SteperError, QuestionDropped):
            raise
        except Exception as error:
            raise ModelError(f"{self.name} failed: {type(error).__name__}: {error}") from error
        if isinstance(said, Completion):
            return said
        if not isinstance(said, str):
            raise ModelError(f"{self.name} gave {type(said).__name__}; a text was expected")
        return in_words(request, said)
