"""Runs that were changed or damaged: told in one line, never taken as whole."""

import logging

import pytest

from doubles import film_script
from steper.checksums import without_checksum
from steper.errors import InputError, ModelError
from steper.evaluation.scoring import score_run
from steper.journal import RunFolder
from steper.runs import Run
from steper.store import read_yaml
from test_runs import run


def refuse(request):
    return ModelError("must not be asked")


@pytest.fixture
def whole(tmp_path):
    run(tmp_path / "r")
    return tmp_path / "r"


def lines(path):
    return path.read_text().splitlines(keepends=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "", "0 trajectories, but 6 were expected"),
        (lambda text: text.encode("utf-16"), "line 1: "),
        (lambda text: "\n" + text, "line 1: "),
        (lambda text: "0\n" + text, "line 1: "),
        (lambda text: "".join(text.splitlines(True)[:4]), "4 trajectories, but 6 were expected"),
        (
            lambda text: "".join(text.splitlines(True)[::-1]),
            "line 1: a trajectory of question 'q5'",
        ),
        (lambda text: text.replace('"answer":"1950"', '"answer":1950', 1), "line 1: answer: "),
    ],
)
def test_a_complete_run_is_checked_before_it_is_taken_as_done(whole, change, message):
    path = whole / "trajectories.jsonl"
    changed = change(path.read_text())
    path.write_bytes(changed if isinstance(changed, bytes) else changed.encode())
    with pytest.raises(InputError, match=message) as caught:
        run(whole, script=refuse)
    assert str(path) in str(caught.value)
    assert run(whole, overwrite=True).manifest["counts"]["answered"] == 6


def test_a_complete_run_without_its_result_is_not_paid_for_again(whole):
    (whole / "trajectories.jsonl").unlink()
    with pytest.raises(InputError, match=r"trajectories\.jsonl of this complete run is missing"):
        run(whole, script=refuse)


@pytest.mark.parametrize("text", ["", "changed\n", None])
def test_questions_that_were_changed_are_written_anew(whole, caplog, text):
    path = whole / "questions.jsonl"
    before = path.read_bytes()
    path.unlink() if text is None else path.write_text(text)
    with caplog.at_level(logging.WARNING):
        run(whole, script=refuse)
    assert path.read_bytes() == before
    assert ("it is written anew" in caplog.text) == (text is not None)


@pytest.mark.parametrize(
    ("old", "new"),
    [('"complete"', '"complet"'), ('"counts": {', '"count": {'), ('"status"', '"state"')],
)
def test_a_damaged_manifest_is_told(whole, old, new):
    path = whole / "manifest.json"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=r"manifest.json: damaged .*--overwrite"):
        run(whole, script=refuse)


def killed(*_):
    raise SystemExit


@pytest.fixture
def unfinished(tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(RunFolder, "finish", killed)
        with pytest.raises(SystemExit):
            run(tmp_path / "r")
    return tmp_path / "r"


@pytest.mark.parametrize("name", ["trajectories.part", "actions.jsonl"])
@pytest.mark.parametrize("line", ["0", "{}", "[]", '{"question_id": 5}', "\x00", '{"question_id"'])
def test_what_is_resumed_is_checked_line_by_line(unfinished, name, line):
    path = unfinished / name
    whole = path.read_text()
    path.write_text(f"{whole}{line}\n")
    number = whole.count("\n") + 1
    with pytest.raises(InputError, match=rf"{name}, line {number}: .*--overwrite"):
        run(unfinished, script=refuse)
    path.write_text(whole)
    assert run(unfinished, script=film_script).manifest["counts"]["answered"] == 6


@pytest.mark.parametrize("name", ["trajectories.part", "actions.jsonl"])
def test_a_value_that_changed_within_a_line_is_told(unfinished, name):
    path = unfinished / name
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    changed = lines[2].replace(b"film", b"filn", 1)
    assert changed != lines[2]
    path.write_bytes(b"".join([*lines[:2], changed, *lines[3:]]))
    says = rf"{name}, line 3: changed since it was written; take the line out, or begin anew"
    with pytest.raises(InputError, match=says):
        run(unfinished, script=refuse)
    if name == "trajectories.part":
        with pytest.raises(InputError, match=says):
            score_run(unfinished, partial=True)
    path.write_bytes(b"".join([*lines[:2], *lines[3:]]))
    run(unfinished, script=film_script)
    assert b"crc32" not in (unfinished / "trajectories.jsonl").read_bytes()


def test_journals_of_before_are_taken_as_they_are(unfinished):
    for name in ("trajectories.part", "actions.jsonl"):
        lines = (unfinished / name).read_bytes().splitlines(keepends=True)
        (unfinished / name).write_bytes(b"".join(map(without_checksum, lines)))
        assert b"crc32" not in (unfinished / name).read_bytes()
    assert run(unfinished, script=refuse).manifest["counts"]["answered"] == 6


@pytest.mark.parametrize(
    "text", ["a: &a [*a]", "a: &a {b: *a}", "[" * 500, "a: " + "[" * 60 + "]" * 60]
)
def test_yaml_that_holds_itself_is_told(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"config\.yaml"):
        read_yaml(path)


def test_records_that_were_edited_are_told_where_they_are_read(whole, caplog):
    """By whoever reads them: a change may be valid, and meant."""
    caplog.set_level(logging.WARNING)
    path = whole / "trajectories.jsonl"
    score_run(whole)
    assert "changed since" not in caplog.text
    path.write_text(path.read_text().replace('"answer":"1950"', '"answer":"1949"', 1))
    for read in (score_run, lambda folder: Run(folder).made_with()):
        caplog.clear()
        read(whole)
        assert f"{path}: changed since it was written" in caplog.text


def test_a_changed_result_that_is_taken_up_again_is_told(tmp_path, caplog, monkeypatch):
    def busy(request):
        return ModelError("busy") if request.question_id == "q1" else film_script(request)

    run(tmp_path / "r", script=busy)
    path = tmp_path / "r/trajectories.jsonl"
    path.write_text(path.read_text().replace('"answer":"1950"', '"answer":"1949"', 1))
    caplog.clear()
    with monkeypatch.context() as patched:
        patched.setattr(RunFolder, "finish", killed)
        with pytest.raises(SystemExit):
            run(tmp_path / "r", script=film_script, retry_failed=True)
    part = tmp_path / "r/trajectories.part"
    assert part.read_bytes().count(b'"crc32":') == part.read_bytes().count(b"\n") > 5
    assert not path.exists()
    run(tmp_path / "r", script=film_script)
    assert b"crc32" not in path.read_bytes()
    assert f"{path}: changed since it was written; it is read as it is" in caplog.messages


def test_settings_that_were_edited_are_told(whole, caplog):
    path = whole / "manifest.json"
    score_run(whole)
    assert "settings were changed" not in caplog.text
    path.write_text(path.read_text().replace('"demos": 0', '"demos": 1', 1))
    Run(whole).made_with()
    assert f"{path}: its settings were changed since it was written" in caplog.text


def test_who_ends_a_step_is_one_of_three(whole):
    path = whole / "manifest.json"
    before = score_run(whole).metrics.step_end
    path.write_text(path.read_text().replace(f'"step_end": "{before}"', '"step_end": {"a": 1}'))
    assert score_run(whole).metrics.step_end == before != ""
