"""Records that stay in a file are what a list of them would be."""

import copy
import pickle

import pytest

from doubles import film_questions
from steper.errors import InputError
from steper.records import Question
from steper.store import dump_line, write_jsonl
from steper.stored import choose, id_of, open_stored, stored_questions, without_contexts

QUESTIONS = film_questions(5)


@pytest.fixture(params=["spooled", "opened"])
def stored(request, tmp_path):
    if request.param == "spooled":
        return stored_questions(QUESTIONS)
    write_jsonl(tmp_path / "q.jsonl", QUESTIONS)
    return open_stored(tmp_path / "q.jsonl", Question, id_of)


def test_it_reads_as_a_list_of_them_does(stored):
    assert stored == QUESTIONS
    assert stored != QUESTIONS[:4]
    assert [stored[2], stored[-1]] == [QUESTIONS[2], QUESTIONS[4]]
    assert list(reversed(stored)) == QUESTIONS[::-1]
    assert stored[1:4:2] == QUESTIONS[1:4:2]
    assert stored[3:][:1] == QUESTIONS[3:4]
    assert not stored[:0]
    assert stored.take([4, 0]).keys == ["q4", "q0"]
    assert choose(stored, [4, 0]) == choose(QUESTIONS, [4, 0]) == [QUESTIONS[4], QUESTIONS[0]]
    with pytest.raises(IndexError):
        stored[5]
    assert repr(stored) == "Stored(5 Question)"
    assert stored_questions(stored) is stored


def test_records_are_found_by_key(stored):
    found = stored.by_key
    assert found["q3"] == QUESTIONS[3]
    assert dict(found) == {q.id: q for q in QUESTIONS}
    assert "q9" not in found
    assert list(found.take([1])) == ["q1"]
    assert stored.take([2, 0]).by_key["q0"] == QUESTIONS[0]


def test_it_travels_to_another_process(stored):
    for other in (pickle.loads(pickle.dumps(stored[1:3])), copy.deepcopy(stored[1:3])):
        assert other == QUESTIONS[1:3]
        assert other.keys == ["q1", "q2"]


def test_what_is_opened_is_read_like_any_file_of_ours(tmp_path):
    path = tmp_path / "q.jsonl"
    lines = [dump_line(q) for q in QUESTIONS]
    path.write_bytes(b"\xef\xbb\xbf" + lines[0] + b" \n\n" + b"".join(lines[1:]).rstrip())
    stored = open_stored(path, Question, id_of)
    assert stored == QUESTIONS
    path.unlink()
    write_jsonl(path, [])  # another file in its place changes nothing
    assert stored == QUESTIONS
    path.write_bytes(lines[0] + b'{"id": "2"}\n')
    with pytest.raises(InputError, match="line 2: text: required field is missing"):
        open_stored(path, Question, id_of)


def test_of_a_growing_file_the_unfinished_line_is_left_out(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_bytes(dump_line(QUESTIONS[0]) + dump_line(QUESTIONS[1])[:-9])
    assert open_stored(path, Question, id_of, growing=True) == QUESTIONS[:1]


def test_contexts_are_left_behind():
    passage = {"id": "p", "title": "t", "text": "x"}
    with_context = [Question(id="a", text="Who?", context=(passage,)), QUESTIONS[0]]
    bare = list(without_contexts(with_context))
    assert [q.context for q in bare] == [(), ()]
    assert bare[1] is QUESTIONS[0]


def test_a_full_disk_for_temporary_files_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr("steper.stored.tempfile.tempdir", str(tmp_path / "gone"))
    with pytest.raises(InputError, match="gone: cannot be written"):
        stored_questions(QUESTIONS)
