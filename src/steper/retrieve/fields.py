"""One field of a corpus as a bm25s index: from term ids to scores of Lucene's BM25."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from steper.retrieve.settings import BM25Settings

Array = np.ndarray[Any, Any]


class TermIds(dict[str, int]):
    """Word → id of its term, -1 for a word that is left out; a term new to `vocabulary` is added.

    A cache over the analyzer: each spelling is analyzed once.
    """

    def __init__(self, vocabulary: dict[str, int], term: Callable[[str], str]) -> None:
        super().__init__()
        self._vocabulary = vocabulary
        self._term = term

    def __missing__(self, word: str) -> int:
        term = self._term(word)
        number = self._vocabulary.setdefault(term, len(self._vocabulary)) if term else -1
        self[word] = number
        return number


class FieldTerms:
    """The term ids of one field of every passage, flat: 4 bytes a token."""

    def __init__(self) -> None:
        self._flat = array("i")
        self._lengths = array("i")

    def add(self, terms: Iterable[int]) -> None:
        """Append the next passage's terms."""
        before = len(self._flat)
        self._flat.extend(terms)
        self._lengths.append(len(self._flat) - before)

    def __len__(self) -> int:
        return len(self._lengths)

    def lengths(self) -> Array:
        """Terms of each passage, (n,) int32."""
        return np.frombuffer(self._lengths, dtype=np.int32)

    def filled(self) -> _Docs:
        """The passages that have a term in this field, as bm25s takes them."""
        lengths = self.lengths()
        return _Docs(self._flat, lengths[lengths > 0])


class _Docs(Sequence[list[int]]):
    """Token ids of documents, made into lists one at a time."""

    def __init__(self, flat: array[int], lengths: Array) -> None:
        self._flat = flat
        self._ends = np.cumsum(lengths, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, number: Any) -> Any:
        start = int(self._ends[number - 1]) if number else 0
        return self._flat[start : int(self._ends[number])].tolist()

    def __iter__(self) -> Iterator[list[int]]:
        start = 0
        for end in self._ends.tolist():
            yield self._flat[start:end].tolist()
            start = end


class Field:
    """Scores of every (term, passage) of one field, by term: bm25s's eager index.

    Lucene's BM25 (Kamphuis et al. 2020, "Lucene (accurate)"): a term that stands tf times in a
    field of dl terms is worth

        log(1 + (N - df + 0.5) / (df + 0.5)) · tf / (tf + k1 · (1 - b + b · dl / avgdl))

    where N, df and avgdl are of those passages that have a term in this field, as in Lucene.
    Lucene rounds dl to a byte (exact up to 40 terms); here it is exact. Elasticsearch 7 multiplies
    all by k1 + 1, which changes no order.
    """

    def __init__(self, index: Any) -> None:
        self._index = index

    @classmethod
    def build(cls, terms: FieldTerms, n_terms: int, settings: BM25Settings) -> Field | None:
        """The field's index, or None where no passage has a term in it."""
        import bm25s

        lengths = terms.lengths()
        if not lengths.any():
            return None
        index = bm25s.BM25(k1=settings.k1, b=settings.b, method="lucene")
        index.scores = index.build_index_from_ids(
            range(n_terms), terms.filled(), show_progress=False
        )
        index.vocab_dict = {}
        if not lengths.all():
            numbers = np.flatnonzero(lengths).astype(np.int32)
            index.scores["indices"] = numbers[index.scores["indices"]]
            index.scores["num_docs"] = len(lengths)
        return cls(index)

    def scores(self, terms: Sequence[int]) -> Array:
        """What each passage is worth for a query's terms (repeats count), (n,) float32."""
        scores: Array = self._index.get_scores_from_ids(terms)
        return scores

    def save(self, folder: Path) -> None:
        """Write bm25s's files into a folder."""
        self._index.save(folder, show_progress=False)

    @classmethod
    def load(cls, folder: Path) -> Field:
        """The field's index, memory-mapped."""
        import bm25s

        return cls(bm25s.BM25.load(folder, mmap=True, load_vocab=False, show_progress=False))
