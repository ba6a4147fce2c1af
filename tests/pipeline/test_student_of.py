"""A method may take another's students and ask them otherwise: nothing is trained anew."""

import json

import pytest

from pipeline.made import CONFIG, write_files
from steper.cli.main import run as command
from steper.errors import InputError, SettingsError
from steper.pipeline.load import load_settings
from steper.pipeline.pipeline import Pipeline
from steper.student import read_student_card
from steper.training.taken import take_student

BOTH = CONFIG.replace(
    "recipes: [vanilla_kd, steper]",
    "recipes: {vanilla_kd: {}, vanilla_kd_iter: {student_of: vanilla_kd}, steper: {}}",
).replace("demos: 0,", "demos: 0, instruction: false,")


def settings(config, tiny, *overrides):
    return load_settings(config, [f"students.tiny.model={tiny}", *overrides])


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny):
    folder = tmp_path_factory.mktemp("student_of")
    config = write_files(folder, BOTH)
    pipeline = Pipeline(settings(config, tiny), folder / "out")
    pipeline.run(["index", "teach", "build", "train"])
    return config, folder / "out"


def manifest(path):
    return json.loads((path / "manifest.json").read_text())


def test_the_weights_are_the_other_s_and_the_prompts_its_own(made):
    _, out = made
    theirs, own = (out / f"train/small/tiny/{m}-0" for m in ("vanilla_kd", "vanilla_kd_iter"))
    assert (own / "model.safetensors").read_bytes() == (theirs / "model.safetensors").read_bytes()
    assert read_student_card(theirs).strategy_name == "ircot"
    card = read_student_card(own)
    assert (card.strategy_name, card.recipe) == ("iter_retgen", "vanilla_kd_iter")
    assert card.examples == manifest(out / "build/small/tiny/vanilla_kd_iter")["settings_hash"]
    assert manifest(own)["trained"] == manifest(theirs)["trained"]
    assert not (own / "checkpoints").exists()


@pytest.mark.slow
def test_it_is_what_a_training_of_its_own_comes_to(made, tiny):
    config, out = made
    apart = settings(config, tiny, "recipes={vanilla_kd_iter: {}}", "evaluate.baseline=null")
    alone = out.with_name("alone")
    Pipeline(apart, alone).run(["index", "teach", "build", "train"])
    theirs, own = (folder / "train/small/tiny/vanilla_kd_iter-0" for folder in (alone, out))
    assert (theirs / "model.safetensors").read_bytes() == (own / "model.safetensors").read_bytes()
    told = [json.loads((folder / "steper.json").read_text()) for folder in (theirs, own)]
    assert told[0] == told[1]


def test_it_is_taken_once_and_again_when_the_other_is_trained_anew(made):
    _, out = made
    build = out / "build/small/tiny/vanilla_kd_iter"
    theirs, own = (out / f"train/small/tiny/{m}-0" for m in ("vanilla_kd", "vanilla_kd_iter"))
    before = (own / "manifest.json").stat().st_mtime_ns
    take_student(build, theirs, own, overwrite=False)
    assert (own / "manifest.json").stat().st_mtime_ns == before
    take_student(build, theirs, own, overwrite=True)
    assert (own / "manifest.json").stat().st_mtime_ns > before


def test_a_student_that_learnt_other_text_is_not_taken(made, tmp_path):
    _, out = made
    steper, build = out / "train/small/tiny/steper-0", out / "build/small/tiny/vanilla_kd_iter"
    with pytest.raises(
        SettingsError, match=r"student_of: \S+ of .*vanilla_kd_iter is not in the other's"
    ):
        take_student(build, steper, tmp_path / "new", overwrite=False)
    with pytest.raises(InputError, match="is no complete training"):
        take_student(build, tmp_path, tmp_path / "new", overwrite=False)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("student_of=x", "student_of is 'x'; expected another method of this file that is trained"),
        ("student_of=vanilla_kd_iter", "student_of is 'vanilla_kd_iter'; expected another method"),
        ("tokens_of=steper", "student_of and tokens_of exclude each other: nothing is trained"),
        ("train={epochs: 2}", "student_of and train exclude each other: nothing is trained"),
    ],
)
def test_what_student_of_cannot_be(made, tiny, override, told):
    with pytest.raises(SettingsError, match=told):
        settings(made[0], tiny, f"recipes.vanilla_kd_iter.{override}")


def test_it_is_refused_in_one_line_where_examples_differ(made, tiny, capsys, tmp_path):
    config = write_files(tmp_path, BOTH.replace("{student_of: vanilla_kd}", "{student_of: steper}"))
    model = f"students.tiny.model={tiny}"
    assert command(["run", str(config), "--out", str(tmp_path / "out"), "--set", model]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "student_of" in error
