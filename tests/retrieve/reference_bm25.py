"""Lucene's BM25 as plainly as it can be written: what the index's scores are held against.

Robertson and Zaragoza (2009) as Lucene computes it ("Lucene (accurate)" in Kamphuis, de Vries,
Boytsov and Lin, ECIR 2020). Slow, in double precision, and on nothing but the standard library.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict


class ReferenceField:
    """One field of a corpus: `documents` are lists of terms; an empty one lacks the field."""

    def __init__(self, documents: list[list[str]], k1: float, b: float) -> None:
        self.k1 = k1
        self.b = b
        self.lengths = [len(terms) for terms in documents]
        self.n = sum(1 for length in self.lengths if length > 0)
        self.average = sum(self.lengths) / self.n if self.n else 0.0
        self.frequencies: dict[str, dict[int, int]] = defaultdict(dict)
        for document, terms in enumerate(documents):
            for term, tf in Counter(terms).items():
                self.frequencies[term][document] = tf
        self._weights: dict[str, dict[int, float]] = {}

    def weights(self, term: str) -> dict[int, float]:
        """What the term is worth in each document that has it (kept for the next query)."""
        if term not in self._weights:
            found = self.frequencies.get(term, {})
            idf = math.log(1 + (self.n - len(found) + 0.5) / (len(found) + 0.5))
            self._weights[term] = {
                document: idf * tf / (tf + self.k1 * self.norm(document))
                for document, tf in found.items()
            }
        return self._weights[term]

    def norm(self, document: int) -> float:
        return 1 - self.b + self.b * self.lengths[document] / self.average


def reference_scores(fields: list[ReferenceField], query: list[str]) -> dict[int, float]:
    """The score of every document that has a term of the query, summed over the fields."""
    scores: dict[int, float] = defaultdict(float)
    for field in fields:
        for term in query:
            for document, weight in field.weights(term).items():
                scores[document] += weight
    return scores


def reference_search(scores: dict[int, float], k: int) -> list[tuple[int, float]]:
    """(document, score) of the k best; ties in corpus order."""
    return sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))[:k]
