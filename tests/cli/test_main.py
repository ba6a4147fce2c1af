"""How the command line ends."""

import json
import logging
import subprocess
import sys

import pytest
from pydantic_core import SchemaError

from steper.cli.main import run
from steper.cli.terminal import OnlyOnce


def test_ctrl_c_says_how_to_go_on(monkeypatch, capsys, tmp_path):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("steper.evaluation.scoring.score_run", interrupted)
    assert run(["eval", str(tmp_path)]) == 130
    assert "the same command goes on from here" in capsys.readouterr().err


def test_an_interrupt_that_comes_while_pydantic_builds_is_one(monkeypatch, capsys, tmp_path):
    def building(*_):
        raise SchemaError('Error building "literal" validator:\nKeyboardInterrupt: ')

    monkeypatch.setattr("steper.evaluation.scoring.score_run", building)
    assert run(["eval", str(tmp_path)]) == 130
    assert capsys.readouterr().err.endswith("the same command goes on from here\n")


WITHOUT_EXTRAS = """
import sys

class Missing:
    def find_spec(self, name, *_):
        if name.split(".")[0] in {"torch", "transformers", "accelerate", "datasets", "pyarrow"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
from steper.cli.main import run
import contextlib, io, json, os

told = []
for number, arguments in enumerate(json.loads(sys.argv[1])):
    os.mkdir(str(number))
    os.chdir(str(number))
    with contextlib.redirect_stderr(io.StringIO()) as error:
        code = run(arguments)
    os.chdir("..")
    told.append((code, error.getvalue()))
print(json.dumps(told))
"""
SMALL = ["--set", "data.small-world.world.train=2", "--set", "data.small-world.world.test=2"]


@pytest.fixture(scope="module")
def without_extras(tmp_path_factory):
    """(exit code, standard error) of each command of the next two tests, of one process."""
    commands = [["run", "small-world", *arguments, *SMALL] for arguments in (*LACKING, ENOUGH)]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRAS, json.dumps(commands)],
        cwd=tmp_path_factory.mktemp("without"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


LACKING = [(), ("--smoke",), ("--stages", "world,index,teach")]
ENOUGH = ("--stages", "world,index")


@pytest.mark.parametrize(
    ("number", "extra"), [(0, "train"), (1, "train"), (2, "hf")], ids=["whole", "smoke", "teach"]
)
def test_run_without_its_extras_ends_in_one_line(without_extras, number, extra):
    code, error = without_extras[number]
    assert code == 2, error
    line = error.strip().splitlines()[-1]
    assert line.startswith("steper run: error: ")
    assert "this needs the package torch, which is not installed" in line
    assert f"pip install 'steper[{extra}]'" in line
    assert "Traceback" not in error


def test_run_needs_no_extras_for_stages_that_do_not(without_extras):
    code, error = without_extras[-1]
    assert code == 0, error


def test_what_two_stages_would_both_say_is_said_once(capsys):
    logger = logging.Logger("said")
    logger.addHandler(handler := logging.StreamHandler(sys.stderr))
    handler.addFilter(OnlyOnce())
    for _ in range(2):
        logger.warning("%s: 3 facts are missing", "dev.json")
    logger.warning("train.json: 3 facts are missing")
    told = capsys.readouterr().err.splitlines()
    assert told == ["dev.json: 3 facts are missing", "train.json: 3 facts are missing"]
