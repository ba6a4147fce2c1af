"""Small text functions that more than one stage needs."""

from __future__ import annotations

import re

_ABBREVIATION = re.compile(r"(\b[^\W\d]\.[^\W\d]\.|\b(Jr|Sr|Inc|Ltd|Co|Corp|Bros|St|vs|etc)\.)$")


def sentences(text: str) -> list[str]:
    """The sentences of an English text, without white space around them.

    Abbreviations do not end one: "St. Louis", "U.S. Army", "Dr. King".
    """
    from sentencex import segment

    return [clean for piece in segment("en", text) if (clean := piece.strip())]


def strip_full_stop(text: str) -> str:
    """`text` without its closing full stop; one that belongs to an abbreviation stays."""
    text = text.strip()
    if text.endswith("..") or (text.endswith(".") and not _ABBREVIATION.search(text)):
        return text[:-1].rstrip()
    return text


def normalise_space(text: str) -> str:
    """Lower-cased text with single spaces, for comparing queries and titles."""
    return " ".join(text.lower().split())


def limit_words(text: str, limit: int) -> tuple[str, bool]:
    """At most the first `limit` words of a text, and whether any were cut."""
    words = text.split(" ")
    return (text, False) if len(words) <= limit else (" ".join(words[:limit]), True)
