from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import bm25s
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference_bm25 import ReferenceField, reference_scores, reference_search

from steper.data import load_corpus, load_questions
from steper.errors import InputError
from steper.records import Passage
from steper.retrieve import BM25Index, BM25Settings, bm25
from steper.retrieve import passages as passages_module
from steper.retrieve.analysis import Analyzer
from steper.retrieve.bm25 import BLOCK, top
from steper.retrieve.bm25_scores import score_matrix

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def reference_fields(passages, made):
    analyzer = Analyzer(made)
    texts = (
        [[p.title for p in passages], [p.text for p in passages]]
        if made.fields == "separate"
        else [[f"{p.title}\n{p.text}" for p in passages]]
    )
    return [ReferenceField([analyzer.terms(t) for t in field], made.k1, made.b) for field in texts]


def assert_as_reference(index, passages, fields, queries, k):
    """The same ids with the same scores, in the same order where the scores differ at all."""
    analyzer = Analyzer(index.settings)
    numbers = {passage.id: number for number, passage in enumerate(passages)}
    exact = 0
    for query, hits in zip(queries, index.search(queries, k), strict=True):
        scores = reference_scores(fields, analyzer.terms(query))
        expected = reference_search(scores, k)
        found = [(numbers[hit.passage.id], hit.score) for hit in hits]
        assert [s for _, s in found] == pytest.approx([s for _, s in expected], rel=1e-5)
        # Single precision may swap passages whose scores differ in the seventh digit only.
        own = [scores[number] for number, _ in found]
        assert own == pytest.approx([s for _, s in expected], rel=1e-6)
        assert len({number for number, _ in found}) == len(found)
        assert [hit.passage for hit in hits] == [passages[number] for number, _ in found]
        exact += [n for n, _ in found] == [n for n, _ in expected]
    return exact


@pytest.fixture(scope="module")
def sample():
    """The passages of the 2Wiki corpus and the 400 sample questions' texts."""
    if not SHARED.is_dir():
        pytest.skip(f"the sample questions are not here: no folder {SHARED}")
    files = ("2wikimultihopqa_sample.json", "hotpotqa_sample.json", "musique_sample.jsonl")
    queries = [question.text for name in files for question in load_questions(SHARED / name)]
    assert len(queries) == 400
    return list(load_corpus(SHARED / "2wiki_corpus.jsonl")), queries


@pytest.mark.slow
@pytest.mark.parametrize("fields", ["separate", "title+text"])
def test_the_top_10_of_all_sample_questions_are_the_references(build, sample, fields):
    passages, queries = sample
    queries = queries[:: 1 if fields == BM25Settings().fields else 4]
    made = BM25Settings(fields=fields)
    index = build(passages, made)
    exact = assert_as_reference(index, passages, reference_fields(passages, made), queries, 10)
    assert exact == len(queries)


WORDS = ["the", "film", "films", "director", "Nightfall", "1951", "U.S.", "O'Brien's", "of", "é"]
texts = st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)
corpora = st.lists(st.tuples(texts, texts), min_size=1, max_size=20)
made_settings = st.builds(
    BM25Settings,
    k1=st.floats(0, 3),
    b=st.floats(0, 1),
    fields=st.sampled_from(["separate", "title+text"]),
    stopwords=st.sampled_from(["lucene", "none"]),
    stemmer=st.sampled_from(["porter", "english", "none"]),
)


@given(corpora, st.lists(texts, max_size=3), st.integers(1, 30), made_settings)
def test_any_corpus_is_searched_as_by_the_reference(rows, queries, k, made):
    passages = [
        Passage(id=str(number), title=title, text=text) for number, (title, text) in enumerate(rows)
    ]
    fields = reference_fields(passages, made)
    if not any(field.n for field in fields):
        with pytest.raises(InputError, match="has a word to search for"):
            BM25Index.build(passages, made)
        return
    index = BM25Index.build(passages, made)
    assert_as_reference(index, passages, fields, queries, k)
    index.close()


@given(st.lists(st.lists(st.integers(0, 8), min_size=1, max_size=9), min_size=1, max_size=9))
def test_the_score_matrix_is_bm25s_own(documents):
    terms = np.array([term for document in documents for term in document], dtype=np.int32)
    lengths = [len(document) for document in documents]
    passages = np.repeat(np.arange(len(documents), dtype=np.int32), lengths)
    ours = score_matrix(terms, passages, (len(documents), 9), BM25Settings())
    theirs = bm25s.BM25(k1=1.2, b=0.75, method="lucene").build_index_from_ids(
        range(9), documents, show_progress=False
    )
    assert ours["indptr"].tolist() == theirs["indptr"].tolist()
    assert ours["indices"].tolist() == theirs["indices"].tolist()
    assert ours["data"] == pytest.approx(theirs["data"], rel=1e-5)
    assert ours["num_docs"] == theirs["num_docs"]
    for name in ("data", "indices", "indptr"):
        assert ours[name].dtype == theirs[name].dtype


