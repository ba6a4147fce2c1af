"""Recipes that come with the package go by their names; a file is still given by its path."""

from pathlib import Path

import pytest

from pipeline.made import CONFIG
from steper.cli.main import run
from steper.errors import InputError
from steper.pipeline.load import find_configuration, load_settings, shipped_recipes
from steper.training.sharding import SHIPPED_SHARDING

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(given):
    with pytest.raises(InputError) as caught:
        find_configuration(given)
    return str(caught.value)


def test_every_recipe_of_the_repository_is_shipped(here):
    sharding = SHIPPED_SHARDING.values()
    recipes = [path.stem for path in RECIPES.glob("*.yaml") if path.name not in sharding]
    assert list(shipped_recipes()) == sorted(recipes)
    assert all((RECIPES / name).is_file() for name in sharding)
    for name, path in shipped_recipes().items():
        assert find_configuration(name) == (path, name, here)


def test_a_shipped_recipes_data_is_looked_for_in_the_working_folder(here):
    path, _, base = find_configuration("llama-3.1-8b")
    data = load_settings(path, (), base).data["2wiki"]
    assert data.questions == here.resolve() / "data/2wikimultihopqa/train.json"


def test_a_file_of_that_name_goes_first_and_a_folder_does_not(here):
    (here / "small-world-study").mkdir()
    (here / "small-world").write_text(CONFIG)
    assert find_configuration("small-world") == (Path("small-world"), "small-world", here)
    assert find_configuration("small-world-study").path == RECIPES / "small-world-study.yaml"


def test_a_files_paths_start_from_its_folder(here, config):
    assert find_configuration(str(config)) == (config, "pipeline", config.parent)
    assert find_configuration("pipeline.yaml").base == here


def test_an_unknown_name_is_answered_with_the_nearest(here):
    assert refused("smal-world") == (
        "unknown recipe or file 'smal-world'; did you mean small-world or small-world-study?"
    )
    assert "known: llama-3.1-8b, small-world, small-world-study" in refused("gpt")


def test_a_missing_file_is_named_and_so_is_the_recipe_that_was_meant(here):
    assert refused("mine.yaml") == "mine.yaml: no such file"
    assert refused("recipes/small-world.yaml") == (
        "recipes/small-world.yaml: no such file; the shipped recipe is called small-world"
    )


@pytest.mark.parametrize(
    ("arguments", "folder"),
    [
        (["small-world"], "runs/small-world"),
        (["llama-3.1-8b", "--smoke"], "runs/llama-3.1-8b-smoke"),
        (["small-world", "--out", "elsewhere"], "elsewhere"),
    ],
)
def test_a_run_is_called_by_the_recipes_whole_name(here, capsys, arguments, folder):
    assert run(["run", *arguments, "--dry-run"]) == 0
    assert f"Everything would go to {folder}\n" in capsys.readouterr().out
    assert not list(here.iterdir())


def test_help_names_every_recipe(capsys):
    assert run(["run", "--help"]) == 0
    shown = capsys.readouterr().out
    for name in shipped_recipes():
        assert name in shown
