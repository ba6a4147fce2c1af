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


def without_surrogates(text: str) -> str:
    """`text` as UTF-8 can hold it: halves of a surrogate pair are joined, lone ones become �."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def limit_words(text: str, limit: int) -> tuple[str, bool]:
    """At most the first `limit` words of a text, and whether any were cut."""
    words = text.split(" ")
    return (text, False) if len(words) <= limit else (" ".join(words[:limit]), True)


def snippet(text: str, length: int) -> str:
    """The start of a text on one line, cut at a word and marked with … where it goes on."""
    line = " ".join(text.split())
    if len(line) <= length:
        return line
    return line[: length - 1].rsplit(" ", 1)[0] + "…"


def brief(name: str, *parts: object) -> str:
    """`Name(part, part)`, what a `repr` is: one line, of which the first 100 characters stay."""
    line = " ".join(f"{name}({', '.join(map(str, parts))})".split())
    return line if len(line) <= 100 else f"{line[:98]}…)"


def percent(fraction: float) -> str:
    """A fraction as a percentage with one decimal: 0.61 -> 61.0, 1.0 -> 100."""
    text = f"{100 * fraction:.1f}"
    return "100" if text == "100.0" else text


def percent_within(value: float, low: float, high: float) -> str:
    """A fraction with its interval as percentages: `61.0 [56.8, 65.2]`."""
    return f"{percent(value)} [{percent(low)}, {percent(high)}]"
