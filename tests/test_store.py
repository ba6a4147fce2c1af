import pytest

from steper.errors import InputError
from steper.records import Passage, Question, Step, Trajectory, passage_id
from steper.store import atomic_writer, read_json, read_records, read_yaml, write_json, write_jsonl


def test_records_go_through_a_file_unchanged(tmp_path):
    question = Question(id="1", text="Who?", answers=("A", "B"), gold=(Passage.make("t", "x"),))
    path = tmp_path / "q.jsonl"
    assert write_jsonl(path, [question]) == 1
    assert list(read_records(path, Question)) == [question]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"id": "2", "text": "x", "colour": 1}', "line 2: colour: unknown field"),
        (b'{"id": "2"}', "line 2: text: required field is missing"),
        (b'{"id": 2, "text": "x"}', "line 2: id: Input should be a valid string, not 2"),
        (b'{"id": "2", "text": ', "line 2, column "),
        (b"[1]", "line 2: a JSON object was expected, not list"),
        (b'{"id": "2", "text": "x", "hops": "two"}', "line 2: hops: "),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, message):
    path = tmp_path / "q.jsonl"
    path.write_bytes(b'{"id": "1", "text": "x"}\n' + line + b"\n")
    with pytest.raises(InputError) as error:
        list(read_records(path, Question))
    assert str(path) in str(error.value)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_no_yaml_is_named_with_its_line(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("a: 1\nb: [2\nc: : 3\n")
    with pytest.raises(InputError, match=r"config\.yaml, line 3: not YAML \(expected "):
        read_yaml(path)
    path.write_text("a: {b: [1, 2]}")
    assert read_yaml(path) == {"a": {"b": [1, 2]}}


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_json(tmp_path / "none.json")
    with pytest.raises(InputError, match="is a folder"):
        read_json(tmp_path)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "f"
    path.write_text("old")

    def fail():
        with atomic_writer(path) as out:
            out.write(b"new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_a_trajectory_must_carry_its_passages():
    step = Step(index=1, kind="agg", context=("nowhere",))
    with pytest.raises(ValueError, match=r"steps\[0\] names passage 'nowhere'"):
        Trajectory(
            question_id="q",
            question="?",
            strategy="ircot",
            layout="passages_first",
            model="m",
            steps=(step,),
            status="capped",
            stop_reason="step_cap",
        )


@pytest.mark.parametrize(
    ("status", "error", "reason"),
    [
        ("answered", None, None),
        ("dropped", "gold_passage_not_retrieved: Oslo", "gold_passage_not_retrieved"),
        ("failed", "openai:m: 400 from http://h/v1: bad", "openai:m: 400 from http://h/v1: bad"),
        ("failed", "no text for question 'q7', step 2", "no text for question '…', step 2"),
        ("failed", "x" * 200, "x" * 120),
    ],
)
def test_reasons_are_what_errors_share(status, error, reason):
    ended = Trajectory(
        question_id="q",
        question="Who?",
        strategy="ircot",
        layout="passages_first",
        model="m",
        status=status,
        stop_reason="failed",
        error=error,
    )
    assert ended.reason == reason


def test_passage_ids_follow_content():
    assert passage_id("a", "b") == Passage.make("a", "b").id
    assert passage_id("a", "b") != passage_id("a", "c")


def test_what_a_killed_writer_left_goes_and_what_is_being_written_stays(tmp_path):
    (tmp_path / ".out[1].json.abcdefgh.tmp").write_text("half")
    (tmp_path / ".other.json.abcdefgh.tmp").write_text("half")
    with atomic_writer(tmp_path / "out[1].json") as first:
        first.write(b"first")
        write_json(tmp_path / "out[1].json", "second")
    assert (tmp_path / "out[1].json").read_bytes() == b"first"
    assert sorted(p.name for p in tmp_path.iterdir()) == [".other.json.abcdefgh.tmp", "out[1].json"]
