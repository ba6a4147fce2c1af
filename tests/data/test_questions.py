import logging

import pytest
from mini import HOTPOT, MUSIQUE, WIKI2, array, changed, lines, shared

from steper.data import load_questions, read_question_file
from steper.errors import InputError

FLASHRAG = [
    {"id": "f1", "question": "Who?", "golden_answers": ["A", "B"], "metadata": {"type": "bridge"}}
]
GENERIC = [
    {
        "id": 7,
        "question": " Who founded the town where Ada Vel was born? ",
        "answers": "Bo Larn",
        "context": [{"title": "Ada Vel", "text": "Born in Tor."}, {"title": "Tor", "text": "Bo."}],
        "decomposition": [
            {"question": "Where was Ada Vel born?", "answer": "Tor", "passage": 0},
            {"subject": "Tor", "relation": "founded by", "answer": "Bo Larn", "passage": 1},
        ],
        "metadata": {"anything": [1]},
    }
]


def refused(path, *parts, benchmark="auto", aliases=None):
    with pytest.raises(InputError) as caught:
        load_questions(path, benchmark, aliases)
    text = str(caught.value)
    assert "\n" not in text
    for part in (str(path), *parts):
        assert part in text
    return text


@pytest.mark.parametrize(
    ("rows", "write", "found", "benchmark"),
    [
        (HOTPOT, array, "hotpotqa", "hotpotqa"),
        (HOTPOT, lines, "hotpotqa", "hotpotqa"),
        (WIKI2, array, "2wikimultihopqa", "2wikimultihopqa"),
        (MUSIQUE, lines, "musique", "musique"),
        (FLASHRAG, lines, "flashrag", "generic"),
        (GENERIC, lines, "generic", "generic"),
    ],
)
def test_the_format_is_recognised(tmp_path, rows, write, found, benchmark):
    file = read_question_file(write(tmp_path, rows))
    assert file.format == found
    assert len(file.questions) == len(rows)
    assert {q.benchmark for q in file.questions} == {benchmark}
    assert load_questions(write(tmp_path, rows), found) == file.questions


def test_naming_a_benchmark_sets_the_rules_of_formats_that_have_none(tmp_path):
    assert load_questions(lines(tmp_path, FLASHRAG), "hotpotqa")[0].benchmark == "hotpotqa"
    assert load_questions(lines(tmp_path, GENERIC), "musique")[0].benchmark == "musique"


def test_flashrag_and_generic_fields(tmp_path):
    (flash,) = load_questions(lines(tmp_path, FLASHRAG))
    assert (flash.id, flash.answers, flash.type) == ("f1", ("A", "B"), "bridge")
    (own,) = load_questions(lines(tmp_path, GENERIC))
    assert (own.id, own.answers, own.hops) == ("7", ("Bo Larn",), 2)
    assert own.text == "Who founded the town where Ada Vel was born?"
    assert [p.title for p in own.gold] == ["Ada Vel", "Tor"]
    assert [hop.passage_id for hop in own.decomposition] == [p.id for p in own.context]


def test_wrong_benchmark_unknown_benchmark_unknown_format(tmp_path):
    path = lines(tmp_path, MUSIQUE)
    refused(path, "line 1", "not a hotpotqa file", "looks like musique", benchmark="hotpotqa")
    refused(array(tmp_path, HOTPOT), "item 1", "name hotpotqa", benchmark="2wikimultihopqa")
    with pytest.raises(InputError, match="unknown benchmark 'musik'; did you mean musique"):
        load_questions(path, "musik")
    refused(lines(tmp_path, [{"text": "x"}]), "not a known question format", "it has text")
    refused(path, "expected one of musique (")
    refused(
        lines(tmp_path, [{"question": "x", "answers": ["y"]}]),
        "it has question, answers; the nearest, generic (id, question), needs id",
    )
    refused(lines(tmp_path, [{"version": 1, "data": GENERIC}]), "rows seem to be under 'data'")


def test_missing_empty_and_broken_files(tmp_path):
    refused(tmp_path / "none.json", "no such file")
    refused(tmp_path, "is a folder")
    path = tmp_path / "x.jsonl"
    path.write_text("")
    refused(path, "is empty")
    path.write_text("[]")
    refused(path, "holds no questions")
    good = lines(tmp_path, MUSIQUE).read_text()
    path.write_text(good.strip() + "\n\n{oops}\n")
    refused(path, "line 3", "not JSON")
    path.write_text('[{"id": "1", "question": "Who?"},\n {oops}]')
    refused(path, "line 2", "not JSON")
    path.write_text("[1]")
    refused(path, "item 1", "object was expected, not int")


def test_fields_are_checked_and_named(tmp_path):
    refused(array(tmp_path, changed(HOTPOT, 1, context=...)), "item 2 (id 'h2')", "context")
    refused(array(tmp_path, changed(HOTPOT, 0, question=3)), "question", "string", "not 3")
    rows = [{**HOTPOT[0], "questions": "x"}]
    del rows[0]["question"]
    text = refused(array(tmp_path, rows), "question: required field is missing")
    assert "did you mean question by questions?; hotpotqa needs _id, question, context" in text
    refused(lines(tmp_path, [{"id": 1, "qestion": "x"}]), "did you mean question by qestion?")
    facts = [["Ada Vel", -1]]
    refused(array(tmp_path, changed(HOTPOT, 0, supporting_facts=facts)), "supporting_facts[0][1]")
    refused(array(tmp_path, changed(WIKI2, 0, type="odd")), "type", "compositional", "'odd'")
    rows = changed(MUSIQUE, 0, paragraphs=[{"idx": 0, "title": "x", "paragraph": "y"}])
    text = refused(lines(tmp_path, rows), "line 1", "paragraphs[0].paragraph_text", "missing")
    assert "did you mean paragraph_text by paragraph?" in text


