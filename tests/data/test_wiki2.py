import json

import pytest
from mini import WIKI2, array, as_columns, changed, lines, shared

from steper.data import load_aliases, load_questions
from steper.errors import InputError

ALIASES = [
    {"Q_id": "Q20", "aliases": ["Kingdom of Norway", "Norge"], "demonyms": ["Norwegian", "Norge"]},
    {"Q_id": "Q5", "aliases": [], "demonyms": []},
]


def test_triples_find_their_gold_passages(tmp_path):
    first, second = load_questions(array(tmp_path, WIKI2))
    titles = {p.id: p.title for p in first.gold}
    # The passage with the subject's very name is no gold passage.
    assert [titles[hop.passage_id] for hop in first.decomposition] == [
        "Red Hill (1950 film)",
        "Bo Larn",
    ]
    assert [(h.subject, h.relation, h.answer) for h in first.decomposition] == [
        ("Red Hill", "director", "Bo Larn"),
        ("Bo Larn", "country of citizenship", "Norway"),
    ]
    assert (first.hops, second.hops) == (2, 2)


def test_sentences_are_joined_with_one_space(tmp_path):
    question = load_questions(array(tmp_path, WIKI2))[0]
    assert question.context[0].text == "Bo Larn was a director. He was a citizen of Norway."


def test_answers_are_answer_aliases_and_demonyms(tmp_path):
    path = lines(tmp_path, ALIASES, "id_aliases.json")
    assert load_aliases(path)["Q20"] == ("Kingdom of Norway", "Norge", "Norwegian")
    first, second = load_questions(array(tmp_path, WIKI2), aliases=path)
    assert first.answers == ("Norway", "Kingdom of Norway", "Norge", "Norwegian")
    assert second.answers == ("Ed Orr",)
    assert load_questions(array(tmp_path, WIKI2))[0].answers == ("Norway",)


def test_hugging_faces_columns_read_as_the_official_file(tmp_path):
    official = load_questions(array(tmp_path, WIKI2))
    rows = [as_columns(row) for row in WIKI2]
    assert load_questions(lines(tmp_path, rows)) == official
    for row in rows:
        row["context"]["content"] = row["context"].pop("sentences")
        parts = zip(*row["evidences"], strict=True)
        names = ("fact", "relation", "entity")
        row["evidences"] = {name: list(part) for name, part in zip(names, parts, strict=True)}
    assert load_questions(lines(tmp_path, rows)) == official


def test_bad_aliases_are_named(tmp_path):
    with pytest.raises(InputError, match="line 1: Q_id: required field is missing"):
        load_aliases(lines(tmp_path, [{"aliases": []}]))


def test_a_supporting_fact_without_a_context_is_refused(tmp_path):
    rows = changed(WIKI2, 1, supporting_facts=[["Nobody", 0]])
    with pytest.raises(InputError, match=r"item 2 \(id 'w2'\).*supporting_facts\[0\].*'Nobody'"):
        load_questions(array(tmp_path, rows))


def test_among_equal_titles_the_one_with_the_sentence_is_meant(tmp_path):
    context = [["Ada Vel", []], *WIKI2[1]["context"]]
    question = load_questions(array(tmp_path, changed(WIKI2, 1, context=context)))[1]
    assert question.gold[0].text == "Ada Vel died on 4 May 1960."


def test_every_triple_of_the_real_sample_has_its_passage():
    questions = load_questions(shared("2wikimultihopqa_sample.json"))
    hops = [(q, hop) for q in questions for hop in q.decomposition]
    assert all(hop.passage_id for _, hop in hops)
    # In this sample the n-th fact is the n-th triple's.
    for q in questions:
        assert {hop.passage_id for hop in q.decomposition} == {p.id for p in q.gold}


def test_hugging_faces_strings_of_json_read_as_the_official_file(tmp_path):
    """One of its copies of 2Wiki has each list as a string."""
    names = ("context", "supporting_facts", "evidences")
    rows = [{**row, **{n: json.dumps(row[n]) for n in names if n in row}} for row in WIKI2]
    official = load_questions(array(tmp_path, WIKI2))
    assert load_questions(lines(tmp_path, rows)) == official


def test_a_string_that_is_no_json_is_named(tmp_path):
    with pytest.raises(InputError, match="context: Input should be a valid list"):
        load_questions(lines(tmp_path, changed(WIKI2, 0, context="[[")), "2wikimultihopqa")
