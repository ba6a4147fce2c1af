"""Lucene behind our door; what needs Java and Lucene's jars is skipped where they are not."""

import os
import sys
from importlib.util import find_spec

import pytest

from steper.cli.main import run as command
from steper.errors import InputError, MissingExtraError, RetrievalError, SettingsError
from steper.records import Passage
from steper.retrieve import BM25Index, BM25Settings, open_retriever
from steper.retrieve.lucene import CLASSPATH, LuceneIndex, is_lucene_index

HAS_LUCENE = find_spec("jpype") is not None and (
    bool(os.environ.get(CLASSPATH)) or find_spec("pyserini") is not None
)
lucene = pytest.mark.skipif(not HAS_LUCENE, reason="needs jpype1, Java and Lucene's jars")


@pytest.fixture(scope="module")
def corpus():
    facts = ("was directed by", "was born in", "lies near", "was written by", "married")
    names = ("Ann Lee", "Gold Rain", "Oslo", "The Hill", "Bo Young")
    return [
        Passage.make(f"{a} {n}", f"{a} {fact} {b}. " * (1 + n % 3))
        for n, fact in enumerate(facts)
        for a in names
        for b in names
    ]


@pytest.fixture(scope="module")
def made(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lucene")
    LuceneIndex.write(corpus, folder)
    return folder


@lucene
def test_scores_are_those_of_our_own_index(made, corpus):
    """Texts of up to 40 terms, whose lengths Lucene does not round."""
    queries = ["Who directed Gold Rain?", "born near Oslo", "Oslo Oslo hill", "the Young (married"]
    ours = BM25Index.build(corpus).search(queries, 10)
    theirs = open_retriever(made).search(queries, 10)
    for mine, its in zip(ours, theirs, strict=True):
        assert [f.score for f in its] == pytest.approx([f.score for f in mine], abs=1e-4)
        best = [f for f in mine if f.score > mine[-1].score + 1e-4]
        assert {f.passage for f in best} <= {f.passage for f in its}
    assert all(len(found) == 10 for found in theirs)


@lucene
def test_one_field_and_other_settings(corpus, tmp_path):
    settings = BM25Settings(fields="title+text", k1=0.9, b=0.4)
    LuceneIndex.write(corpus, tmp_path, settings)
    index = LuceneIndex(tmp_path)
    (mine,) = BM25Index.build(corpus, settings).search(["Ann Lee married"], 5)
    (its,) = index.search(["Ann Lee married"], 5)
    assert [f.score for f in its] == pytest.approx([f.score for f in mine], abs=1e-4)
    assert index.fingerprint()["settings"] == settings.model_dump(mode="json")


@lucene
def test_queries_of_nothing_but_stop_words_and_marks_find_nothing(made):
    index = LuceneIndex(made)
    assert index.search(["the of", "", '+ - && || ! ( ) { } [ ] ^ " ~ * ? : \\'], 3) == [[], [], []]
    assert len(index.search(["Oslo"], 1000)[0]) < len(index)
    with pytest.raises(InputError, match="k is 0"):
        index.search(["Oslo"], 0)


@lucene
def test_the_command_makes_one_and_replaces_it(tmp_path, capsys):
    file, out = tmp_path / "corpus.jsonl", tmp_path / "index"
    file.write_text('{"title": "Oslo", "text": "A city in Norway."}\n')
    for _ in range(2):
        asked = ["index", "--engine", "lucene", "--corpus", str(file), "--out", str(out)]
        assert command(asked) == 0
    assert "1 passages" in capsys.readouterr().out
    assert command(["search", str(out), "Norway"]) == 0
    assert "Oslo" in capsys.readouterr().out
    assert open_retriever(out).fingerprint()["corpus_sha256"] == corpus_hash(file)


def corpus_hash(file):
    from steper.data import load_corpus

    with_ours = BM25Index.build(load_corpus(file))
    return with_ours.fingerprint()["corpus_sha256"]


@lucene
@pytest.mark.parametrize("stored", [True, False])
def test_an_index_of_anserini_s(stored, tmp_path):
    """Fields title and contents; the text stands in `raw`, where it was stored."""
    import jpype

    from steper.retrieve.lucene import _documents, _lucene, _writer

    names = _lucene()
    writer = _writer(names, tmp_path)
    document = _documents(names, together=False)(Passage.make("Oslo", "x"))
    document.removeFields("text")
    text, store = names("document.TextField"), names("document.Field$Store")
    document.add(text("contents", "A city in Norway.", store.NO))
    if stored:
        raw = '{"id": "7", "title": "Oslo", "contents": "A city in Norway."}'
        document.add(names("document.StoredField")("raw", raw))
    writer.addDocument(document)
    writer.close()
    assert jpype.isJVMStarted()
    index = open_retriever(tmp_path)
    assert set(index.fingerprint()) == {"kind", "passages", "segments"}
    if stored:
        ((found,),) = index.search(["Norway"], 3)
        assert found.passage == Passage(id="7", title="Oslo", text="A city in Norway.")
    else:
        with pytest.raises(RetrievalError, match="has no text; store it when indexing"):
            index.search(["Norway"], 3)


@lucene
def test_a_damaged_index_is_named(made, tmp_path):
    for file in made.iterdir():
        data = file.read_bytes()
        (tmp_path / file.name).write_bytes(data if file.suffix != ".si" else data[:10])
    with pytest.raises(RetrievalError, match=r"Lucene says .*") as caught:
        LuceneIndex(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)
    (tmp_path / "lucene.json").write_text('{"kind": "steper lucene index", "passages": "x"}')
    with pytest.raises(RetrievalError, match=r"lucene\.json is damaged \(settings"):
        LuceneIndex(tmp_path)


@lucene
def test_another_analyzer_is_refused(corpus, tmp_path):
    with pytest.raises(SettingsError, match="stopwords=lucene and stemmer=porter"):
        LuceneIndex.write(corpus, tmp_path, BM25Settings(stemmer="english"))
    with pytest.raises(InputError, match="the corpus is empty"):
        LuceneIndex.write([], tmp_path)


def test_a_folder_is_known_by_its_segments(tmp_path):
    assert not is_lucene_index(tmp_path)
    (tmp_path / "segments_1").write_bytes(b"")
    assert is_lucene_index(tmp_path)


def test_without_java_it_says_what_to_install(tmp_path, monkeypatch):
    from steper.retrieve.lucene import _lucene

    _lucene.cache_clear()
    monkeypatch.setitem(sys.modules, "jpype", None)
    (tmp_path / "segments_1").write_bytes(b"")
    with pytest.raises(MissingExtraError, match=r"jpype1.*steper\[lucene\]"):
        open_retriever(tmp_path)
    _lucene.cache_clear()
