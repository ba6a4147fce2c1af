"""Which gold passage states which evidence triple.

2Wiki's triples name their subject as Wikidata does ("Get Low"), its supporting facts the passage by
its Wikipedia title ("Get Low (Dillon Francis and DJ Snake song)"), and now and then the two have
no word in common ("Gertrude Forbes-Robertson", "Gertrude Elliott"). In the official files the n-th
fact belongs to the n-th triple; a title that fits another triple's subject better decides first.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from rapidfuzz import fuzz

from steper.records import Passage

EXACT, STRIPPED, TEXT, POSITION, FUZZY = 100.0, 60.0, 15.0, 30.0, 40.0


def fold_to_words(text: str) -> str:
    """Lower case without accents, punctuation and doubled spaces, for comparing names."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    kept = "".join(c if c.isalnum() else " " for c in plain if not unicodedata.combining(c))
    return " ".join(kept.split())


def without_qualifier(title: str) -> str:
    """A title without its closing parenthesis: `Petra (film)` → `Petra`."""
    return re.sub(r"\s*\([^()]*\)\s*$", "", title) or title


def align_triples(
    triples: Sequence[tuple[str, str, str]], facts: Sequence[Passage]
) -> list[Passage | None]:
    """For each triple the passage, of those of the supporting facts, that states it, or None."""
    aligned = len(triples) == len(facts)
    found: list[Passage | None] = []
    for position, (subject, _, answer) in enumerate(triples):
        if aligned and _similarity(subject, facts[position].title) >= STRIPPED:
            found.append(facts[position])
            continue
        best: tuple[float, Passage | None] = (0.0, None)
        for place, passage in enumerate(facts):
            score = _similarity(subject, passage.title) + _mentions(subject, answer, passage)
            score += POSITION if aligned and place == position else 0.0
            if score > best[0]:
                best = (score, passage)
        found.append(best[1] if best[0] >= POSITION else None)
    return found


def _similarity(subject: str, title: str) -> float:
    if fold_to_words(subject) == fold_to_words(title):
        return EXACT
    if fold_to_words(without_qualifier(subject)) == fold_to_words(without_qualifier(title)):
        return STRIPPED
    ratio = fuzz.token_set_ratio(fold_to_words(subject), fold_to_words(title))
    return FUZZY * (ratio - 60) / 40 if ratio > 60 else 0.0


def _mentions(subject: str, answer: str, passage: Passage) -> float:
    text = fold_to_words(passage.text)
    return TEXT * (fold_to_words(answer) in text) + TEXT / 3 * (fold_to_words(subject) in text)
