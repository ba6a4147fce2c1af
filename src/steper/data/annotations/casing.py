"""Capitals for questions typed in lower case, learnt from the passage that answers them.

"when did the admiral twin open in Tulsa" + a passage about the Admiral Twin → "when did the Admiral
Twin open in Tulsa".
"""

from __future__ import annotations

import re

from steper.data.annotations.alignment import without_qualifier
from steper.data.annotations.verbs import is_base, is_past

_SMALL = r"(?:of|the|in|a|an|and|for|on|to|de|at|is)"
_RUN = re.compile(rf"\b[A-Z][\w’'.-]*(?:\s+(?:{_SMALL}\s+){{0,2}}[A-Z][\w’'.-]*)+")
_KNOWN = {"uk": "UK", "usa": "USA", "u.s.": "U.S.", "u.s": "U.S.", "gdp": "GDP"}


def typed_in_lower_case(question: str) -> bool:
    """Whether a question (with its `#1` references) has no capital after its first letter."""
    return not re.search(r"[A-Z]", question[1:])


def restore_case(question: str, title: str, text: str) -> str:
    """`question` with names written as in the passage: whole runs of capitals first, then words."""
    for run in sorted({without_qualifier(title), *_RUN.findall(text)}, key=len, reverse=True):
        run = re.sub(r"['’]s$", "", run).rstrip(".")
        if len(run) > 3 and run != run.lower():
            pattern = rf"(?<![\w#]){re.escape(run)}(?!\w)"
            question = re.sub(pattern, lambda _, name=run: name, question, flags=re.I)
    return re.sub(r"[^\W\d_][\w.]*", lambda found: _word(found.group(0), text), question)


def _word(word: str, text: str) -> str:
    if word in _KNOWN:
        return _KNOWN[word]
    if not word.islower() or len(word) < 3 or is_base(word) or is_past(word):
        return word
    named = word[:1].upper() + word[1:]
    inside = re.search(rf"[a-z,;’'\"(] \(?{re.escape(named)}\b", text)
    return named if inside and not re.search(rf"\b{re.escape(word)}\b", text) else word
