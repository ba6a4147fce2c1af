"""Every example runs as a script, in an empty folder and without a warning."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def run_here(tmp_path, monkeypatch, capsys):
    """A function that runs an example as a script, in this process: all is imported already."""

    def run(name):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("STEPER_EXAMPLE_SIZE", "tiny")
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        assert [path.name for path in tmp_path.iterdir()] == ["runs"]
        return capsys.readouterr().out

    return run


def run_example(name, folder):
    """What an example prints in a process of its own."""
    environment = {**os.environ, "STEPER_EXAMPLE_SIZE": "tiny"}
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / name],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert [path.name for path in folder.iterdir()] == ["runs"]
    return done.stdout


def test_the_index_lists_every_example():
    linked = re.findall(r"\]\((.+?)\)", (EXAMPLES / "README.md").read_text("utf-8"))
    assert linked == sorted(path.name for path in EXAMPLES.glob("*.py"))


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_an_example_is_cells_of_prose_and_code(path):
    lines = path.read_text("utf-8").splitlines()
    cells = [number for number, line in enumerate(lines) if line.startswith("# %%")]
    assert cells[0] == 0
    assert lines[0] == "# %% [markdown]"
    assert lines[1].startswith("# # ")
    for start, end in zip(cells, [*cells[1:], None], strict=True):
        cell = [line for line in lines[start + 1 : end] if line]
        assert cell
        assert lines[start] == "# %%" or all(line.startswith("#") for line in cell)


@pytest.mark.slow
def test_quickstart_does_the_whole_job(tmp_path):
    said = run_example("quickstart.py", tmp_path)
    out = tmp_path / "runs/quickstart/tiny"
    assert re.search(
        r"^teacher, on the training questions: Evaluation\(6 questions, EM", said, re.M
    )
    assert re.search(r"^Written\('.*/vanilla_kd', 5 examples, 5 of 6 trajectories\)", said, re.M)
    assert re.search(r"^Trained\('.*/steper', 2 steps\)", said, re.M)
    for name in ("teacher", "untrained", "vanilla_kd", "steper"):
        assert f"\n{name}: Evaluation(4 questions, EM" in said
        assert (out / "test" / name / "metrics.json").exists()
    assert "\nsteper: +0.0 points EM from vanilla_kd, p = 1\n" in said
    assert "<html" in (out / "report.html").read_text("utf-8")


def test_your_own_data_says_what_was_dropped_and_why(run_here):
    said = run_here("your_own_data.py")
    assert "because gold_passage_not_retrieved: Rembrandt\n" in said
    assert "Answer: Le Roncole (answered)\n" in said
    assert "24 examples, 8 of 12 trajectories" in said
    counted = re.findall(r"^(\d+) × (\w+):", said, re.M)
    assert counted == [("2", "test_question_id"), ("1", "dropped"), ("1", "not_grounded")]
    assert said.endswith("Where was the architect of the Sydney Opera House born? Copenhagen\n")


def test_your_own_strategy_trains_on_the_prompts_that_it_asks(run_here):
    said = run_here("your_own_strategy.py")
    assert "3 steps, 'Christiania')" in said  # IRCoT in other words
    assert "4 steps, 'Oslo')" in said  # the one that looks again
    assert "8 training prompts are the 8 prompts that the model was asked\n" in said


@pytest.mark.slow
@pytest.mark.parametrize("name", ["your_own_data.py", "your_own_strategy.py"])
def test_an_example_that_is_run_again_says_the_same(tmp_path, name):
    said = run_example(name, tmp_path)
    assert run_example(name, tmp_path) == said
