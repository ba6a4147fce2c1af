"""From what a user writes on the command line, or an object, to a retriever."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from steper.doors import is_path_to_code, load_object, opened, plugins
from steper.errors import InputError
from steper.redaction import without_secrets
from steper.retrieve.base import Retriever
from steper.retrieve.bm25 import BM25Index
from steper.retrieve.function import FunctionRetriever
from steper.retrieve.http import HttpRetriever
from steper.retrieve.lucene import LuceneIndex, is_lucene_index

GROUP = "steper.retrievers"


def open_retriever(spec: str | Path, *, n_threads: int | None = None) -> Retriever:
    """The retriever that `spec` names.

    An index's folder, ours or Lucene's; a server's http(s) address; `package.module:Name` of a
    retriever, a class of one, or a function `(query, k) -> passages`; or a plug-in's `NAME` or
    `NAME:REST`, whose entry point is called with REST. Raises InputError when it
    is none of these, RetrievalError when the index can't be used. A server is not asked anything
    yet.
    """
    scheme, separator, _ = str(spec).partition("://")
    if separator:
        if scheme.lower() in ("http", "https"):
            return HttpRetriever(str(spec))
        raise InputError(
            f"{without_secrets(str(spec))}: {scheme}:// is not known; name an index folder or an "
            "http(s):// address"
        )
    if not str(spec).strip():
        raise InputError("no index is named; name an index folder or an http(s):// address")
    if names_code(spec):
        name, _, rest = str(spec).partition(":")
        plugin = plugins(GROUP).get(name)
        if plugin is not None:
            return as_retriever(load_object("retriever", plugin)(rest))
        return as_retriever(load_object("retriever", str(spec)))
    if is_lucene_index(Path(spec)):
        return LuceneIndex(spec)
    return BM25Index.load(Path(spec), n_threads=n_threads)


def names_code(spec: str | Path) -> bool:
    """Whether a spec is a plug-in's or `package.module:Name`; a file or folder of it goes first."""
    if isinstance(spec, Path) or Path(spec).exists():
        return False
    return is_path_to_code(spec) or spec.partition(":")[0] in plugins(GROUP)


def as_retriever(part: Any) -> Retriever:
    """A retriever as it is; a class of one opened; a function as a FunctionRetriever."""
    return opened(part, ("search", "fingerprint"), FunctionRetriever, "retriever")
