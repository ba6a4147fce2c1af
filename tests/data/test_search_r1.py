import pytest
from mini import lines

from steper.data import load_questions, read_question_file
from steper.errors import InputError

PLAIN = [{"id": "q1", "question": "Who?", "golden_answers": ["A", "B"], "data_source": "nq"}]


def nested(number, source):
    """A row as Search-R1's own script writes it for training."""
    return {
        "id": f"train_{number}",
        "question": f"who wrote {source}?",
        "golden_answers": ["Ada"],
        "data_source": source,
        "prompt": [{"role": "user", "content": "Answer the given question. …"}],
        "ability": "fact-reasoning",
        "reward_model": {"ground_truth": {"target": ["Ada", "Ada Vel"]}, "style": "rule"},
        "extra_info": {"index": number, "split": "train"},
        "metadata": None,
    }


def test_plain_rows(tmp_path, caplog):
    file = read_question_file(lines(tmp_path, PLAIN))
    (question,) = file.questions
    assert file.format == "search-r1"
    assert (question.id, question.answers, question.type) == ("q1", ("A", "B"), "nq")
    assert question.benchmark == "generic"
    assert load_questions(lines(tmp_path, PLAIN), "hotpotqa")[0].benchmark == "hotpotqa"
    assert not caplog.records


def test_its_parquet_of_several_data_sets_numbered_alike(tmp_path, caplog):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow.parquet import write_table

    rows = [nested(0, "nq"), nested(0, "hotpotqa"), nested(1, "hotpotqa")]
    path = tmp_path / "train.parquet"
    write_table(pyarrow.Table.from_pylist(rows), path)
    questions = load_questions(path)
    assert [q.id for q in questions] == ["nq-train_0", "hotpotqa-train_0", "hotpotqa-train_1"]
    assert [q.type for q in questions] == ["nq", "hotpotqa", "hotpotqa"]
    assert questions[0].answers == ("Ada",)
    assert not caplog.records


def test_answers_may_stand_in_the_reward_alone(tmp_path):
    row = nested(0, "nq")
    del row["golden_answers"]
    assert load_questions(lines(tmp_path, [row]))[0].answers == ("Ada", "Ada Vel")


def test_rows_without_answers_are_named(tmp_path):
    row = {**nested(0, "nq"), "reward_model": None}
    del row["golden_answers"]
    with pytest.raises(InputError, match=r"line 1 \(id 'train_0'\): neither golden_answers nor"):
        load_questions(lines(tmp_path, [row]))
    row["reward_model"] = {"ground_truth": {"targets": ["x"]}}
    with pytest.raises(InputError, match=r"ground_truth.target: .*did you mean target by targets"):
        load_questions(lines(tmp_path, [row]))