def test_extra_fields_are_ignored_and_named_once(tmp_path, caplog):
    rows = [{**row, "levels": "x", "source": {"a": 1}} for row in HOTPOT]
    del rows[1]["level"]
    file = read_question_file(array(tmp_path, rows))
    plain = load_questions(array(tmp_path, HOTPOT))
    assert file.questions == plain
    assert [r.message.split("dev.json: ")[1] for r in caplog.records] == [
        "fields that are not read: levels (did you mean level?), source"
    ]
    assert file.ignored == {"levels": 2, "source": 2}
    assert file.describe(tmp_path / "dev.json")["ignored"] == file.ignored
    assert "ignored" not in read_question_file(array(tmp_path, HOTPOT)).describe(
        tmp_path / "dev.json"
    )


def test_extra_fields_of_inner_rows_have_their_path(tmp_path, caplog):
    paragraphs = [{**row, "note": 1} for row in MUSIQUE[0]["paragraphs"]]
    file = read_question_file(lines(tmp_path, changed(MUSIQUE, 0, paragraphs=paragraphs)))
    assert file.questions == load_questions(lines(tmp_path, MUSIQUE))
    assert file.ignored == {"paragraphs[].note": 1}
    assert "not read: paragraphs[].note" in caplog.text


def test_null_is_an_absent_field_where_it_may_be_absent(tmp_path):
    rows = changed(HOTPOT, 0, supporting_facts=None, level=None)
    assert load_questions(array(tmp_path, rows))[0].gold == ()
    refused(array(tmp_path, changed(HOTPOT, 0, question=None)), "question", "string", "not None")


def test_duplicate_ids_name_both_places(tmp_path):
    refused(array(tmp_path, [*HOTPOT, HOTPOT[0]]), "item 3 (id 'h1')", "stands at item 1")
    refused(lines(tmp_path, [*MUSIQUE, *MUSIQUE]), "line 2", "stands at line 1")


def test_an_index_out_of_range_says_what_the_range_is(tmp_path):
    parts = [{"question": "q", "answer": "a", "paragraph_support_idx": 3}]
    refused(
        lines(tmp_path, changed(MUSIQUE, 0, question_decomposition=parts)),
        "line 1",
        "question_decomposition[0].paragraph_support_idx is 3, but the question has 3 paragraphs "
        "(0–2)",
    )
    refused(
        lines(tmp_path, changed(GENERIC, 0, gold=[2])), "gold[0] is 2, but context has 2 passages"
    )
    hop = [{"answer": "x"}]
    refused(lines(tmp_path, changed(GENERIC, 0, decomposition=hop)), "neither a question nor")


def test_what_is_left_out_is_counted_and_logged(tmp_path, caplog):
    rows = [*MUSIQUE, {**MUSIQUE[0], "answerable": False}]
    with caplog.at_level(logging.WARNING):
        file = read_question_file(lines(tmp_path, rows))
    assert (len(file.questions), file.counts) == (1, {"unanswerable": 1})
    assert "1 unanswerable questions were left out" in caplog.text
    refused(
        lines(tmp_path, rows[1:]),
        "no questions that can be used",
        "1 unanswerable questions were left out",
    )


@pytest.mark.parametrize(
    ("rows", "blank", "answers"),
    [
        (HOTPOT, {"answer": ""}, ()),
        (WIKI2, {"answer": " ", "answer_id": None}, ()),
        (MUSIQUE, {"answer": "\n", "answer_aliases": ["", "in 1612"]}, ("in 1612",)),
        (FLASHRAG, {"golden_answers": ["", "B"]}, ("B",)),
        (FLASHRAG, {"golden_answers": ""}, ()),
        (GENERIC, {"answers": [" "]}, ()),
        (GENERIC, {"answers": ["-", "?"]}, ()),
        (GENERIC, {"answers": ["\u200b", "€", "7", "你"]}, ("€", "7", "你")),
        (HOTPOT, {"answer": " – "}, ()),
        (FLASHRAG, {"golden_answers": ["...", "The"]}, ("The",)),
    ],
)
def test_blank_answers_are_no_answers(tmp_path, caplog, rows, blank, answers):
    file = read_question_file(lines(tmp_path, changed(rows, 0, **blank)))
    assert file.questions[0].answers == answers
    assert file.counts["blank_answer"] in (1, 2)
    assert "answers are blank and count as no answer" in caplog.text


@pytest.mark.parametrize("rows", [HOTPOT, WIKI2, MUSIQUE, FLASHRAG, GENERIC])
def test_a_blank_question_is_refused(tmp_path, rows):
    path = lines(tmp_path, changed(rows, 0, question=" "))
    refused(path, "line 1", "question: a text that is not blank was expected, not ' '")


def test_aliases_belong_to_2wiki(tmp_path):
    path = lines(tmp_path, MUSIQUE)
    refused(path, "belongs to 2wikimultihopqa", aliases=path)


@pytest.mark.parametrize(
    ("name", "benchmark", "count", "hops"),
    [
        ("hotpotqa_sample.json", "hotpotqa", 100, 229),
        ("2wikimultihopqa_sample.json", "2wikimultihopqa", 200, 486),
        ("musique_sample.jsonl", "musique", 100, 237),
    ],
)
def test_real_samples_are_read_whole(name, benchmark, count, hops):
    questions = load_questions(shared(name))
    assert len(questions) == count
    assert {q.benchmark for q in questions} == {benchmark}
    assert sum(len(q.decomposition) for q in questions) == hops
    for q in questions:
        assert q.answers
        assert {p.id for p in q.gold} <= {p.id for p in q.context}
        assert {hop.passage_id for hop in q.decomposition} <= {p.id for p in q.gold}
