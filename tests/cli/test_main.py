"""How the command line ends."""

import logging
import subprocess
import sys

import pytest

from steper.cli.main import run
from steper.cli.terminal import OnlyOnce


def test_ctrl_c_says_how_to_go_on(monkeypatch, capsys, tmp_path):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("steper.evaluation.scoring.score_run", interrupted)
    assert run(["eval", str(tmp_path)]) == 130
    assert "the same command goes on from here" in capsys.readouterr().err


WITHOUT_EXTRAS = """
import sys

class Missing:
    def find_spec(self, name, *_):
        if name.split(".")[0] in {"torch", "transformers", "accelerate", "datasets", "pyarrow"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
from steper.cli.main import run
from steper.cli.terminal import OnlyOnce
sys.exit(run(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("arguments", "package", "extra"),
    [
        (["run", "small-world"], "torch", "train"),
        (["run", "small-world", "--smoke"], "torch", "train"),
        (["run", "small-world", "--stages", "world,index,teach"], "torch", "hf"),
    ],
    ids=["whole", "smoke", "teach"],
)
def test_run_without_its_extras_ends_in_one_line(tmp_path, arguments, package, extra):
    small = ["--set", "data.small-world.world.train=2", "--set", "data.small-world.world.test=2"]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRAS, *arguments, *small],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("steper run: error: ")
    assert f"this needs the package {package}, which is not installed" in line
    assert f"pip install 'steper[{extra}]'" in line
    assert "Traceback" not in done.stderr


def test_run_needs_no_extras_for_stages_that_do_not(tmp_path):
    arguments = ["run", "small-world", "--stages", "world,index"]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRAS, *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_what_two_stages_would_both_say_is_said_once(capsys):
    logger = logging.Logger("said")
    logger.addHandler(handler := logging.StreamHandler(sys.stderr))
    handler.addFilter(OnlyOnce())
    for _ in range(2):
        logger.warning("%s: 3 facts are missing", "dev.json")
    logger.warning("train.json: 3 facts are missing")
    told = capsys.readouterr().err.splitlines()
    assert told == ["dev.json: 3 facts are missing", "train.json: 3 facts are missing"]
