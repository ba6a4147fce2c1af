"""Where a server is and with which key: checked before the first request."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from urllib.parse import parse_qsl, urlsplit
from urllib.request import getproxies, proxy_bypass

from steper.lm.base import FatalModelError
from steper.lm.openai_errors import unreachable
from steper.redaction import without_secrets

OPENAI_URL = "https://api.openai.com/v1"
CONNECT_SECONDS = 10.0


def find_urls(name: str, base_url: Sequence[str] | None) -> list[str]:
    """The addresses in the settings, that in the environment, or OpenAI's own.

    Raises FatalModelError for what is no web address, or comes twice.
    """
    if base_url is not None and not base_url:
        raise FatalModelError(f"{name}: base_url names no server; leave it out for OpenAI's own")
    urls = base_url or [os.environ.get("OPENAI_BASE_URL") or OPENAI_URL]
    for url in urls:
        _check_address(name, url, base_url)
    bare = [url.rstrip("/") for url in urls]
    if double := next((url for n, url in enumerate(bare) if url in bare[:n]), None):
        raise FatalModelError(f"{name}: base_url names {without_password(double)} twice")
    return list(urls)


def _check_address(name: str, url: str, base_url: Sequence[str] | None) -> None:
    try:
        if urlsplit(url).scheme in ("http", "https"):
            return
    except ValueError:
        pass
    place = "base_url" if base_url else "the environment variable OPENAI_BASE_URL"
    raise FatalModelError(
        f"{name}: {place} is {without_secrets(url)!r}; http://HOST:PORT/v1 was expected"
    )


def without_password(url: str) -> str:
    """The URL without user name, password and query, which may hold a key."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def without_query(url: str) -> str:
    """The URL up to its path, behind which the SDK puts its own."""
    return urlsplit(url)._replace(query="", fragment="").geturl()


def query_of(url: str) -> dict[str, object]:
    """The URL's parameters (`api-version=…`, `api_key=…`), which go with each request."""
    return dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))


def key_of(name: str, url: str, variable: str) -> str:
    """The key in the environment; servers at http:// need none. Raises FatalModelError."""
    key = os.environ.get(variable, "").strip()
    if not key and url.startswith("https://"):
        raise FatalModelError(
            f"{name}: the environment variable {variable} is not set, and "
            f"{without_password(url)} needs a key; set {variable}, or api_key_env to the variable "
            "that holds it"
        )
    if not (key.isascii() and key.isprintable()):
        raise FatalModelError(
            f"{name}: the environment variable {variable} holds characters that no key has; "
            "set it to the key alone"
        )
    return key or "none"


def check_reachable(name: str, url: str) -> None:
    """Open and close one connection, unless a proxy stands between. Raises FatalModelError."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme in getproxies() and not proxy_bypass(host):
        return
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        raise unreachable(name, without_password(url), str(error)) from None
