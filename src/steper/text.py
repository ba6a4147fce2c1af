"""Small text functions that more than one stage needs."""

from __future__ import annotations

import math
import re
import string
import time
import unicodedata
from collections.abc import Mapping
from email.utils import mktime_tz, parsedate_tz

_ABBREVIATION = re.compile(r"(\b[^\W\d]\.[^\W\d]\.|\b(Jr|Sr|Inc|Ltd|Co|Corp|Bros|St|vs|etc)\.)$")


ANSWER_HEADING = (
    r"(?:#{1,6}\s{0,3}(?:\*\*)?(?:the )?(?:final |short |correct |my )?answer"
    r"|(?:\*\*)?(?:final )?answer)"
    r"(?:\*\*)?"
)
"""A pattern for a line of its own that announces the answer: "### Final Answer", "**Answer**"."""

_ORDINAL, _CLUB = re.compile(r"(?:^|\s)1\.$"), re.compile(r"(?:F?FC|FSV)\b")

_BLOCK = 1000
"""Characters that the sentence splitter sees at a time: unpaired quotes make it quadratic."""


def sentences(text: str) -> list[str]:
    """The sentences of an English text, without white space around them.

    Abbreviations do not end one: "St. Louis", "U.S. Army", "Dr. King".
    """
    from sentencex import segment

    said: list[str] = []
    while text:
        block = text
        if len(text) > _BLOCK:
            block = text[: text.rfind(" ", 1, _BLOCK) + 1 or _BLOCK]
        pieces = _joined([clean for piece in segment("en", block) if (clean := piece.strip())])
        end = len(block)
        if end < len(text) and len(pieces) > 1:
            # The last one may go on in the next block.
            end = block.rfind(pieces.pop())
        said += pieces
        text = text[end:]
    return said


def _joined(pieces: list[str]) -> list[str]:
    """The sentences with "1. FC Köln", "the director of Help! was born" and ": ...Baby One More
    Time" in one piece.
    """
    said: list[str] = []
    for piece in pieces:
        if said and (
            (_CLUB.match(piece) and _ORDINAL.search(said[-1]))
            or (piece[0].islower() and said[-1].endswith(("!", "?")))
            or said[-1].endswith((": ...", ": …"))
        ):
            said[-1] += f" {piece}"
        else:
            said.append(piece)
    return said


def strip_full_stop(text: str) -> str:
    """`text` without its closing full stop; one that belongs to an abbreviation stays."""
    text = text.strip()
    if text.endswith("..") or (text.endswith(".") and not _ABBREVIATION.search(text)):
        return text[:-1].rstrip()
    return text


def bare(text: str) -> str:
    """A text to compare with others: blanks as single ones, no closing full stop."""
    return strip_full_stop(normalise_space(text))


def one_line(text: object, longest: int) -> str:
    """The beginning of a text on one line: of what another program says, for a message."""
    return " ".join(str(text).split())[:longest]


def normalise_space(text: str) -> str:
    """Lower-cased text with single spaces, for comparing queries and titles."""
    return " ".join(text.lower().split())


def unquoted(title: str) -> str:
    """A title without the quotation marks around it; those within it stay.

    `""Heroes" (album)"` is `"Heroes" (album)`; `"A" and "B"` quotes its words, not itself.
    """
    if len(title) < 2 or not title[0] == title[-1] == '"':
        return title
    inner = title[1:-1]
    first = inner.find('"')
    closes = first > 0 and not inner[first - 1].isspace() and inner[first - 1] != "("
    return title if closes and inner.count('"') % 2 == 0 else inner.strip()


_PUNCTUATION = frozenset(string.punctuation)


def says_nothing(answer: str) -> bool:
    """Whether an answer holds no letter, digit or symbol: "-", "?", white space, zero-width space.

    ASCII punctuation, symbols such as + among it, counts for nothing: all benchmarks delete it
    before they score, so that an empty prediction would be right. "The", of which they leave
    nothing either, is an answer, and is scored as their scripts do.
    """
    return not any(c not in _PUNCTUATION and unicodedata.category(c)[0] in "LNS" for c in answer)


def without_surrogates(text: str) -> str:
    """`text` as UTF-8 can hold it: halves of a surrogate pair are joined, lone ones become �."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Characters that a terminal obeys: C0 but for tabs and line breaks, C1, changes of direction."""


def visible(text: str) -> str:
    r"""`text` with what a terminal would obey written out: the escape character becomes `\x1b`."""
    return _CONTROL.sub(lambda c: c.group().encode("unicode_escape").decode(), text)


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


def seconds_to_wait(asked: str) -> float | None:
    """Seconds from now that a Retry-After header says, as a number or a date; None if neither."""
    try:
        seconds = float(asked)
    except ValueError:
        date = parsedate_tz(asked)
        seconds = math.nan if date is None else mktime_tz(date) - time.time()
    return max(0.0, seconds) if math.isfinite(seconds) else None


def brief(name: str, *parts: object) -> str:
    """`Name(part, part)`, what a `repr` is: one line, of which the first 100 characters stay."""
    line = " ".join(f"{name}({', '.join(map(str, parts))})".split())
    return line if len(line) <= 100 else f"{line[:98]}…)"


def counted(numbers: Mapping[str, int]) -> str:
    """`12 init, 22 exp`: how many of each there are; of what there is none is not said."""
    return ", ".join(f"{number} {name}" for name, number in numbers.items() if number)


def percent(fraction: float) -> str:
    """A fraction as a percentage with one decimal: 0.61 -> 61.0, 1.0 -> 100."""
    text = f"{100 * fraction:.1f}"
    return "100" if text == "100.0" else text


def points(fraction: float) -> str:
    """Percentage points with one decimal; `> 100` for what no two scores can differ by."""
    return f"{100 * fraction:.1f}" if fraction <= 1 else "> 100"


def percent_within(value: float, low: float, high: float) -> str:
    """A fraction with its interval as percentages: `61.0 [56.8, 65.2]`."""
    return f"{percent(value)} [{percent(low)}, {percent(high)}]"
