"""The files around the package say what is so: CI, the citation, the contributors' guide."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOW = ".github/workflows/ci.yml"
PYPROJECT = (ROOT / "pyproject.toml").read_text("utf-8")


def read_yaml(name):
    return yaml.safe_load((ROOT / name).read_text("utf-8"))


def targets():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    return set(re.search(r"^\.PHONY: (.*)$", makefile, re.M)[1].split())


def test_ci_runs_what_must_pass():
    steps = read_yaml(WORKFLOW)["jobs"]["test"]["steps"]
    commands = [step["run"] for step in steps if "run" in step]
    assert commands == ["make test", "make lint"]
    assert commands == (ROOT / ".ci/run").read_text("utf-8").splitlines()[-2:]


def test_ci_tests_the_oldest_python_and_the_one_with_exact_versions():
    pythons = read_yaml(WORKFLOW)["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert pythons[0] == re.search(r'requires-python = ">=(.*)"', PYPROJECT)[1]
    constraints = (ROOT / "constraints.txt").read_text("utf-8")
    assert re.search(r"CPython (\S+),", constraints)[1] in pythons


def test_ci_can_read_and_no_more():
    workflow = read_yaml(WORKFLOW)
    assert workflow["permissions"] == {"contents": "read"}
    assert not any("permissions" in job for job in workflow["jobs"].values())
    assert workflow["concurrency"]["cancel-in-progress"] is True


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", WORKFLOW])
def test_make_has_every_target_that_is_named(name):
    named = set(
        re.findall(r"(?:^|[`$ ])make ([a-z][a-z-]*)", (ROOT / name).read_text("utf-8"), re.M)
    )
    assert named
    assert named <= targets()


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/design.md"])
def test_links_and_named_files_are_there(name):
    text = (ROOT / name).read_text("utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    named = re.findall(r"`((?:benchmarks|docs|scripts|src|tests)/[\w./-]+)`", text)
    base = (ROOT / name).parent
    assert [link for link in links if not (base / link).exists()] == []
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_citation_has_what_the_format_asks_for():
    citation = read_yaml("CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    assert citation["license"] == re.search(r'^license = "(.*)"', PYPROJECT, re.M)[1]
    for reference in citation["references"]:
        assert {"type", "title", "authors"} <= set(reference)
