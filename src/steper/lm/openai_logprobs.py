"""Log-probabilities over OpenAI's two protocols: how they are asked for, and what came back.

A server tells of the likeliest tokens at each place alone (20 at the most with OpenAI's chat and
vLLM's default, 5 with OpenAI's completions), so a token that was asked for may be missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from steper.errors import ModelError
from steper.lm.base import LOWEST_LOGPROB, Completion, Request, TokenLogprob, lacking_logprobs


def fields_to_ask(request: Request, chat: bool, most: int, name: str) -> dict[str, Any]:
    """What a request's body says to get log-probabilities, of `most` tokens a place.

    Raises ModelError where a given text is to be scored, which the protocols have no word for.
    """
    if request.target:
        raise ModelError(f"{name}: a server cannot score a given text; use hf:FOLDER")
    asked = request.logprobs
    if asked is None:
        return {}
    top = most if asked else 0
    if not chat:
        return {"logprobs": max(top, 1)}  # some servers take 0 for "none"
    return {"logprobs": True, **({"top_logprobs": top} if top else {})}


def read_logprobs(said: Any, asked: tuple[str, ...]) -> tuple[TokenLogprob, ...]:
    """A choice's field `logprobs`, in either protocol's form; () where there is none.

    Raises ValueError where it cannot be read.
    """
    if not isinstance(said, dict) or not (said.get("content") or said.get("tokens")):
        return ()
    try:
        places = _of_chat(said["content"]) if said.get("content") else _of_completions(said)
        return tuple(_token(text, value, top, asked) for text, value, top in places)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ValueError(f"log-probabilities that cannot be: {str(said)[:100]}") from None


def with_logprobs(
    completion: Completion, asked: tuple[str, ...] | None, said: Any, name: str
) -> Completion:
    """The completion with what the server `said` of its tokens, where that was asked for.

    Raises ModelError where the server ignored that, or what it said cannot be read.
    """
    if asked is None:
        return completion
    try:
        found = read_logprobs(said, asked)
    except ValueError as error:
        raise ModelError(f"{name}: the server sent {error}") from None
    completion = completion.model_copy(update={"token_logprobs": found})
    if missing := lacking_logprobs(asked, completion):
        raise ModelError(f"{name}: {missing}")
    return completion


Place = tuple[str, float, Iterable[tuple[str, float]]]
"""A written token, its log-probability, and those of the likeliest tokens there."""


def _of_chat(content: list[dict[str, Any]]) -> Iterator[Place]:
    for place in content:
        top = [(t["token"], t["logprob"]) for t in place.get("top_logprobs") or ()]
        yield place["token"], place["logprob"], top


def _of_completions(said: dict[str, Any]) -> Iterator[Place]:
    tokens, values = said["tokens"], said["token_logprobs"]
    tops = said.get("top_logprobs") or [None] * len(tokens)
    for text, value, top in zip(tokens, values, tops, strict=True):
        yield text, value, list((top or {}).items())


def _token(
    text: str, value: float, top: Iterable[tuple[str, float]], asked: tuple[str, ...]
) -> TokenLogprob:
    known = {token: _number(number) for token, number in top}
    known.setdefault(text, _number(value))
    return TokenLogprob(
        text=text, logprob=_number(value), of={t: known[t] for t in asked if t in known}
    )


def _number(value: float) -> float:
    """A log-probability. Raises ValueError for what is none (NaN, text)."""
    number = float(value)
    if isinstance(value, str | bool) or not number <= 1e-3:  # rounding may pass 0 by a little
        raise ValueError(value)
    return min(max(number, LOWEST_LOGPROB), 0.0)
