"""A generated world's training questions search articles of their own."""

import json

import pytest

from pipeline.made import CONFIG
from steper.pipeline import stages
from steper.pipeline.load import load_settings
from steper.pipeline.pipeline import Pipeline
from steper.pipeline.workspace import Workspace
from steper.runs import Run


@pytest.mark.parametrize("apart", [True, False])
def test_articles_of_test_questions_come_up_in_training_only_where_that_is_asked(tmp_path, apart):
    world = f"world: {{train: 12, test: 6, apart: {str(apart).lower()}}}"
    config = tmp_path / "c.yaml"
    config.write_text(CONFIG.replace("questions: train.json", world).replace("test: test.json", ""))
    out = tmp_path / "out"
    pipeline = Pipeline(load_settings(config, ["strategy.k=4"]), out)
    pipeline.run(["world", "index", "teach"])
    own = {
        json.loads(line)["title"]
        for line in (out / "world/small/train-corpus.jsonl").read_text().splitlines()
    }
    found = {p.title for t in Run(out / "teach/small").trajectories() for p in t.passages}
    assert (found <= own) == apart
    told = "train-corpus.jsonl" if apart else "auto"
    assert Run(out / "teach/small").manifest["inputs"]["corpus"] == told
    # Tests are asked over all articles.
    index = json.loads((out / "index/small/index.json").read_text())
    assert index["passages"] > len(own)
    assert (out / "index/small.train").exists() == apart


def test_a_folder_of_before_goes_on_where_all_is_searched(tmp_path):
    def key(*more):
        config = tmp_path / "c.yaml"
        world = CONFIG.replace("questions: train.json", "world: {train: 12, test: 6}")
        config.write_text(world.replace("test: test.json", ""))
        further = "evaluate.further.other={world: {seed: 2, train: 1, test: 3}}"
        pipeline = Pipeline(load_settings(config, [further, *more]), tmp_path / "out")
        return {task.id: task.key for task in pipeline.tasks.all()}

    apart, before = key(), key("data.small.world.apart=false")
    assert apart["world/small"]["apart"] is True
    assert "apart" not in repr(before)
    assert "apart" not in apart["world/other"]
    assert apart["eval/other/teacher"] == before["eval/other/teacher"]


def test_students_states_and_searching_recipes_are_of_the_training_s_articles(tmp_path, tiny):
    world = CONFIG.replace("questions: train.json", "world: {train: 12, test: 6}")
    config = tmp_path / "c.yaml"
    config.write_text(world.replace("test: test.json", ""))
    recipes = "recipes={steper: null, kard: null, steper_onpolicy: {states_of: steper}}"
    tune = "tune={questions: 3, grid: {train.lr: [0.1, 0.2]}}"
    pipeline = Pipeline(
        load_settings(config, [recipes, tune, f"students.tiny.model={tiny}"]), tmp_path / "out"
    )
    indexes = {
        task.id: {before for before in task.needs if before.startswith("index/")}
        for task in pipeline.tasks.all()
    }
    assert indexes["collect/small/tiny/steper_onpolicy-0"] == {"index/small.train"}
    assert indexes["eval/small/tiny/kard-0"] == {"index/small"}
    trials = [found for name, found in indexes.items() if name.startswith("tune/") and found]
    assert trials
    assert all(found == {"index/small"} for found in trials)
    pipeline.run(["world", "index", "teach"])
    asked = []
    given = {"data": "small", "student": "tiny", "method": "kard", "seed": 0}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Workspace, "retriever", lambda ws, name: asked.append(name))
        patched.setattr(stages, "build_examples", lambda *_, **given: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            stages.make_examples(pipeline.workspace, False, lambda *_: None, **given)
    assert asked == ["small.train"]
