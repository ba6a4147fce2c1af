"""BM25 scores of a few passages, where their retriever's scores are something else."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from steper.errors import InputError
from steper.records import Passage
from steper.retrieve.base import Retriever
from steper.retrieve.bm25 import BM25Index


def scores_bm25(retriever: Retriever | None) -> bool:
    """Whether what it finds has BM25 scores; one that has says so (`scores_bm25 = True`)."""
    return bool(getattr(retriever, "scores_bm25", False))


def bm25_scores(query: str, passages: Sequence[Passage]) -> dict[str, float]:
    """The passages' scores by id, by our own BM25 with these passages as the whole corpus.

    One that shares no term with the query is absent.
    """
    if not passages:
        return {}
    try:
        index = BM25Index.build(passages, n_threads=1)
    except InputError:  # none of them has a word
        return {}
    with closing(index):
        (found,) = index.search([query], len(passages))
        return {hit.passage.id: hit.score for hit in found}
