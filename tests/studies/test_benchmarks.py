"""The study of other benchmarks: files in the three official formats, made here, end to end."""

import csv
import shutil

import pytest

from steper.cli.main import run as command
from steper.dryrun.stand_ins import generated, write_rows
from steper.store import read_json

FILES = {
    "2wikimultihopqa": "2wikimultihopqa/dev.json",
    "hotpotqa": "hotpotqa/hotpot_dev_distractor_v1.json",
    "musique": "musique/musique_ans_v1.0_dev.jsonl",
}
SMALL = {
    "data.2wiki.train_size": "null",
    "data.2wiki.test_size": "4",
    "evaluate.further.hotpotqa.test_size": "4",
    "evaluate.further.musique.test_size": "4",
    "evaluate.further.more-2wiki": "{questions: data/more.json}",
    "evaluate.bootstrap.resamples": "100",
    "strategy.max_steps": "3",
    "strategy.max_tokens": "8",
    "teacher.prompt.demos": "0",
    "train.max_steps": "2",
    "train.lora_rank": "0",
    "train.dtype": "float32",
    "recipes": "[vanilla_kd, steper_uniform]",
    "jobs": "1",
}
"""Overrides that leave the data sets as they are and make all else tiny."""


@pytest.fixture
def folder(tmp_path, tiny, monkeypatch):
    """A working folder with the files that the study names."""
    train, _ = generated("2wikimultihopqa", 12)
    for name, file in {"": "2wikimultihopqa/train.json", **FILES, "more": "more.json"}.items():
        path = tmp_path / "data" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        _, asked = generated(name if name in FILES else "2wikimultihopqa", 12)
        write_rows(path, asked[:6] if name else train)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny, "models/tiny")
    return tmp_path


def study(*more, **changed):
    values = {**SMALL, "students.smollm2.model": "models/tiny", **changed}
    overrides = [part for key, value in values.items() for part in ("--set", f"{key}={value}")]
    return command(["study", "benchmarks", "--quick", *overrides, "--out", "out", *more])


def test_each_official_file_is_read_searched_and_planned(folder, capsys):
    assert study("--dry-run") == 0
    assert "eval" in capsys.readouterr().out
    assert not (folder / "out").exists()


@pytest.mark.slow
def test_students_of_one_benchmark_are_asked_the_others_and_stand_in_one_table(folder, capsys):
    assert study() == 0
    shown = capsys.readouterr().out
    methods = ["vanilla_kd", "steper_uniform"]
    trained = [*methods, *(f"{method} (steps_cut)" for method in methods)]
    found = read_json(folder / "out" / "study.json")["tests"]
    assert list(found) == ["2wiki", "hotpotqa", "musique", "more-2wiki"]
    for name, test in found.items():
        benchmark = "2wikimultihopqa" if "2wiki" in name else name
        rows = test["comparison"]["methods"]
        assert list(rows) == ["base", *trained]
        assert test["comparison"]["shared"] == (6 if name == "more-2wiki" else 4)
        for (run,) in rows.values():
            manifest = read_json(folder / run / "manifest.json")
            assert manifest["inputs"]["questions"]["format"] == benchmark
            assert manifest["counts"]["failed"] == 0
    heading = "|  | 2wiki, EM | hotpotqa, EM | musique, EM | more-2wiki, EM |"
    assert heading in (folder / "out" / "tables.md").read_text()
    page = (folder / "out" / "report.html").read_text()
    for name in found:
        assert f"{name}: of 4 trained rows" in page
        assert f"{name}: of 4 trained rows" in shown
    rows = csv.DictReader((folder / "out" / "tables.csv").read_text().splitlines())
    assert {row["test"] for row in rows} == set(found)
    assert study() == 0  # all is done


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("evaluate.further.musique.questions", "data/gone.jsonl", "data/gone.jsonl: no such file"),
        ("evaluate.further.musique.questions", "data/hotpotqa", "data/hotpotqa"),
        ("evaluate.further.musique.benchmark", "hotpotqa", "musique_ans_v1.0_dev.jsonl"),
        ("evaluate.further.musique.benchmark", "musik", "unknown benchmark 'musik'"),
        ("evaluate.further.musique.test_size", "7", "holds 6 questions, but 7 were asked for"),
        ("evaluate.further.musique.corpus", "data/gone.jsonl", "data/gone.jsonl: no such file"),
        ("evaluate.further.2wiki", "{questions: data/more.json}", "data has a set of that name"),
        (
            "evaluate.further.again",
            "{questions: data/2wikimultihopqa/train.json}",
            "evaluate.further.again: 12 of 12 questions of",
        ),
        ("evaluate.further.extra", "{}", "evaluate.further.extra: name either `questions`"),
        ("evaluate.further.musique.aliases", "data/more.json", "an aliases file belongs to 2wiki"),
    ],
)
def test_what_is_wrong_with_a_benchmark_is_one_line(folder, capsys, setting, value, said):
    assert study("--dry-run", **{setting: value}) == 2
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1
    assert not (folder / "out").exists()
