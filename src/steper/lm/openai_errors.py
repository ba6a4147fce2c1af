"""What a failed call to an OpenAI-compatible server means: try again, give up, or end the run.

The SDK's own retries are not enough: they replace (openai 2) or refuse (openai 3) a Retry-After of
more than 60 or 120 s, wait 8 s at most, and try an exhausted quota again. So they are switched
off, and `wait_before_retry` decides.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from random import random
from typing import Any

from steper.errors import ModelError
from steper.lm.base import FatalModelError, TooLongError
from steper.lm.openai_answers import BadAnswerError
from steper.text import seconds_to_wait

FIRST_WAIT = 0.5
LONGEST_WAIT = 60.0
RETRIED = (408, 409, 425, 429)
PASSING = (*RETRIED, 502, 503, 504)
FATAL_STATUS = {
    401: "the server refused the key",
    402: "the account cannot pay",
    403: "the key may not use this model",
    404: "no such model or address",
}
NO_THINKING = 'extra_body {"chat_template_kwargs": {"enable_thinking": false}}'
WAYS_OUT = {
    "stop": "; leave it out with send_stop: false",
    "temperature": "; leave it out with send_temperature: false",
    "top_p": "; leave it out with send_temperature: false",
    "seed": "; leave it out with send_temperature: false",
    "max_tokens": "; set max_tokens_field: max_completion_tokens",
    "logprobs": "; lower top_logprobs (OpenAI's completions give 5), or use another server",
    "top_logprobs": "; lower top_logprobs, or use another server",
}
"""What to do about a field that a model does not take (o3, gpt-5)."""
_TOO_LONG = re.compile(
    r"context[_ ](length|size|window)|longer than|too (long|large|many tokens)", re.IGNORECASE
)
"""How OpenAI, vLLM, SGLang and llama.cpp say that a prompt has no room."""
FATAL_CODES = ("insufficient_quota", "model_not_found", "invalid_api_key")


def wait_before_retry(error: Exception, attempt: int, longest_asked: float) -> float | None:
    """Seconds until the next try after try number `attempt` (from 0); None: do not try again.

    429, 408, 409, 425, 5xx, answers that are none, time-outs and lost connections are tried again:
    after the server's Retry-After, if it has one of at most `longest_asked` seconds, else after
    0.5 s, doubled each time up to 60 s, less a random quarter.
    """
    if is_fatal(error):
        return None
    status = getattr(error, "status_code", None)
    if status is not None:
        if not (status in RETRIED or status >= 500):
            return None
        asked = retry_after(getattr(error.response, "headers", {}))  # type: ignore[attr-defined]
        if asked is not None:
            return asked if asked <= longest_asked else None
    backoff = min(FIRST_WAIT * 2.0 ** min(attempt, 30), LONGEST_WAIT)
    return backoff * (1 - 0.25 * random())


def retry_after(headers: Any) -> float | None:
    """Seconds that a response asks to wait (`retry-after-ms`, `retry-after` as number or date)."""
    milliseconds = seconds_to_wait(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    return seconds_to_wait(headers.get("retry-after", ""))


def is_fatal(error: Exception) -> bool:
    """Whether no request with these settings can succeed."""
    code, status = getattr(error, "code", None), getattr(error, "status_code", None)
    if isinstance(error, BadAnswerError):  # its code is a name, or the status that it deserved
        return isinstance(code, (int, str)) and (code in FATAL_STATUS or code in FATAL_CODES)
    return status in FATAL_STATUS or code in FATAL_CODES


def is_of_the_server(error: Exception) -> bool:
    """Whether another server may do better: all but what is wrong with the request itself."""
    status = getattr(error, "status_code", None)
    if status is None or is_fatal(error):
        return True
    return bool(status in RETRIED or status >= 500)


def is_passing(error: Exception) -> bool:
    """Whether the failure says nothing of the request itself: no answer, or not now."""
    status = getattr(error, "status_code", None)
    if isinstance(error, BadAnswerError):
        return error.code in PASSING
    return status is None or status in PASSING


def explain(
    error: Exception, name: str, address: str, tries: int, hide: Callable[[str], str]
) -> ModelError:
    """The ModelError, of one line, for a call that is not tried again; `hide` takes out secrets."""
    tried = f" (tried {tries} times)" if tries > 1 else ""
    status = getattr(error, "status_code", None)
    said = _one_line(hide(_server_message(error)))
    if is_fatal(error):
        code: Any = status or getattr(error, "code", None)
        what = FATAL_STATUS.get(code, "the server will not serve this account")
        return FatalModelError(f"{name}: {what}: {code} from {address}: {said}")
    if isinstance(error, BadAnswerError):
        return ModelError(f"{name}: {address} answered{tried} {said}")
    if status is not None:
        asked = retry_after(error.response.headers)  # type: ignore[attr-defined]
        wait = f"; it asks to wait {asked:.0f} s" if asked else ""
        too_long = status in (400, 413, 422) and _TOO_LONG.search(said)
        return (TooLongError if too_long else ModelError)(
            f"{name}: {status} from {address}{tried}: {said}{wait}{_way_out(error, said)}"
        )
    if is_timeout(error):
        return ModelError(f"{name}: no answer from {address} in time{tried}; raise timeout")
    cause = _one_line(hide(str(error.__cause__ or error))) or type(error).__name__
    if _unreachable(error):
        return unreachable(name, address, f"{cause}{tried}")
    return ModelError(f"{name}: the connection to {address} broke{tried}: {cause}")


def in_short(error: Exception, hide: Callable[[str], str]) -> str:
    """A failure that is tried again, for the log."""
    if is_timeout(error):
        return "no answer in time"
    return _one_line(hide(str(error))) or type(error).__name__


def is_timeout(error: Exception) -> bool:
    """Whether the time for an answer was up, by our clock or the SDK's."""
    return isinstance(error, asyncio.TimeoutError) or type(error).__name__ == "APITimeoutError"


def _way_out(error: Exception, said: str) -> str:
    """What to set where a server refuses a field of the request."""
    if "enable_thinking" in said:
        return f"; switch thinking off: {NO_THINKING}"
    return WAYS_OUT.get(str(getattr(error, "param", None)), "")


def unreachable(name: str, address: str, why: str) -> FatalModelError:
    """The error for a server that is not there."""
    return FatalModelError(
        f"{name}: {address} cannot be reached: {why}; is the server running, and is this its "
        "address?"
    )


def _unreachable(error: BaseException | None) -> bool:
    """Whether the connection was never made (the SDK's error has httpx's as its cause)."""
    while error is not None:
        if type(error).__name__ == "ConnectError":
            return True
        error = error.__cause__
    return False


def _server_message(error: Exception) -> str:
    body = getattr(error, "body", None)
    if isinstance(body, dict):
        for key in ("message", "detail", "error"):
            if body.get(key):
                return str(body[key])
    return str(body or error)


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]
