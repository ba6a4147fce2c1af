"""What a failed call to an OpenAI-compatible server means: try again, give up, or end the run.

The SDK's own retries are not enough: they replace (openai 2) or refuse (openai 3) a Retry-After of
more than 60 or 120 s, wait 8 s at most, and try an exhausted quota again. So they are switched
off, and `wait_before_retry` decides.
"""

from __future__ import annotations

from random import random
from typing import Any

from steper.errors import ModelError
from steper.lm.base import FatalModelError
from steper.text import seconds_to_wait

FIRST_WAIT = 0.5
LONGEST_WAIT = 60.0
RETRIED = (408, 409, 425, 429)
FATAL_STATUS = {
    401: "the server refused the key",
    402: "the account cannot pay",
    403: "the key may not use this model",
    404: "no such model or address",
}
FATAL_CODES = ("insufficient_quota", "model_not_found", "invalid_api_key")


def wait_before_retry(error: Exception, attempt: int, longest_asked: float) -> float | None:
    """Seconds until the next try after try number `attempt` (from 0); None: do not try again.

    429, 408, 409, 425, 5xx, time-outs and lost connections are tried again: after the server's
    Retry-After, if it has one of at most `longest_asked` seconds, else after 0.5 s, doubled each
    time up to 60 s, less a random quarter.
    """
    status = getattr(error, "status_code", None)
    if status is not None:
        if not (status in RETRIED or status >= 500) or is_fatal(error):
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
    code = getattr(error, "code", None)
    return getattr(error, "status_code", None) in FATAL_STATUS or code in FATAL_CODES


def explain(error: Exception, name: str, address: str, tries: int) -> ModelError:
    """The ModelError, of one line, for a call that is not tried again."""
    tried = f" (tried {tries} times)" if tries > 1 else ""
    status = getattr(error, "status_code", None)
    said = _one_line(_server_message(error))
    if status is not None:
        if is_fatal(error):
            what = FATAL_STATUS.get(status, "the server will not serve this account")
            return FatalModelError(f"{name}: {what}: {status} from {address}: {said}")
        asked = retry_after(error.response.headers)  # type: ignore[attr-defined]
        wait = f"; it asks to wait {asked:.0f} s" if asked else ""
        return ModelError(f"{name}: {status} from {address}{tried}: {said}{wait}")
    if type(error).__name__ == "APITimeoutError":
        return ModelError(f"{name}: no answer from {address} in time{tried}; raise timeout")
    cause = _one_line(str(error.__cause__ or error)) or type(error).__name__
    if _unreachable(error):
        return unreachable(name, address, f"{cause}{tried}")
    return ModelError(f"{name}: the connection to {address} broke{tried}: {cause}")


def unreachable(name: str, address: str, why: str) -> FatalModelError:
    """The error for a server that is not there."""
    return FatalModelError(
        f"{name}: {address} cannot be reached: {why}; is the server running, is base_url right?"
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
