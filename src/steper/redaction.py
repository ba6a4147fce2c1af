"""Secrets taken out of whatever is written or shown: keys that servers repeat, keys in addresses.

A key gets into a run's files in two ways: the user gives an address that holds it
(`http://user:password@host/retrieve?api_key=…`), or a server says it back in an answer or an error.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote, unquote, urlsplit

HIDDEN = "[hidden]"

SHORT, LONG = 6, 16
"""Letters of the shortest secret: with a digit or sign in it, and without."""

_ADDRESS = re.compile(r"\b[a-z][a-z0-9+.-]{0,20}://[^\s'\"<>]+", re.IGNORECASE)
_USER = re.compile(r"(?<=://)[^/?#@]*@")
_NAME = r"(?:[^=&?#]*(?:key|token|secret|passw|pwd|auth|sig|credential|jwt)[^=&?#]*|code)"
_PARAMETER = re.compile(rf"(?<=[?&])({_NAME})=[^&#]+", re.IGNORECASE)
_SECRET_NAME = re.compile(_NAME, re.IGNORECASE)


def hider(secrets: Iterable[str]) -> Callable[[Any], Any]:
    """A function that puts `[hidden]` in place of each secret in every string of a JSON value.

    Stand-ins that people set where a server needs no key ("none", "EMPTY", "ollama") are words,
    and words stand in texts: a short value of letters alone is no secret.
    """
    hidden = sorted(
        {s for s in secrets if len(s) >= (LONG if s.isalpha() else SHORT)},
        key=len,
        reverse=True,
    )

    def hide(text: str) -> str:
        for secret in hidden:
            text = text.replace(secret, HIDDEN)
        return text

    return (lambda value: each_string(value, hide)) if hidden else lambda value: value


def secrets_in(address: str) -> list[str]:
    """User name, password and keys that a web address holds, in each form that they are sent in."""
    parts = urlsplit(address)
    found = [parts.username or "", parts.password or ""]
    if all(found):
        found.append(b64encode(unquote(":".join(found)).encode()).decode())
    for parameter in parts.query.split("&"):
        name, _, value = parameter.partition("=")
        if _SECRET_NAME.fullmatch(name):
            found.append(value)
    written = ((value, unquote(value)) for value in found if value)
    return [form for value, plain in written for form in {value, plain, quote(plain, safe="")}]


def without_secrets(value: Any) -> Any:
    """A JSON value whose web addresses hold no user name, password or key any more.

    `http://me:1@host/retrieve?index=a&api_key=2` is `http://[hidden]@host/retrieve?index=a&
    api_key=[hidden]`.
    """
    return each_string(value, lambda text: _ADDRESS.sub(_hidden_in, text))


def _hidden_in(address: re.Match[str]) -> str:
    without_user = _USER.sub(f"{HIDDEN}@", address.group(), count=1)
    return _PARAMETER.sub(rf"\1={HIDDEN}", without_user)


def each_string(value: Any, change: Callable[[str], str]) -> Any:
    """A JSON value with every string of it changed, keys included."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {each_string(k, change): each_string(item, change) for k, item in value.items()}
    return [each_string(item, change) for item in value] if isinstance(value, list) else value
