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


def test_beirs_lines_and_contents_beside_title_and_text(tmp_path, caplog):
    rows = [
        {"_id": "b1", "title": "", "text": "Oso is a town.", "metadata": {}},
        {"id": "c1", "title": "Uma", "text": "A lake.", "contents": "Uma\nA lake."},
        {"id": "c2", "title": "Tor", "contents": '"Tor"\nA hill.'},
        {"id": "c3", "title": "Tor", "contents": "A hill.\nIt is steep."},
    ]
    made = [(p.id, p.title, p.text) for p in load_corpus(lines(tmp_path, rows))]
    assert made == [
        ("b1", "", "Oso is a town."),
        ("c1", "Uma", "A lake."),
        ("c2", "Tor", "A hill."),
        ("c3", "Tor", "A hill.\nIt is steep."),
    ]
    assert not caplog.records


@pytest.mark.parametrize(
    ("line", "title"),
    [
        ('"Heroes"', "Heroes"),
        ('""Heroes" (album)"', '"Heroes" (album)'),
        ('"Heroes" (album)', '"Heroes" (album)'),
        ('"The song "Heroes""', 'The song "Heroes"'),
        ('"7" single"', '7" single'),
        ('"A" and "B"', '"A" and "B"'),
        ('7"', '7"'),
    ],
)
def test_titles_keep_their_inner_quotes(tmp_path, line, title):
    (passage,) = load_corpus(lines(tmp_path, [{"id": 1, "contents": f"{line}\nText."}]))
    assert passage.title == title


def test_passages_without_text_are_skipped_and_logged(tmp_path, caplog):
    rows = [
        {"id": 1, "text": ""},
        {"id": 2, "text": "x"},
        {"id": 3, "contents": " "},
        {"id": 1, "text": "y"},
    ]
    assert [p.id for p in load_corpus(lines(tmp_path, rows))] == ["2", "1"]
    assert "2 passages without text were skipped" in caplog.text


def test_a_null_text_is_a_blank_one(tmp_path, caplog):
    rows = [
        {"id": 1, "title": "T", "text": None},
        {"id": 2, "contents": None},
        {"id": 3, "text": None, "contents": "Uma\nA lake."},
        {"id": 4, "title": "Uma", "text": " ", "contents": "Uma\nA lake."},
    ]
    made = [(p.id, p.title, p.text) for p in load_corpus(lines(tmp_path, rows))]
    assert made == [("3", "Uma", "A lake."), ("4", "Uma", "A lake.")]
    assert "2 passages without text were skipped" in caplog.text
    refused(lines(tmp_path, [{"id": 1, "title": None}]), "neither text nor contents is there")


def test_extra_fields_are_ignored_and_named_once(tmp_path, caplog):
    rows = [{"id": n, "titel": "x", "text": "y", "lang": "en"} for n in range(3)]
    assert len(list(load_corpus(lines(tmp_path, rows)))) == 3
    assert len(caplog.records) == 1
    assert "fields that are not read: titel (did you mean title?), lang" in caplog.text


def test_it_is_read_lazily(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_text(json.dumps({"title": "a", "text": "b"}) + "\n{oops\n")
    assert next(load_corpus(path)).title == "a"
    refused(path, "line 2", "not JSON")


def test_bad_corpora_are_refused(tmp_path):
    refused(lines(tmp_path, []), "is empty")
    refused(array(tmp_path, []), "holds no passages")
    refused(tmp_path / "none", "no such file")
    refused(lines(tmp_path, [{"title": "x"}]), "line 1", "neither text nor contents is there")
    refused(lines(tmp_path, [{"txt": "y"}]), "line 1", "did you mean text by txt?")
    refused(lines(tmp_path, [{"title": "x", "text": " "}]), "holds no passages with text")
    rows = [{"id": "a", "text": "x"}, {"id": "b", "text": "y"}, {"id": "a", "text": "z"}]
    refused(lines(tmp_path, rows), "line 3 (id 'a')", "stands at line 1")


def test_repeated_passages_without_ids_are_skipped_and_logged(tmp_path, caplog):
    rows = [{"title": "x", "text": "y"}] * 3
    with caplog.at_level(logging.WARNING):
        assert len(list(load_corpus(lines(tmp_path, rows)))) == 1
    assert "2 repeated passages" in caplog.text


def test_many_repeated_passages_do_not_make_reading_slow(tmp_path, monkeypatch):
    monkeypatch.setattr("steper.data.corpus._first_place", None)  # it reads the file once more
    rows = [{"title": "x", "text": f"y{i % 5}"} for i in range(20)]
    assert len(list(load_corpus(lines(tmp_path, rows)))) == 5


def test_the_contexts_make_a_corpus_without_repetition(tmp_path):
    questions = load_questions(array(tmp_path, HOTPOT))
    corpus = build_corpus([*questions, *questions])
    assert [p.title for p in corpus] == ["Ada Vel", "Torvik", "The Pale Gate", "Oso", "Uma (lake)"]
    with pytest.raises(InputError, match="no question has contexts"):
        build_corpus([Question(id="q", text="Who?")])


def test_contexts_without_text_are_skipped_and_logged(tmp_path, caplog):
    row = {**HOTPOT[0], "context": [["Blank", []], ["White", [" "]], *HOTPOT[0]["context"]]}
    questions = load_questions(array(tmp_path, [row]))
    corpus = build_corpus([*questions, *questions])
    assert corpus == build_corpus(load_questions(array(tmp_path, HOTPOT[:1])))
    assert "the questions' contexts: 2 passages without text were skipped" in caplog.text
    with pytest.raises(InputError, match="no question has contexts with text"):
        build_corpus([questions[0].model_copy(update={"context": (Passage.make("T", ""),)})])


def test_real_corpus():
    passages = list(load_corpus(shared("2wiki_corpus.jsonl")))
    assert len({p.id for p in passages}) == len(passages) == 6119
