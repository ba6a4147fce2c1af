"""What an OpenAI-compatible server answered: raw bytes in, a checked answer out.

Servers answer 200 with an error, with half a JSON, with nothing at all, or with counts that cannot
be. The SDK takes all of it as it comes, so it is read here, and nothing is believed unchecked.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MOST_TOKENS = 100_000_000
"""More than any prompt or completion has: a larger count is no count."""


class BadAnswerError(Exception):
    """An answer that holds no completion; the next one may. The text has the server's own words."""

    def __init__(self, text: str, code: object = None) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Answer:
    """A server's answer: the text (None: none was sent), why it ended, and what it counted.

    `reasoning` is what the server took apart from the text (`reasoning_content`, `reasoning`);
    `refusal` its reason for sending none. A count is None where the server sent none that can be.
    `logprobs` are as they came, unchecked (see `openai_logprobs`).
    """

    text: str | None
    finish: str | None
    reasoning: str = ""
    refusal: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    logprobs: Any = None


def read_answer(status: int, body: str, chat: bool, hide: Callable[[Any], Any]) -> Answer:
    """The answer in a response of that status; `hide` takes secrets out of JSON values.

    Raises BadAnswerError for an error in an answer that calls itself a success, for what is no
    JSON, and for JSON that is no completion.
    """
    if not body.strip():
        raise BadAnswerError(f"{status} with an empty answer")
    try:
        said = hide(json.loads(body))
    except (ValueError, RecursionError):
        raise BadAnswerError(f"{status} with what is no JSON: {hide(body)[:100]!r}") from None
    if isinstance(said, dict) and said.get("error"):
        raise _error(status, said["error"])
    choice = _first(said.get("choices")) if isinstance(said, dict) else None
    # OpenRouter sends the failure of whom it asks within a choice, mostly without a finish_reason.
    if choice and (choice.get("error") or choice.get("finish_reason") == "error"):
        raise _error(status, choice.get("error") or "finish_reason error")
    message = choice.get("message") if choice and chat else choice
    text = message.get("content" if chat else "text") if isinstance(message, dict) else None
    text, thought = _parts(text) if chat and isinstance(text, list) else (text, "")
    if choice is None or not isinstance(message, dict) or not isinstance(text, str | None):
        raise BadAnswerError(
            f"{status} without a completion; is base_url right (it usually ends in /v1)? "
            f"It sent: {str(said)[:100]!r}"
        )
    finish = choice.get("finish_reason")
    usage = said.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return Answer(
        text=text,
        finish=finish if isinstance(finish, str) else None,
        reasoning=_string(message.get("reasoning_content"))
        or _string(message.get("reasoning"))
        or thought,
        refusal=_string(message.get("refusal")),
        # No prompt has 0 tokens: servers that do not count say so.
        prompt_tokens=_count(usage.get("prompt_tokens")) or None,
        completion_tokens=_count(usage.get("completion_tokens")),
        logprobs=choice.get("logprobs"),
    )


def _first(choices: object) -> dict[str, Any] | None:
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) else None


def _parts(content: list[Any]) -> tuple[Any, str]:
    """(text, thoughts) of a content in parts, as Mistral's models send it that think.

    The content as it is, where a part of it is neither.
    """
    said: dict[str, list[str]] = {"text": [], "thinking": []}
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        value = part.get(kind) if isinstance(kind, str) and kind in said else None
        if kind == "thinking" and isinstance(value, list):
            value, _ = _parts(value)
        if not isinstance(value, str):
            return content, ""
        said[str(kind)].append(value)
    return "".join(said["text"]), "\n\n".join(said["thinking"])


def _error(status: int, error: object) -> BadAnswerError:
    """The server's own words: OpenAI's {"message": …, "code": …}, or whatever it sent instead."""
    if not isinstance(error, dict):
        return BadAnswerError(f"{status} with an error: {error}")
    words = error.get("message") or error.get("detail") or error
    return BadAnswerError(f"{status} with an error: {words}", error.get("code"))


def _count(value: object) -> int | None:
    """A number of tokens, or None for what cannot be one."""
    return value if type(value) is int and 0 <= value <= MOST_TOKENS else None


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""
