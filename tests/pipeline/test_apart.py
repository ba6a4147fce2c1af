"""A generated world's training questions search articles of their own."""

import json

import pytest

from pipeline.made import CONFIG
from steper.pipeline.load import load_settings
from steper.pipeline.pipeline import Pipeline
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
