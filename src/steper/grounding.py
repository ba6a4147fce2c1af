"""How much of a rationale stands on what it was given: its names and numbers, looked up.

In: a text and what it was given. Out: the share of its telling words found there, or whether one
passage supports it.

A word tells something when it begins with a capital letter or holds a digit, and is no function
word or marker of a strategy ("The", "So", "Follow up"). It is grounded when the same word, apart
from case and accents, stands in what the step was given. Words in lower case are not looked at.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Literal

_WORD = re.compile(r"[^\W_]+")
_MARKERS = frozenset(["follow", "up", "intermediate", "answer", "final", "yes", "no"])
_FUNCTION_WORDS = frozenset(
    re.findall(
        r"\w+",
        """
        a about after all also although an and are as at because before both but by did do does
        during each either every first for from had has have he hence her his how however i if in
        into is it its later neither next not of on one or other our second she since so some than
        that the their then there therefore these they this those though thus to two under was we
        were what when where whereas which while who whom whose why with
        """,
    )
)


Support = Literal["full", "partial", "none"]
"""Whether a passage holds a statement, a part of what it tells, or nothing of it."""


def fold(text: str) -> str:
    """A text without case and accents."""
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in decomposed if not unicodedata.combining(c))


def telling_words(text: str) -> list[str]:
    """The names and numbers of a text, folded, in order and with repeats."""
    return [
        folded
        for word in _WORD.findall(unicodedata.normalize("NFC", text))
        if word[0].isupper() or any(c.isdigit() for c in word)
        for folded in _WORD.findall(fold(word))
        if folded not in _FUNCTION_WORDS | _MARKERS
    ]


def grounded_share(text: str, given: Iterable[str]) -> float:
    """The share of a text's telling words that stand in what was given; 1 where it has none."""
    telling = telling_words(text)
    if not telling:
        return 1.0
    known = {word for source in given for word in _WORD.findall(fold(source))}
    return sum(word in known for word in telling) / len(telling)


def says_anew(statement: str, known: Iterable[str] = ()) -> bool:
    """Whether a statement has a name or number that was not known."""
    before = {word for text in known for word in _WORD.findall(fold(text))}
    return any(word not in before for word in telling_words(statement))


def stands_whole(statement: str, passage: str) -> bool:
    """Whether a statement has names or numbers, and a passage all of them."""
    telling, here = telling_words(statement), set(_WORD.findall(fold(passage)))
    return bool(telling) and all(word in here for word in telling)


def lexical_support(statement: str, passage: str, known: Iterable[str] = ()) -> Support:
    """Whether a passage holds the names and numbers of a statement.

    `full`: all of them, and something that was not `known` (the question, what was said before).
    `partial`: something that was not known. A statement without names and numbers, or with none
    that is new, stands on no passage.
    """
    telling = telling_words(statement)
    before = {word for text in known for word in _WORD.findall(fold(text))}
    here = set(_WORD.findall(fold(passage)))
    if not any(word in here for word in telling if word not in before):
        return "none"
    return "full" if stands_whole(statement, passage) else "partial"
