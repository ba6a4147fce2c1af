"""Files of examples and students that were changed after they were written are told by name."""

import json
import logging
import shutil

import pytest

from lm.tiny import make_tiny_llama
from steper.errors import InputError
from steper.student import adopt_student
from steper.training.job import train
from steper.training.train_settings import TrainSettings
from training.made import example_folder, examples

SETTINGS = TrainSettings(max_steps=1, batch_size=1, dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    make_tiny_llama(folder / "tiny", window=4096)
    example_folder(folder / "examples", examples(3))
    train(folder / "examples", folder / "tiny", folder / "student", SETTINGS)
    return folder


@pytest.fixture
def there(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "there")


def asked(student):
    return adopt_student(str(student), None, {"strategy": {}, "prompt": {}})


def test_a_student_as_it_was_written_is_asked_without_a_word(there, caplog):
    asked(there / "student")
    assert not caplog.text
    sums = json.loads((there / "student" / "manifest.json").read_text())["sha256"]
    assert {"model.safetensors", "config.json", "steper.json", "tokenizer.json"} <= set(sums)
    assert "manifest.json" not in sums


@pytest.mark.parametrize("name", ["generation_config.json", "tokenizer.json", "steper.json"])
def test_a_students_changed_file_is_told(name, there, caplog):
    path = there / "student" / name
    path.write_text(path.read_text() + "\n")
    asked(there / "student")
    assert f"{path}: changed since it was written" in caplog.text
    caplog.clear()
    asked(there / "student")  # once is enough
    assert not caplog.text


def test_a_students_missing_file_is_told(there, caplog):
    path = there / "student" / "generation_config.json"
    path.unlink()
    asked(there / "student")
    assert f"{path}: missing or unreadable" in caplog.text


def test_a_students_damaged_manifest_is_refused(there):
    (there / "student" / "manifest.json").write_text('{"content": ')
    with pytest.raises(InputError, match=r"student/manifest\.json"):
        asked(there / "student")
    (there / "student" / "manifest.json").unlink()  # a student from elsewhere may have none
    asked(there / "student")


def test_changed_examples_are_told_and_changed_settings_refused(there, caplog):
    caplog.set_level(logging.WARNING)
    path = there / "examples" / "examples.jsonl"
    path.write_text(path.read_text().replace("Paris", "Parma"))
    train(there / "examples", there / "tiny", there / "other", SETTINGS)
    assert f"{path}: changed since it was written" in caplog.text
    manifest = there / "examples" / "manifest.json"
    value = json.loads(manifest.read_text())
    value["settings"]["target"] = "cumulative"
    manifest.write_text(json.dumps(value))
    with pytest.raises(InputError, match=r"manifest\.json: its settings were changed"):
        train(there / "examples", there / "tiny", there / "another", SETTINGS)


def test_no_example_in_a_file_is_named(there):
    path = there / "examples" / "examples.jsonl"
    path.write_text("")
    with pytest.raises(InputError, match=r"examples\.jsonl holds no examples"):
        train(there / "examples", there / "tiny", there / "other", SETTINGS)
