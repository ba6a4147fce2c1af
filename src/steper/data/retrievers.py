"""From what a user names as the corpus to a retriever over it."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from steper.data.corpus import build_corpus, load_corpus
from steper.errors import InputError
from steper.records import Question
from steper.retrieve import BM25Index, Retriever, open_retriever
from steper.retrieve.opening import as_retriever, names_code

log = logging.getLogger(__name__)

LARGE_CORPUS = 100_000


def check_corpus(corpus: Any) -> None:
    """Raise InputError where `corpus` names a file that is not there: before a model is loaded."""
    if not isinstance(corpus, (str, Path)) or corpus == "auto":
        return
    if not ("://" in str(corpus) or names_code(corpus) or Path(corpus).exists()):
        raise InputError(f"{corpus}: no such file or folder")


def open_corpus(corpus: Any, questions: Iterable[Question] = ()) -> Retriever:
    """The retriever over a corpus: `auto`, a corpus.jsonl, an index's folder, a server's address,
    or `package.module:NAME`; a function as a retriever.

    `auto` is the union of the contexts of `questions`. Passages are indexed in memory. A retriever
    is handed back as it is; any other is for the caller to close. Raises InputError where there is
    no such corpus, RetrievalError where an index cannot be used.
    """
    if not isinstance(corpus, (str, Path)):
        return as_retriever(corpus)
    if "://" in str(corpus) or names_code(corpus) or (corpus != "auto" and Path(corpus).is_dir()):
        return open_retriever(corpus)
    passages = build_corpus(questions) if corpus == "auto" else list(load_corpus(corpus))
    if len(passages) > LARGE_CORPUS:
        log.warning(
            "%d passages are indexed in memory at each start; `steper index` does it once",
            len(passages),
        )
    return BM25Index.build(passages)
