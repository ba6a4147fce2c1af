"""What is built and installed: the sdist is whole, and the wheel runs without the repository."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


def run_python(*arguments, **options):
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """An sdist, and the wheel that was built from it."""
    out = tmp_path_factory.mktemp("dist")
    run_python("-m", "build", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    return out


@pytest.fixture(scope="module")
def site(dist, tmp_path_factory):
    """A folder with the installed wheel in it."""
    folder = tmp_path_factory.mktemp("site")
    (wheel,) = dist.glob("*.whl")
    options = ("--quiet", "--no-deps", "--no-index", "--no-compile", "--target")
    run_python("-m", "pip", "install", *options, folder, wheel)
    return folder


def names_in_wheel(folder):
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return sorted(archive.namelist())


def test_the_sdist_holds_what_readers_and_tests_need(dist):
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    kept = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if kept.returncode == 0 and kept.stdout:
        assert set(kept.stdout.splitlines()) <= held
    for name in ("Makefile", "CONTRIBUTING.md", "CITATION.cff", "recipes/small-world.yaml"):
        assert name in held
    assert {name.partition("/")[0] for name in held} >= {"benchmarks", "recipes", "scripts"}


def test_the_sdists_wheel_is_the_checkouts(dist, tmp_path):
    run_python("-m", "build", "--no-isolation", "--wheel", "--outdir", tmp_path, ROOT, cwd=tmp_path)
    assert names_in_wheel(tmp_path) == names_in_wheel(dist)


def test_an_installed_package_runs_a_shipped_recipe(site, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(site)}
    options = {"cwd": tmp_path, "env": environment}
    found = run_python("-c", "import steper; print(steper.__file__)", **options)
    assert Path(found.strip()).is_relative_to(site)
    shown = run_python("-m", "steper", "run", "small-world", "--dry-run", **options)
    assert "Everything would go to runs/small-world\n" in shown
    settings = run_python("-m", "steper", "run", "llama-3.1-8b", "--show-settings", **options)
    assert str(tmp_path.resolve() / "data/2wikimultihopqa/train.json") in settings
