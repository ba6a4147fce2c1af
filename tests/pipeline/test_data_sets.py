"""Training and test questions have nothing in common, whatever the files say."""

import json

import pytest

from pipeline.made import rows
from steper.errors import InputError
from steper.pipeline.config import DataSettings
from steper.pipeline.data_sets import DataSet


def data_set(folder, **settings):
    return DataSet("small", DataSettings(questions=folder / "train.json", **settings))


def rewrite(path, **changes):
    items = json.loads(path.read_text())
    items[0] |= changes
    path.write_text(json.dumps(items))


def test_two_files_give_all_their_questions(config):
    data = data_set(config.parent, test=config.parent / "test.json")
    assert len(data.train) == 10
    assert len(data.test) == 5
    assert not data.train[0].context
    assert len(data.corpus()) > 20


def test_samples_are_taken_by_seed(config):
    sizes = {"test": config.parent / "test.json", "train_size": 4, "test_size": 2}
    chosen = [[q.id for q in data_set(config.parent, **sizes, seed=s).train] for s in (1, 1, 2)]
    assert chosen[0] == chosen[1] != chosen[2]
    assert len(chosen[0]) == 4


@pytest.mark.parametrize(("field", "how"), [("_id", "id"), ("question", "text")])
def test_files_that_share_a_question_are_refused(config, field, how):
    train = rows()[0][3]
    shared = train[field] if field == "_id" else f"  {train[field].upper()} "
    rewrite(config.parent / "test.json", **{field: shared})
    data = data_set(config.parent, test=config.parent / "test.json")
    with pytest.raises(InputError, match=f"1 of 5 questions .* by its {how}"):
        _ = data.train


def test_held_out_questions_leave_no_repeat_behind(config, caplog):
    path = config.parent / "train.json"
    rewrite(path, question=rows()[0][3]["question"])
    data = data_set(config.parent, test_size=4)
    assert len(data.test) == 4
    texts = {q.text for q in data.test}
    assert not texts & {q.text for q in data.train}
    assert len(data.train) in (5, 6)


def test_too_few_questions_are_named(config):
    with pytest.raises(InputError, match=r"500 questions are to be held out .* holds 10"):
        _ = data_set(config.parent).test
    with pytest.raises(InputError, match="but 70 were asked for"):
        _ = data_set(config.parent, test_size=2, train_size=70).train