@given(st.lists(st.integers(0, 4), min_size=1), st.integers(1, 12))
def test_top_breaks_ties_by_corpus_order(values, k):
    scores = np.array(values, dtype=np.float32)
    ranked = sorted((n for n, v in enumerate(values) if v > 0), key=lambda n: (-values[n], n))
    assert top(scores, k).tolist() == ranked[:k]


@pytest.mark.parametrize("scores_of", ["spread", "few", "alike", "none"])
@pytest.mark.parametrize("k", [1, 10, 5000])
def test_top_of_many_is_what_sorting_all_gives(scores_of, k):
    """Enough scores for blocks, with some that fill no block."""
    rng = np.random.default_rng(k)
    scores = rng.random(300 * BLOCK + 7).astype(np.float32)
    if scores_of == "few":
        scores[rng.random(len(scores)) < 0.9999] = 0
    elif scores_of == "alike":
        scores = np.round(scores, 1)
    elif scores_of == "none":
        scores[:] = 0
    order = np.argsort(-scores, kind="stable")
    assert top(scores, k).tolist() == [n for n in order[:k].tolist() if scores[n] > 0]


def test_title_and_text_are_both_searched(build, passages):
    index = build(passages)
    found = index.search(["Where was the director of Nightfall born?", "composer"], 3)
    assert [hit.passage.id for hit in found[0]] == ["p1", "p0", "p3"]
    assert [hit.passage.id for hit in found[1]] == ["p5", "p3"]


def test_passages_that_share_nothing_are_absent(build, passages):
    index = build(passages)
    assert index.search(["the of and", "", "xylophone", "Leeds xylophone"], 50)[:3] == [[], [], []]
    assert [hit.passage.id for hit in index.search(["Leeds"], 50)[0]] == ["p4", "p3"]
    assert index.search([], 4) == []


def test_a_repeated_term_counts_as_often(build, passages):
    once, twice = build(passages).search(["Leeds", "Leeds leeds"], 2)
    assert [hit.score for hit in twice] == pytest.approx([2 * hit.score for hit in once])


def test_threads_change_nothing(build, passages, monkeypatch):
    queries = ["Nightfall", "film music", "born in", "", "Kent port"] * 5
    alone = build(passages, n_threads=1).search(queries, 3)
    monkeypatch.setattr(bm25, "PARALLEL_FROM", 1)
    assert build(passages, n_threads=4).search(queries, 3) == alone


def test_many_threads_may_search_at_once(build, passages):
    index = build(passages)
    queries = ["Nightfall", "film's music", "universities born", "Kent port"]
    alone = [index.search([query], 3) for query in queries]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda number: index.search([queries[number % 4]], 3), range(200)))
    assert together == alone * 50


def test_less_than_one_passage_is_refused(build, passages):
    with pytest.raises(InputError, match="k is 0"):
        build(passages).search(["x"], 0)


def test_an_empty_corpus_is_refused():
    with pytest.raises(InputError, match="the corpus is empty"):
        BM25Index.build([])


def test_a_corpus_without_a_word_is_refused():
    with pytest.raises(InputError, match="none of the corpus's 2 passages has a word"):
        BM25Index.build([Passage.make("The", "of …"), Passage.make("", "")])


def test_two_passages_with_one_id_are_refused(passages):
    passages.append(passages[2].model_copy(update={"text": "Other."}))
    with pytest.raises(InputError, match="passages 3 and 7 of the corpus have the same id 'p2'"):
        BM25Index.build(iter(passages))


def test_ids_that_only_share_a_hash_are_two(build, passages, monkeypatch):
    monkeypatch.setattr(passages_module, "hash", lambda key: 7, raising=False)
    assert len(build(passages)) == 6
    with pytest.raises(InputError, match="passages 2 and 7 of the corpus have the same id 'p1'"):
        build([*passages, passages[1]])


def test_a_corpus_that_fails_while_it_is_read_leaves_nothing(tmp_path, passages):
    def broken():
        yield from passages
        raise InputError("corpus.jsonl, line 7: not JSON")

    with pytest.raises(InputError, match="line 7"):
        BM25Index.build(broken(), spool=tmp_path)
    assert not list(tmp_path.iterdir())


def test_progress_is_told(passages, build, monkeypatch):
    monkeypatch.setattr(bm25, "PROGRESS_EVERY", 2)
    told = []
    build(passages, on_progress=told.append)
    assert told == [2, 4, 6, 6]


def test_the_fingerprint_says_what_decides(build, passages):
    one = build(passages).fingerprint()
    assert one == build(passages).fingerprint()
    assert one["passages"] == 6
    assert one["settings"]["fields"] == "separate"
    changed = [
        build(passages, BM25Settings(k1=1.0)).fingerprint(),
        build(passages[::-1]).fingerprint(),
        build([*passages[:5], Passage(id="p5", title="", text="A composer.")]).fingerprint(),
    ]
    assert one not in changed
