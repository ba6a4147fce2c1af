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
        self.counts = [Counter(terms) for terms in documents]
        self.lengths = [len(terms) for terms in documents]
        self.n = sum(1 for length in self.lengths if length > 0)
        self.average = sum(self.lengths) / self.n if self.n else 0.0
        self.df = Counter(term for counts in self.counts for term in counts)
        self.documents_with: dict[str, list[int]] = defaultdict(list)
        for document, counts in enumerate(self.counts):
            for term in counts:
                self.documents_with[term].append(document)

    def idf(self, term: str) -> float:
        return math.log(1 + (self.n - self.df[term] + 0.5) / (self.df[term] + 0.5))

    def saturation(self, term: str, document: int) -> float:
        """How much of the term's idf the document earns."""
        tf = self.counts[document][term]
        norm = 1 - self.b + self.b * self.lengths[document] / self.average
        return tf / (tf + self.k1 * norm)


def reference_scores(fields: list[ReferenceField], query: list[str]) -> dict[int, float]:
    """The score of every document that has a term of the query, summed over the fields."""
    scores: dict[int, float] = {}
    for field in fields:
        for term in query:
            idf = field.idf(term)
            for document in field.documents_with[term]:
                weight = idf * field.saturation(term, document)
                scores[document] = scores.get(document, 0.0) + weight
    return scores


def reference_search(scores: dict[int, float], k: int) -> list[tuple[int, float]]:
    """(document, score) of the k best; ties in corpus order."""
    return sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))[:k]
