"""From IRCoT's reasoning to its next query, by the rules of its authors' code."""

from __future__ import annotations

import re

_REASONING_START = re.compile(r"(thus|so|that is|therefore|hence)\b", re.IGNORECASE)
_ARITHMETIC = re.compile(r"(?<![\d,.])\d[\d,.]*\s*[-+*/×÷−]\s*\d[\d,.]*\s*=\s*\d")
_WH_WORDS = frozenset(["who", "what", "when", "where", "why", "which", "how", "does", "is"])


def is_reasoning(sentence: str) -> bool:
    """Whether a sentence only concludes (thus, so, that is, therefore, hence) or calculates.

    Such a sentence names nothing to search for; IRCoT takes the one before as the query.
    """
    return bool(_REASONING_START.match(sentence.strip()) or _ARITHMETIC.search(sentence))


def without_wh_words(text: str) -> str:
    """`text` without who, what, when, where, why, which, how, does, is (IRCoT's query rule)."""
    return " ".join(w for w in text.split() if w.lower().strip(".,?!") not in _WH_WORDS)
