"""What a comparison concludes, as a clause that ends the last hop's sentence."""

from __future__ import annotations

import re

from steper.gold.names import quoted

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")

Date = tuple[int, int, int]


def parse_date(text: str) -> Date | None:
    """(year, month, day) of a date in words, 0 where it does not say; None without a year."""
    year = re.search(r"\b(\d{3,4})\b", text)
    if year is None or re.search(r"\bBC", text):
        return None
    month = re.search(rf"\b({'|'.join(_MONTHS)})", text.lower())
    day = re.search(r"\b(\d{1,2})\b", text)
    return (
        int(year[1]),
        _MONTHS.index(month[1]) + 1 if month else 0,
        int(day[1]) if day else 0,
    )


def date_clause(own: str, other: str, other_subject: str) -> str:
    """`, later than Ray Enright`; nothing where the dates cannot be put in order."""
    first, second = parse_date(own), parse_date(other)
    if first is None or second is None:
        return ""
    pair = [(a, b) for a, b in zip(first, second, strict=True) if a and b]
    mine, theirs = [a for a, _ in pair], [b for _, b in pair]
    if mine == theirs:
        return ""
    return f", {'earlier' if mine < theirs else 'later'} than {quoted(other_subject)}"


def country_clause(answer: str, relation: str, bridge: bool) -> str:
    """`, so the two directors are not from the same country`, as the gold answer says."""
    if answer not in ("yes", "no"):
        return ""
    them = "the two directors" if bridge else "the two"
    negation = "" if answer == "yes" else "not "
    place = "in" if relation == "country" else "from"
    return f", so {them} are {negation}{place} the same country"
