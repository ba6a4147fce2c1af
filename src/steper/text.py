"""Small text functions that more than one stage needs."""

from __future__ import annotations

import re

ANSWER_PATTERN = r"(?is)\banswer is\s*:?\s*(.*)"
"""The group is what follows "answer is:"."""

_STATED_AGAIN = re.compile(
    r"(?:the (?:final )?answer is\s*:"
    r"|.*(?:[.,;!?]|\band|\bso)\s+(?:so,? |and )?the (?:final )?answer is\s*:?)\s*(.+)",
    re.IGNORECASE,
)
_REASONING_START = re.compile(r"(thus|so|that is|therefore|hence)\b", re.IGNORECASE)
_ARITHMETIC = re.compile(r"\d[\d,.]*\s*[-+*/×÷−]\s*\d[\d,.]*\s*=\s*\d")
_ABBREVIATION = re.compile(r"(\b[^\W\d]\.[^\W\d]\.|\b(Jr|Sr|Inc|Ltd|Co|Corp|Bros|St|vs|etc)\.)$")
_WH_WORDS = frozenset(["who", "what", "when", "where", "why", "which", "how", "does", "is"])


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


def stated_answer(text: str, pattern: str = ANSWER_PATTERN) -> str | None:
    """What follows "answer is:" in a rationale, or None where it says no such thing.

    IRCoT stops at `.* answer is:? (.*)\\.?`: only the rest of the line counts, and where its
    sentences state an answer again, the last one. A Markdown emphasis around the answer is taken
    off. `pattern` may be another; its group is the answer.
    """
    found = re.search(pattern, text)
    if not found:
        return None
    lines = found.group(1).strip().splitlines()
    if lines and pattern == ANSWER_PATTERN and (again := _STATED_AGAIN.match(lines[0])):
        lines = [again.group(1)]
    return strip_full_stop(strip_full_stop(lines[0]).strip("* ")) if lines else ""


def is_reasoning(sentence: str) -> bool:
    """Whether a sentence only concludes (thus, so, that is, therefore, hence) or calculates.

    Such a sentence names nothing to search for; IRCoT takes the one before as the query.
    """
    return bool(_REASONING_START.match(sentence.strip()) or _ARITHMETIC.search(sentence))


def without_wh_words(text: str) -> str:
    """`text` without who, what, when, where, why, which, how, does, is (IRCoT's query rule)."""
    return " ".join(w for w in text.split() if w.lower().strip(".,?!") not in _WH_WORDS)


def normalise_space(text: str) -> str:
    """Lower-cased text with single spaces, for comparing queries and titles."""
    return " ".join(text.lower().split())


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
