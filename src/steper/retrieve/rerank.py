"""A retriever whose passages are put in another order: candidates first, then the best of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from steper.doors import check_allowed, fingerprint_of, is_path_to_code, load_object
from steper.errors import InputError
from steper.retrieve.base import Found, Retriever
from steper.retrieve.cross_encoder import CrossEncoderReranker


class Reranker(Protocol):
    """Orders passages for a query."""

    def rerank(self, query: str, found: Sequence[Found]) -> list[Found]:
        """The same passages, best first, with scores of its own."""
        ...

    def fingerprint(self) -> dict[str, Any]:
        """All that decides the order (JSON values)."""
        ...


class Reranked:
    """A `Retriever`: `candidates` passages of another one, the best `k` by a reranker."""

    def __init__(self, retriever: Retriever, reranker: Reranker, candidates: int) -> None:
        self.retriever, self.reranker, self.candidates = retriever, reranker, candidates

    def search(self, queries: Sequence[str], k: int) -> list[list[Found]]:
        """For each query at most `k` passages, best first."""
        every = self.retriever.search(queries, max(k, self.candidates))
        rerank = self.reranker.rerank
        return [rerank(query, found)[:k] for query, found in zip(queries, every, strict=True)]

    def fingerprint(self) -> dict[str, Any]:
        """Those of both, and how many candidates there are."""
        return {
            "kind": "reranked",
            "candidates": self.candidates,
            "reranker": fingerprint_of(self.reranker),
            "of": fingerprint_of(self.retriever),
        }

    def close(self) -> None:
        """Close the retriever."""
        self.retriever.close()


def reranked(
    retriever: Retriever,
    spec: str,
    candidates: int,
    *,
    allow_code: bool = False,
    place: str = "",
) -> Retriever:
    """`retriever` with a student's reranker: a folder beside the file `place`, which names it, or
    what `package.module:Name`, a class or function, makes.

    Raises SettingsError, naming `place`, where loading code is not allowed, InputError where there
    is no such folder.
    """
    if not spec:
        return retriever
    if not is_path_to_code(spec):
        folder = Path(place).parent / spec
        if not (folder / "config.json").is_file():
            raise InputError(f"{place} names the reranker {spec!r}, but {folder} has no model")
        return Reranked(retriever, CrossEncoderReranker(folder), candidates)
    check_allowed("reranker", spec, place, allow_code)
    made: Reranker = load_object("reranker", spec)()
    return Reranked(retriever, made, candidates)
