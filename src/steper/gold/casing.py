"""Capitals for questions typed in lower case, learnt from the passages and the full question.

"when did the admiral twin open in Tulsa" + a text about the Admiral Twin → "when did the Admiral
Twin open in Tulsa".
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from steper.gold.alignment import without_qualifier

_SMALL = r"(?:of|the|in|a|an|and|for|on|to|de|at)"
_NAME = r"[A-Z][\w’'.-]*"
_RUN = re.compile(rf"\b{_NAME}(?:\s+{_NAME})+")
_LONG_RUN = re.compile(rf"\b{_NAME}(?:\s+(?:{_SMALL}\s+){{0,2}}{_NAME})+")
_LONE = re.compile(rf"(?<=[a-z,;(] )({_NAME})(?!\s+[A-Z])")
_PHRASES = ("US state", "United States", "United Kingdom", "New York", "World War")
_KNOWN = {"uk": "UK", "usa": "USA", "u.s.": "U.S.", "u.s": "U.S.", "gdp": "GDP"}


def typed_in_lower_case(question: str) -> bool:
    """Whether a question (with its `#1` references) has no capital after its first letter."""
    return not re.search(r"[A-Z]", question[1:])


def restore_case(question: str, titles: Sequence[str], texts: Sequence[str]) -> str:
    """`question` with names written as in titles and texts: whole names first, then lone words."""
    text = " \n ".join(texts)
    runs = {
        *_PHRASES,
        *map(without_qualifier, titles),
        *_RUN.findall(text),
        *_LONG_RUN.findall(text),
    }
    for run in sorted(runs, key=lambda name: (len(name), name), reverse=True):
        run = re.sub(r"['’]s$", "", run).rstrip(".")
        if not re.search(rf"[a-z,] {re.escape(run)}", text):
            # Only a sentence's beginning: its first word may owe its capital to that.
            run = re.sub(r"^(The|A|An|In|On|At) ", "", run)
        if len(run) > 3 and " " in run and run != run.lower():
            pattern = rf"(?<![\w#]){re.escape(run)}(?!\w)"
            question = re.sub(pattern, run.replace("\\", r"\\"), question, flags=re.I)
    lone = {re.sub(r"['’]s$", "", w).rstrip(".'’") for w in (*_LONE.findall(text), *titles)}
    common = set(re.findall(r"\b[a-z][\w-]*", text))

    def word(found: re.Match[str]) -> str:
        own = found.group(0)
        named = own[:1].upper() + own[1:]
        if own in _KNOWN:
            return _KNOWN[own]
        if re.fullmatch(_SMALL, own):
            return own
        return named if own.islower() and named in lone and own not in common else own

    return re.sub(r"[^\W\d_][\w.]*\w|[^\W\d_]", word, question)
