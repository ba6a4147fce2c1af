"""The house rules that let parts be added: no name is tested elsewhere, a new folder suffices."""

import ast
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from steper.cli.main import run as run_command
from steper.cli.parts import named_strategy
from steper.recipes import RECIPES
from steper.strategy import STRATEGIES

SOURCE = Path(__file__).parents[1] / "src" / "steper"


def literals(tree):
    """String literals of a syntax tree, but for defaults: of parameters, fields and constants."""
    skipped = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            defaults = [*node.args.defaults, *filter(None, node.args.kw_defaults)]
            skipped.update(id(inner) for d in defaults for inner in ast.walk(d))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Field" and node.args:
            skipped.add(id(node.args[0]))
        if isinstance(node, ast.Assign) and [getattr(t, "id", "") for t in node.targets] == [
            "DEFAULT"
        ]:
            skipped.add(id(node.value))
    for node in ast.walk(tree):
        text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if text and id(node) not in skipped:
            yield node.value, node.lineno


@cache
def all_literals():
    """(place in the package, text, line) of each."""
    return [
        (path.relative_to(SOURCE).as_posix(), text, line)
        for path in SOURCE.rglob("*.py")
        for text, line in literals(ast.parse(path.read_text("utf-8")))
    ]


@pytest.mark.parametrize("names", [STRATEGIES.ours(), {"vanilla_kd": None}], ids=str)
def test_no_module_tests_a_name_that_is_not_its_own(names):
    found = []
    for place, text, line in all_literals():
        home = (f"strategy/{text}/", f"recipes/{text}.py")
        if text in names and not place.startswith(home):
            found.append(f"{place}, line {line}: {text!r}")
    assert not found


def test_the_test_above_finds_what_it_looks_for():
    tree = ast.parse('def f(name="ircot"):\n    return name == "self_ask"\nDEFAULT = "ircot"\n')
    assert [text for text, _ in literals(tree)] == ["self_ask"]


NEW_STRATEGY = '''
"""Asks once more than IRCoT does."""

from __future__ import annotations

from dataclasses import replace

from steper.strategy.ircot import IRCoT, IRCoTSettings

__all__ = ["Patient"]


class PatientSettings(IRCoTSettings):
    """IRCoT's, but that `k` has another default; Self-Ask's `first_search` is a bool."""

    k: int = 2
    first_search: int = 7


class Patient(IRCoT):
    """IRCoT under another name, in other words."""

    name = "patient"
    settings_type = PatientSettings
    words = replace(IRCoT.words, name="patient", instruction="Take your time. " * 5)
'''
NEW_RECIPE = '''
"""The last step alone."""

from __future__ import annotations

from collections.abc import Iterator

from steper.recipes.base import Context, Draft, Recipe, current_draft
from steper.strategy.replay import Replay


def last(replay: Replay, context: Context) -> Iterator[Draft]:
    """One example a trajectory."""
    yield current_draft(replay, replay.steps[-1])


LAST = Recipe("last_step", last, "uniform", "the last step alone")
'''
TESTS = ("tests/test_structure.py", "tests/test_package.py", "tests/strategy", "tests/golden")
"""Those of structure, of strategies and of prompts; `make test` in the copy runs them all."""


@pytest.fixture
def copy(tmp_path):
    """A copy of the checkout with a new strategy and a new recipe, and nothing else changed."""
    root = SOURCE.parents[1]
    there = tmp_path / "copy"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*")
    for name in ("src", "tests", "docs", "recipes", "pyproject.toml"):
        path = root / name
        if path.is_dir():
            shutil.copytree(path, there / name, ignore=ignored)
        else:
            shutil.copy(path, there / name)
    package = there / "src" / "steper"
    (package / "strategy" / "patient").mkdir()
    (package / "strategy" / "patient" / "__init__.py").write_text(NEW_STRATEGY.lstrip())
    (package / "recipes" / "last_step.py").write_text(NEW_RECIPE.lstrip())
    return there


@pytest.mark.slow
def test_a_new_strategy_is_one_folder_and_a_new_recipe_one_file(copy):
    where = {**os.environ, "PYTHONPATH": str(copy / "src")}

    def python(*arguments):
        return subprocess.run(
            [sys.executable, *arguments], cwd=copy, env=where, capture_output=True, text=True
        )

    helped = python("-m", "steper", "teach", "--strategy", "patient", "--help").stdout
    assert "--first-search INT" in helped
    assert "[default: 7]" in helped
    other = python("-m", "steper", "teach", "--strategy", "self_ask", "--help").stdout
    assert "--no-first-search" in other
    assert "last_step" in python("-m", "steper", "build", "--help").stdout
    done = python("-m", "pytest", "-q", "-m", "not slow", "-p", "no:cacheprovider", *TESTS)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ([], "ircot"),
        (["--strategy", "self_ask"], "self_ask"),
        (["--strategy=one_shot", "--k", "3"], "one_shot"),
        (["--student", "shipped:student-base"], "ircot"),
        (["--student", "no/such/folder"], "ircot"),
    ],
)
def test_options_are_those_of_the_strategy_that_is_asked(arguments, name):
    assert named_strategy(arguments).name == name


def test_an_option_of_another_strategy_is_named(capsys):
    wanted = ["--questions", "q", "--model", "gold", "--out", "o", "--first-search"]
    assert run_command(["teach", *wanted]) == 2
    error = capsys.readouterr().err
    assert "--first-search is a setting of strategy " in error
    assert "self_ask" in error
    assert len(error.splitlines()) == 1


def test_help_names_every_recipe_and_strategy_and_defaults_as_they_are_typed(capsys):
    run_command(["build", "--help"])
    run_command(["teach", "--help"])
    shown = capsys.readouterr().out
    assert all(name in shown for name in (*RECIPES.names(), *STRATEGIES.names()))
    words = " ".join(shown.split())
    assert "[default: OPENAI_API_KEY]" in words
    assert "[default: first_new_sentence]" in words
