"""Submission formats: read with every fault named, scored as the official scripts do, written."""

import json

import pytest
from made import make_question

from steper.errors import InputError
from steper.evaluation.predictions import (
    PredictionFile,
    read_predictions,
    score_predictions,
    submission_name,
    write_predictions,
)
from steper.records import Prediction


def a_file(**answers):
    rows = (Prediction(question_id=qid, answer=text) for qid, text in answers.items())
    return PredictionFile(predictions=tuple(rows))


@pytest.mark.parametrize("benchmark", ["hotpotqa", "2wikimultihopqa"])
def test_missing_prediction_counts_zero_over_all_questions(benchmark):
    questions = [make_question(q, benchmark=benchmark, type="bridge") for q in "abcd"]
    got = score_predictions(questions, a_file(a="England", b="New England", z="x"), benchmark)
    assert got.overall.n == got.by_type["bridge"].n == 4
    # a is exact; b has F1 2·(1/2)·1/(3/2) = 2/3; c and d count 0.
    assert got.overall.em.value == 0.25
    assert got.overall.f1.value == pytest.approx((1 + 2 / 3) / 4)
    assert (got.missing, got.unknown) == (("c", "d"), ("z",))
    assert (
        "no prediction for 2 questions (c, d): each counts 0 as in the official script"
        in got.warnings
    )
    assert "predictions for 1 unknown id (z) are left out" in got.warnings


def test_missing_is_zero_even_where_an_empty_answer_would_be_right():
    got = score_predictions([make_question("a", ("The",))], a_file(), "hotpotqa")
    assert got.overall.em.value == got.overall.acc.value == 0


def test_musique_wants_ids_to_match():
    questions = [make_question(q, benchmark="musique") for q in "abcde"]
    with pytest.raises(InputError) as error:
        score_predictions(questions, a_file(e="x", y="x"), "musique")
    assert str(error.value) == (
        "no prediction for 4 questions (a, b, c and 1 more) and predictions for 1 unknown id (y); "
        "MuSiQue's script wants exactly one line for each question"
    )
    any_order = a_file(**dict.fromkeys("edcba", "England"))
    assert score_predictions(questions, any_order, "musique").overall.em.value == 1.0


def test_questions_without_answers_are_not_scored():
    questions = [make_question("a"), make_question("b", ())]
    got = score_predictions(questions, a_file(a="England", b="x"), "hotpotqa")
    assert (got.overall.n, got.without_answers, got.unknown, got.missing) == (1, 1, (), ())
    with pytest.raises(InputError, match="none of the questions has a gold answer"):
        score_predictions(questions[1:], a_file(b="x"), "hotpotqa")


def test_a_blank_answer_is_no_answer():
    blank, other = make_question("a", answers=("", " ", "-", "\u200b")), make_question("b")
    metrics = score_predictions([blank, other], a_file(a="anything", b="France"), "hotpotqa")
    assert metrics.without_answers == 1
    assert metrics.overall.acc.value == 0


def test_read_one_object(tmp_path):
    path = tmp_path / "p.json"
    path.write_text('{"answer": {"a": "x", "b": ""}, "sp": {"a": [["T", 0]]}, "evidence": {}}')
    file = read_predictions(path, "2wikimultihopqa")
    assert [(p.question_id, p.answer) for p in file.predictions] == [("a", "x"), ("b", "")]
    assert file.ignored == ("sp",)


def test_read_lines(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text(
        '{"id": "a", "predicted_answer": "x", "predicted_support_idxs": []}\n\n'
        '{"id": "b", "predicted_answer": "y", "predicted_answerable": true, '
        '"z": 1, "predicted_support_idxs": [1]}\n'
    )
    file = read_predictions(path, "musique")
    assert [(p.question_id, p.answer) for p in file.predictions] == [("a", "x"), ("b", "y")]
    assert file.ignored == ("predicted_support_idxs", "z")


@pytest.mark.parametrize(
    ("benchmark", "text", "message"),
    [
        ("hotpotqa", '{"answer": {"a": 5}}', r'p: answer\["a"\] is 5; a text was expected: Hotpot'),
        ("hotpotqa", '{"a": "x"}', r"p: field answer is missing; HotpotQA predictions are one"),
        ("hotpotqa", '{"answer": ["x"]}', r'p: answer is \["x"\]; HotpotQA'),
        ("2wikimultihopqa", "[1]", r"p: a JSON list stands there; 2Wiki predictions are one"),
        ("hotpotqa", '{"answer":\n {"a": }}', r"p, line 2, column \d+: not JSON .*; HotpotQA"),
        ("musique", '{"id": "a"}', r"p, line 1: field predicted_answer is missing; MuSiQue"),
        ("musique", '\n{"id": 7, "predicted_answer": ""}', r"p, line 2: id is 7; a text"),
        ("musique", '{"id": "a", "predicted_answer": null}', r"line 1: predicted_answer is null"),
        ("musique", '{"answer": {\n"a": "x"}}', r"p, line 1, column \d+: not JSON .*; MuSiQue"),
        ("generic", "[]", r"p, line 1: a JSON object was expected, not list"),
        (
            "musique",
            '{"id": "a", "predicted_answer": "x"}\n' * 2,
            r"p, line 2: id 'a' was already predicted on line 1",
        ),
        ("wiki", "{}", r"unknown benchmark 'wiki'; known: 2wikimultihopqa"),
    ],
)
def test_broken_files_are_named(tmp_path, benchmark, text, message):
    path = tmp_path / "p"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        read_predictions(path, benchmark)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("benchmark", ["hotpotqa", "2wikimultihopqa", "musique", "generic"])
def test_what_is_written_reads_back(tmp_path, benchmark):
    path = tmp_path / submission_name(benchmark)
    rows = (Prediction(question_id="a", answer="Zürich"), Prediction(question_id="b", answer=""))
    write_predictions(path, rows, benchmark)
    assert read_predictions(path, benchmark).predictions == rows


def test_written_files_have_what_the_official_scripts_index(tmp_path):
    row = Prediction(question_id="a", answer="x")
    write_predictions(tmp_path / "w", [row], "2wikimultihopqa")
    assert json.loads((tmp_path / "w").read_text()) == {
        "answer": {"a": "x"},
        "sp": {},
        "evidence": {},
    }
    write_predictions(tmp_path / "m", [row], "musique")
    assert json.loads((tmp_path / "m").read_text()) == {
        "id": "a",
        "predicted_answer": "x",
        "predicted_support_idxs": [],
        "predicted_answerable": True,
    }
