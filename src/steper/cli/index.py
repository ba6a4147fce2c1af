"""`steper index`: a corpus → a BM25 index."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from steper.cli.options import FLAT
from steper.cli.terminal import counting, plain_console
from steper.errors import InputError
from steper.retrieve.retriever_settings import BM25Settings

if TYPE_CHECKING:
    from steper.records import Passage

AUTO = "auto"


def index(
    *,
    corpus: str,
    out: Path,
    questions: Path | None = None,
    engine: Literal["own", "lucene"] = "own",
    settings: Annotated[BM25Settings, FLAT] = BM25Settings(),  # noqa: B008
) -> None:
    """Index a corpus for BM25 search.

    Parameters
    ----------
    corpus
        A file with a passage a row, {"id"?, "title", "text"} or {"id", "contents"}: JSON lines,
        JSON (both also gzipped), Parquet, or DPR's TSV; or `auto`: the union of all contexts of
        `--questions`.
    out
        Folder of the index; an index that is there is replaced.
    questions
        Question file whose contexts make the corpus, for `--corpus auto`.
    engine
        own: ours, which needs nothing else; lucene: Lucene's, for corpora beyond some five million
        passages (extra `lucene`, see docs/design.md).
    """
    from steper.errors import writing_to
    from steper.retrieve.index_folder import replacing_index

    began = time.perf_counter()
    # Taken before the corpus is read: a second process is refused at once, not after hours.
    with counting() as on_progress, writing_to(out), replacing_index(out) as new:
        write = _write_lucene if engine == "lucene" else _write
        made = write(_passages(corpus, questions), new, settings, on_progress)
    seconds = time.perf_counter() - began
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    console = plain_console(soft_wrap=True)
    console.print(f"{made}, {size / 1e6:,.1f} MB, {seconds:.1f} s → {out}")
    console.print(f'Next: steper search {shlex.quote(str(out))} "your query"')


def _write(
    passages: Iterable[Passage],
    folder: Path,
    settings: BM25Settings,
    on_progress: Callable[[int], None],
) -> str:
    """Write our own index; returns how much is in it."""
    from steper.retrieve.bm25 import BM25Index

    built = BM25Index.build(passages, settings, spool=folder.parent, on_progress=on_progress)
    with closing(built):
        built.write(folder)
    return f"{len(built):,} passages, {built.n_terms:,} terms"


def _write_lucene(
    passages: Iterable[Passage],
    folder: Path,
    settings: BM25Settings,
    on_progress: Callable[[int], None],
) -> str:
    """The same with Lucene's."""
    from steper.retrieve.lucene import LuceneIndex

    return f"{LuceneIndex.write(passages, folder, settings, on_progress).passages:,} passages"


def _passages(corpus: str, questions: Path | None) -> Iterable[Passage]:
    """The corpus that the two options name."""
    from steper.data import build_corpus, load_corpus, read_question_file

    if corpus == AUTO:
        if questions is None:
            raise InputError("--corpus auto needs --questions FILE, whose contexts make the corpus")
        return build_corpus(read_question_file(questions).questions)
    if questions is not None:
        raise InputError(f"--questions goes with --corpus auto only, not with --corpus {corpus}")
    return load_corpus(Path(corpus))
