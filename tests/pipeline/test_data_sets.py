"""Training and test questions have nothing in common, whatever the files say."""

import json

import pytest

from pipeline.made import rows
from steper.errors import InputError
from steper.evaluation.leakage import find_leakage
from steper.pipeline.data_sets import DataSet, check_apart
from steper.pipeline.data_settings import DataSettings
from steper.records import Question


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


def test_a_generated_question_of_another_world_is_another_one(config):
    data = data_set(config.parent, test=config.parent / "test.json")
    train = [Question(id="culture-1-train-00000", text="Who directed The Dark House?")]
    other, same = (train[0].model_copy(update={"id": f"culture-{n}-test-00000"}) for n in (2, 1))
    check_apart("here", data, train, data, [other])
    with pytest.raises(InputError, match=r"1 of 1 questions .* by its text"):
        check_apart("here", data, train, data, [same])


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


def leakage(data):
    return find_leakage(data.test, data.learnt_from)


def gold_of(item):
    """The supporting facts and evidences of an item, which say its gold passages."""
    return {name: item[name] for name in ("context", "supporting_facts", "evidences")}


def test_questions_about_a_test_questions_facts_are_refused_or_dropped(config, caplog):
    rewrite(config.parent / "test.json", **gold_of(rows()[0][3]))
    files = {"test": config.parent / "test.json"}
    found = leakage(data_set(config.parent, **files))
    assert found.overlaps[0].gold_set == (rows()[1][0]["_id"],)
    with pytest.raises(InputError, match=r"data\.small: 1 of 5 test questions .* gold passages"):
        found.check("data.small")
    dropping = data_set(config.parent, **files, overlap="drop")
    assert rows()[0][3]["_id"] not in {q.id for q in dropping.train}
    assert len(dropping.train) == 9
    assert "1 questions repeat a test question, or all of its gold passages" in caplog.text
    leakage(dropping).check("data.small")


def test_questions_of_pretraining_are_compared_too(config):
    item = {**rows()[0][3], "question": rows()[1][2]["question"], "_id": "elsewhere"}
    old = config.parent / "old.json"
    old.write_text(json.dumps([item]))
    data = data_set(config.parent, test=config.parent / "test.json", pretrained_on=(old,))
    with pytest.raises(InputError, match=r"1 of 5 test questions are in .*old.json, too, by text"):
        leakage(data).check("data.small")


def test_what_came_later_is_in_the_key_where_it_is_set(config):
    base = data_set(config.parent).key()
    assert not {"overlap", "pretrained_on"} & base.keys()
    old = (config.parent / "train.json",)
    changed = data_set(config.parent, overlap="drop", pretrained_on=old).key()
    assert {k: v for k, v in changed.items() if k in base} == base
    assert changed["overlap"] == "drop"
    assert len(changed["pretrained_on"]) == 1
