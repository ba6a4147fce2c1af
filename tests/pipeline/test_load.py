"""Configuration files: what is wrong is told in one line, with its place."""

from pathlib import Path

import pytest

from pipeline.made import CONFIG
from steper.errors import ModelError, SettingsError, SteperError
from steper.lm.shipped import locate_model
from steper.pipeline.load import load_settings, shipped_recipes


def refused(path, overrides=()):
    with pytest.raises(SteperError) as caught:
        load_settings(path, overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("train: {max", "trian: {max", "line 13: unknown section 'trian'; did you mean train"),
        ("lr: 1.0e-3", "lrr: 1.0e-3", "line 13: unknown setting of train 'lrr'"),
        ("batch_size: 4", "batch_size: 0", "line 13: train.batch_size: "),
        ("k: 3", "kk: 3", "line 5: unknown setting of strategy 'kk'"),
        ("name: ircot", "name: irkot", "unknown strategy 'irkot'; did you mean ircot"),
        ("steper]", "stepper]", "unknown recipe 'stepper'; did you mean steper"),
        ("    test: test.json", "    tests: test.json", "line 4: unknown setting of data.small"),
        ("demos: 0", "demos: -1", "line 8: teacher.prompt.demos: "),
        ("  small:", "  sm/all:", "line 1: data: the name 'sm/all' is that of a folder"),
        (
            "    questions: train.json\n    test: test.json",
            "    world: {seed: 1000000}",
            "data.small.world.seed: Input should be less than 1000000",
        ),
        ("questions: train.json", "seed: 1", "name either `questions`, a file, or a `world`"),
        ("resamples: 100", "resamples: many", "line 15: evaluate.bootstrap.resamples: "),
        ("evaluate:", "evaluate: [", "not YAML"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(config, old, new, said):
    config.write_text(CONFIG.replace(old, new))
    message = refused(config)
    assert said in message
    assert str(config) in message or "unknown strategy" in said or "unknown recipe" in said


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.lrr=1", "--set train.lrr=1: unknown setting of train 'lrr'"),
        ("train.lr=fast", "--set train.lr=fast: train.lr: "),
        ("train.lr", "KEY.KEY=VALUE was expected"),
        ("recipes.steper.train.lrr=1", "unknown setting of recipes.steper.train 'lrr'"),
        ("recipes.steper.examples.seed=1", "seed"),
        ("evaluate.baseline=sequel", "evaluate.baseline: unknown method 'sequel'"),
        ("train.seed=1", "set them"),
        ("seeds=[1,1]", "different numbers"),
    ],
)
def test_overrides_are_checked_as_the_file_is(config, override, said):
    assert said in refused(config, [override])


def test_a_missing_file_is_named(tmp_path):
    assert "no such file" in refused(tmp_path / "none.yaml")


def test_paths_start_from_the_file_and_those_of_overrides_from_here(config, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    settings = load_settings(config, ["data.small.test=other.json", "teacher.model=openai:m"])
    assert settings.data["small"].questions == tmp_path.resolve() / "train.json"
    assert settings.data["small"].test == Path("/other.json")
    assert settings.teacher.model == "openai:m"
    assert settings.students["tiny"].model == "nowhere/tiny"


def test_overrides_reach_into_recipes_given_as_a_list(config):
    settings = load_settings(config, ["recipes.steper.train.epochs=3", "train.max_steps=null"])
    assert list(settings.recipes) == ["vanilla_kd", "steper"]
    assert settings.train_settings("steper", 5, "tiny").epochs == 3
    assert settings.train_settings("vanilla_kd", 5, "tiny").epochs == 2
    assert settings.train_settings("steper", 5, "tiny").seed == 5


def test_a_student_is_trained_with_the_template_arguments_that_it_is_asked_with(config):
    asked = "students.tiny.hf.chat_template_kwargs={enable_thinking: false}"
    other = "recipes.steper.train.chat_template_kwargs={enable_thinking: true}"
    settings = load_settings(config, [asked, other])
    trained = {m: settings.train_settings(m, 5, "tiny") for m in settings.recipes}
    assert trained["vanilla_kd"].chat_template_kwargs == {"enable_thinking": False}
    assert trained["steper"].chat_template_kwargs == {"enable_thinking": True}
    plain = load_settings(config).train_settings("vanilla_kd", 5, "tiny")
    assert "chat_template_kwargs" not in plain.fingerprint()
    assert trained["vanilla_kd"].fingerprint() == {
        **plain.fingerprint(),
        "chat_template_kwargs": {"enable_thinking": False},
    }


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("teacher.openai.base_url=foo", "teacher.openai: base_url is 'foo'"),
        ("recipes.steper.tokens_of=none", "recipes.steper.tokens_of is 'none'"),
        ("data.small.world={seed: 1}", "data.small: name either `questions`"),
        ("strategy.name=ircott", "unknown strategy 'ircott'; did you mean ircot?"),
        ("recipes=[stepper]", "unknown recipe 'stepper'; did you mean steper"),
        ("recipes.steper.train.seed=1", "recipes.steper: seed cannot be set there"),
        ("evaluate.baseline=x", "evaluate.baseline: unknown method 'x'"),
    ],
)
def test_an_override_is_named_where_it_is_the_fault(config, override, said):
    assert refused(config, [override]).startswith(f"--set {override}: {said}")


def test_a_file_is_named_where_it_is_the_fault(config):
    config.write_text(config.read_text().replace("name: ircot", "name: ircott"))
    said = refused(config, ["jobs=1", "train.epochs=2"])
    assert said.startswith(f"{config}, line 5: unknown strategy 'ircott'")


def test_options_with_a_name_of_their_own_are_named(config):
    with pytest.raises(SettingsError, match=r"^--jobs: a number of tasks .*, not 0$"):
        load_settings(config, options={"jobs": "0"})
    assert load_settings(config, options={"jobs": "3"}).jobs == 3


def test_what_is_no_argument_of_a_template_is_refused(config):
    said = refused(config, ["students.tiny.hf.chat_template_kwargs={tokenize: true}"])
    assert "students.tiny.hf.chat_template_kwargs" in said
    assert "tokenize is set by steper itself" in said


def test_the_students_prompts_have_no_demonstrations_of_the_teachers(config):
    settings = load_settings(config, ["teacher.prompt.demos=3"])
    assert settings.teacher.prompt.demos == 3
    assert settings.student_prompt().demos == 0
    assert settings.student_prompt().passage_words == 20


@pytest.mark.parametrize("path", shipped_recipes().values(), ids=lambda path: path.stem)
def test_the_recipes_of_the_repository_are_valid(path):
    settings = load_settings(path)
    assert set(settings.recipes) >= {"vanilla_kd", "steper"}
    assert settings.strategy_settings.k in (3, 4)


def test_a_shipped_model_that_is_not_there_is_named():
    with pytest.raises(ModelError, match="techer"):
        locate_model("shipped:techer")
    assert locate_model("org/model") == "org/model"
