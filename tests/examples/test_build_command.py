"""The command: what it prints, what it leaves, and how it refuses."""

import pytest

from steper.cli.main import run
from steper.recipes import RECIPES
from steper.store import read_json, read_json_lines


def call(capsys, *arguments):
    code = run(["build", *map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_summary_with_reasons_and_what_is_next(film_run, tmp_path, capsys):
    out = tmp_path / "examples"
    code, said, _ = call(capsys, film_run.path, "--out", out, "--export", "jsonl")
    assert code == 0
    assert "4 trajectories: 1 kept, 3 dropped" in said
    assert "1 × wrong_answer: the answer is wrong" in said
    assert "3 examples: 1 init, 1 exp, 1 agg" in said
    assert f"Examples: {out / 'examples.jsonl'}" in said
    assert f"Next: steper train {out} --student MODEL" in said
    code, said, _ = call(capsys, film_run.path, "--out", out)
    assert code == 0
    assert f"Up to date: {out / 'examples.jsonl'}" in said


def test_options_reach_the_examples(film_run, tmp_path, capsys):
    out = tmp_path / "examples"
    options = ["--recipe", "vanilla_kd", "--form", "plain", "--layout", "append_only"]
    options += ["--no-instruction", "--demos", "1", "--passage-words", "9"]
    options += ["--correct", "none", "--gold-seen", "--min-grounded", "0.5", "--repeats"]
    code, said, _ = call(capsys, film_run.path, "--out", out, *options)
    assert code == 0
    assert "2 examples: 2 agg" in said
    manifest = read_json(out / "manifest.json")
    assert manifest["weights"] == "uniform"
    assert manifest["settings"]["form"] == "plain"
    assert manifest["settings"]["prompt"] == {
        "layout": "append_only",
        "reasoning": "assistant",
        "instruction": False,
        "demos": 1,
        "demo_steps": "first_middle_last",
        "passage_words": 9,
    }
    filters = manifest["settings"]["filters"]
    assert (filters["correct"], filters["gold_seen"], filters["repeats"]) == ("none", True, True)
    _, first = next(read_json_lines(out / "examples.jsonl"))
    assert first["recipe"] == "vanilla_kd"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recipe", "stepr"], "unknown recipe 'stepr'; did you mean steper"),
        (["--threshold", "2"], "threshold"),
        (["--exclude", "nowhere.json"], "nowhere.json: no such file"),
        (["--student", "x", "--form", "chat"], "--student decides the form"),
        (["--target", "cumulative", "--layout", "append_only"], "target=cumulative"),
        (["--max-steps", "1"], "no example is left"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(arguments, message, film_run, tmp_path, capsys):
    out = tmp_path / "out" / "examples"
    code, _, said = call(capsys, film_run.path, "--out", out, *arguments)
    assert code == 2
    assert said.startswith("steper build: error: ")
    assert message in said
    assert said.count("\n") == 1
    assert not out.exists()


def test_help_names_every_recipe(capsys):
    code, said, _ = call(capsys, "--help")
    assert code == 0
    assert all(f"{name}" in said for name in RECIPES.names())


def test_a_folder_that_is_no_run_is_one_line(tmp_path, capsys):
    code, _, said = call(capsys, tmp_path, "--out", tmp_path / "examples")
    assert code == 2
    assert "is not a run folder" in said
