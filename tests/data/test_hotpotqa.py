import pytest
from mini import HOTPOT, array, as_columns, changed, lines

from steper.data import load_questions, read_question_file
from steper.errors import InputError


def test_gold_passages_context_and_supporting_sentences(tmp_path):
    first, second = load_questions(array(tmp_path, HOTPOT))
    assert (first.answers, first.type, first.hops) == (("Torvik",), "bridge", 2)
    assert [p.title for p in first.context] == ["Ada Vel", "Torvik", "The Pale Gate"]
    # Sentences carry their own spaces.
    assert first.context[2].text == "The Pale Gate is a novel by Ada Vel. It sold well."
    assert [p.title for p in first.gold] == ["The Pale Gate", "Ada Vel"]
    assert [hop.fact for hop in first.decomposition] == [
        "The Pale Gate is a novel by Ada Vel.",
        "She was born in Torvik.",
    ]
    assert [hop.passage_id for hop in second.decomposition] == [p.id for p in second.gold]


def test_fullwiki_keeps_only_the_gold_passages_that_are_there(tmp_path):
    rows = changed(HOTPOT, 0, context=HOTPOT[0]["context"][:2])
    file = read_question_file(array(tmp_path, rows))
    question = file.questions[0]
    assert [p.title for p in question.gold] == ["Ada Vel"]
    assert question.decomposition == ()
    assert file.counts == {"gold_passage_not_in_context": 1}


def test_a_sentence_out_of_range_is_counted_and_its_passage_kept(tmp_path):
    facts = [["The Pale Gate", 9], ["Ada Vel", 1]]
    file = read_question_file(array(tmp_path, changed(HOTPOT, 0, supporting_facts=facts)))
    question = file.questions[0]
    assert [p.title for p in question.gold] == ["The Pale Gate", "Ada Vel"]
    assert question.decomposition == ()
    assert file.counts == {"supporting_sentence_out_of_range": 1}


def test_test_files_have_no_answers(tmp_path):
    rows = changed(HOTPOT, 0, answer=..., supporting_facts=..., type=..., level=...)
    question = load_questions(array(tmp_path, rows[:1]))[0]
    assert (question.answers, question.gold, question.type) == ((), (), None)


def test_hugging_faces_columns_read_as_the_official_file(tmp_path):
    rows = [as_columns(row) for row in HOTPOT]
    official = load_questions(array(tmp_path, HOTPOT))
    assert load_questions(lines(tmp_path, rows)) == official
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow.parquet import write_table

    write_table(pyarrow.Table.from_pylist(rows), tmp_path / "dev.parquet")
    assert load_questions(tmp_path / "dev.parquet") == official


def test_columns_that_do_not_fit_are_named(tmp_path):
    row = as_columns(HOTPOT[0])
    row["context"]["title"].pop()
    with pytest.raises(InputError, match=r"context: columns .* \(title 2, sentences 3\)"):
        load_questions(lines(tmp_path, [row]))
    row["supporting_facts"] = {"title": ["Ada Vel"], "sentence": [1]}
    row["context"] = as_columns(HOTPOT[0])["context"]
    with pytest.raises(InputError, match=r"line 1 .*supporting_facts: .*title, sent_id; sent_id"):
        load_questions(lines(tmp_path, [row]))
