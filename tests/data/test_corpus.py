import json
import logging

import pytest
from mini import HOTPOT, array, lines, shared

from steper.data import build_corpus, load_corpus, load_questions
from steper.errors import InputError
from steper.records import Passage, Question


def refused(path, *parts):
    with pytest.raises(InputError) as caught:
        list(load_corpus(path))
    for part in (str(path), *parts):
        assert part in str(caught.value)


def test_titles_and_texts_in_all_known_layouts(tmp_path):
    rows = [
        {"title": "Oso", "text": "Oso is a town."},
        {"id": 12, "title": "Uma", "text": "Uma is a lake.", "url": "u", "metadata": {"a": 1}},
        {"id": "c1", "contents": '"Tor"\nTor is a hill.\nIt is steep.'},
        {"id": "c2", "contents": "No title here."},
    ]
    made = list(load_corpus(lines(tmp_path, rows)))
    assert made[0] == Passage.make("Oso", "Oso is a town.")
    assert (made[1].id, made[1].title) == ("12", "Uma")
    assert (made[2].id, made[2].title) == ("c1", "Tor")
    assert made[2].text == "Tor is a hill.\nIt is steep."
    assert (made[3].title, made[3].text) == ("", "No title here.")


def test_it_is_read_lazily(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_text(json.dumps({"title": "a", "text": "b"}) + "\n{oops\n")
    assert next(load_corpus(path)).title == "a"
    refused(path, "line 2", "not JSON")


def test_bad_corpora_are_refused(tmp_path):
    refused(lines(tmp_path, []), "holds no passages")
    refused(tmp_path / "none", "no such file")
    refused(lines(tmp_path, [{"title": "x"}]), "line 1", "exactly one of text and contents")
    refused(lines(tmp_path, [{"title": "x", "text": " "}]), "line 1", "text is empty")
    refused(lines(tmp_path, [{"titel": "x", "text": "y"}]), "titel: unknown", "mean title?")
    rows = [{"id": "a", "text": "x"}, {"id": "b", "text": "y"}, {"id": "a", "text": "z"}]
    refused(lines(tmp_path, rows), "line 3 (id 'a')", "stands on line 1")


def test_repeated_passages_without_ids_are_skipped_and_logged(tmp_path, caplog):
    rows = [{"title": "x", "text": "y"}] * 3
    with caplog.at_level(logging.WARNING):
        assert len(list(load_corpus(lines(tmp_path, rows)))) == 1
    assert "2 repeated passages" in caplog.text


def test_many_repeated_passages_do_not_make_reading_slow(tmp_path, monkeypatch):
    monkeypatch.setattr("steper.data.corpus._first_line", None)  # it reads the file once more
    rows = [{"title": "x", "text": f"y{i % 5}"} for i in range(20)]
    assert len(list(load_corpus(lines(tmp_path, rows)))) == 5


def test_the_contexts_make_a_corpus_without_repetition(tmp_path):
    questions = load_questions(array(tmp_path, HOTPOT))
    corpus = build_corpus([*questions, *questions])
    assert [p.title for p in corpus] == ["Ada Vel", "Torvik", "The Pale Gate", "Oso", "Uma (lake)"]
    with pytest.raises(InputError, match="no question has contexts"):
        build_corpus([Question(id="q", text="Who?")])


def test_real_corpus():
    passages = list(load_corpus(shared("2wiki_corpus.jsonl")))
    assert len({p.id for p in passages}) == len(passages) == 6119
