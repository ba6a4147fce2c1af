"""From what a user writes on the command line to a retriever."""

from __future__ import annotations

from pathlib import Path

from steper.errors import InputError
from steper.retrieve.base import Retriever
from steper.retrieve.bm25 import BM25Index
from steper.retrieve.http import HttpRetriever


def open_retriever(spec: str | Path, *, n_threads: int | None = None) -> Retriever:
    """The retriever that `spec` names: an index's folder, or a server's http(s) address.

    Raises InputError when it is neither, RetrievalError when the index can't be used. A server is
    not asked anything yet.
    """
    scheme, separator, _ = str(spec).partition("://")
    if separator:
        if scheme.lower() in ("http", "https"):
            return HttpRetriever(str(spec))
        raise InputError(
            f"{spec}: {scheme}:// is not known; name an index folder or an http(s):// address"
        )
    if not str(spec).strip():
        raise InputError("no index is named; name an index folder or an http(s):// address")
    return BM25Index.load(Path(spec), n_threads=n_threads)
