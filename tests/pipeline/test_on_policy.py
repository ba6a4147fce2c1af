"""On-policy methods in a pipeline: rounds unfold, come in order, resume, and are done anew."""

from __future__ import annotations

import pytest

from pipeline.made import CONFIG, write_files
from steper.errors import SettingsError
from steper.examples.example_folder import ExampleFolder
from steper.pipeline.config import PipelineSettings
from steper.pipeline.load import load_settings
from steper.pipeline.method_settings import with_rounds
from steper.pipeline.on_policy import students_questions
from steper.pipeline.pipeline import Pipeline
from steper.pipeline.plan import Stamps
from steper.runs import Run
from steper.store import read_json
from steper.student import read_student_card

ROUNDS = "{steper: , steper_onpolicy: {rounds: 2, states_of: steper, teacher_share: 0.5}}"

STUDENTS = ["index", "teach", "build", "train", "collect", "relabel"]


@pytest.fixture
def config(tmp_path, tiny):
    text = CONFIG.replace("recipes: [vanilla_kd, steper]", f"recipes: {ROUNDS}")
    text = text.replace("nowhere/tiny", str(tiny))
    return write_files(tmp_path, text)


def test_rounds_unfold_into_methods_with_a_decaying_share():
    found = with_rounds({"op": {"rounds": 3, "states_of": "steper", "train": {"epochs": 2}}})
    assert list(found) == ["op.1", "op.2", "op"]
    assert [m["states_of"] for m in found.values()] == ["steper", "op.1", "op.2"]
    assert [m["teacher_share"] for m in found.values()] == [0.5, 0.25, 0.125]
    assert all(m["recipe"] == "op" and m["train"] == {"epochs": 2} for m in found.values())
    assert with_rounds(found) == found


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("{rounds: 0, states_of: steper}", "rounds is 0; a number from 1 on was expected"),
        ("{rounds: 2}", "rounds needs states_of"),
        ("{states_of: nobody}", "states_of is 'nobody'; expected another method"),
        ("{states_of: steper_onpolicy}", "states_of is 'steper_onpolicy'; expected another"),
        ("{states_of: steper, teacher_share: 1}", "teacher_share"),
    ],
)
def test_what_is_no_round_is_one_clear_line(method, message, tmp_path):
    text = CONFIG.replace(
        "recipes: [vanilla_kd, steper]", f"recipes: {{steper: , steper_onpolicy: {method}}}"
    )
    with pytest.raises(SettingsError, match=message) as error:
        load_settings(write_files(tmp_path, text))
    assert "pipeline.yaml" in str(error.value)


def test_states_of_students_that_are_asked_otherwise_are_refused(tmp_path, tiny):
    text = CONFIG.replace(
        "recipes: [vanilla_kd, steper]", "recipes: {sail: , steper_onpolicy: {states_of: sail}}"
    )
    path = write_files(tmp_path, text.replace("nowhere/tiny", str(tiny)))
    with pytest.raises(SettingsError, match="students of sail are asked by the strategy sail"):
        Pipeline(path, tmp_path / "out").run(STUDENTS)


def test_tasks_stand_after_those_that_they_build_on(config, tmp_path):
    tasks = Pipeline(config, tmp_path / "out").tasks.all()
    there = set()
    for task in tasks:
        assert set(task.needs) <= there
        there.add(task.id)
    whose = "small/tiny/steper_onpolicy-0"
    (built,) = (task for task in tasks if task.id == f"build/{whose}")
    assert set(built.needs) == {
        "teach/small",
        "relabel/small/tiny/steper_onpolicy.1-0",
        f"relabel/{whose}",
    }


def test_fewer_questions_are_the_teachers_in_each_round(config, tmp_path):
    pipeline = Pipeline(config, tmp_path / "out")
    first, second = (
        {q.id for q in students_questions(pipeline.workspace, "small", method)}
        for method in ("steper_onpolicy.1", "steper_onpolicy")
    )
    assert (len(first), len(second)) == (5, 8)
    assert first < second


@pytest.mark.slow
def test_rounds_are_collected_labelled_learnt_and_resumed(config, tmp_path):
    """Both rounds' steps are learnt beside the teacher's own, which random students end early."""
    pipeline = Pipeline(config, tmp_path / "out")
    pipeline.run(STUDENTS)
    workspace, whose = pipeline.workspace, ("small", "tiny", "steper_onpolicy", 0)
    collected = Run(workspace.collected(*whose))
    labelled = Run(workspace.relabelled(*whose))
    assert collected.manifest["counts"]["questions"] == 8
    assert labelled.of_states
    states = [s for t in collected.trajectories() for s in t.steps if s.generated]
    assert len(list(labelled.trajectories())) == len(states) > 8
    examples = ExampleFolder(workspace.built(*whose))
    teachers = ExampleFolder(workspace.built("small", "tiny", "steper", 0))
    assert len(examples.manifest["settings"]["inputs"]["more"]) == 2
    assert examples.manifest["counts"]["examples"] > teachers.manifest["counts"]["examples"]
    assert read_student_card(workspace.trained(*whose)).recipe == "steper_onpolicy"
    assert all(p.state == "done" for p in pipeline.plan(STUDENTS) if p.wanted)

    planned = {p.task.id: p.state for p in pipeline.plan(STUDENTS, overwrite_from="relabel")}
    assert planned["build/small/tiny/steper"] == planned["train/small/tiny/steper-0"] == "done"
    again = {name for name, state in planned.items() if state == "again"}
    method = "small/tiny/steper_onpolicy"
    assert {f"relabel/{method}.1-0", f"build/{method}.1-0", f"train/{method}-0"} <= again
    # The states of round 2 are those of a student that is trained anew.
    assert f"collect/{method}-0" in again
    assert f"collect/{method}.1-0" not in again
    assert Stamps(tmp_path / "out").status(pipeline.tasks.all()[0]) == "complete"


def test_settings_stay_the_same_when_they_are_read_again(config):
    settings = load_settings(config)
    assert (
        PipelineSettings.model_validate(settings.model_dump(exclude_unset=True)).recipes
        == settings.recipes
    )


TRAINED_ON = {
    "steper_dpo": "{states_of: steper, teacher_share: 0, train: {lr: 1.0e-4}}",
    "steper_gkd": "{states_of: steper, teacher_share: 0, train: {divergence: jsd, teacher: TINY}}",
}
"""Methods that train a trained student on, by what comes of its own states."""


@pytest.fixture
def trained_on(config, tiny):
    """Writes the configuration anew with one of them, with something in it replaced."""

    def write(method, old="", new=""):
        recipes = f"{{steper: , {method}: {TRAINED_ON[method].replace('TINY', str(tiny))}}}"
        replaced = recipes.replace(old.replace("TINY", str(tiny)), new) if old else recipes
        config.write_text(config.read_text().replace(ROUNDS, replaced))
        return config

    return write


@pytest.mark.parametrize(
    ("method", "stage"), [("steper_dpo", "relabel"), ("steper_gkd", "collect")]
)
def test_a_student_is_trained_on_by_what_comes_of_its_own_states(
    trained_on, tmp_path, method, stage
):
    """Preference pairs need the teacher's labels, its own steps none."""
    tasks = {task.id: task for task in Pipeline(trained_on(method), tmp_path / "out").tasks.all()}
    whose = f"small/tiny/{method}-0"
    assert tasks[f"build/{whose}"].needs == (f"{stage}/{whose}",)
    assert set(tasks[f"train/{whose}"].needs) == {f"build/{whose}", "train/small/tiny/steper-0"}
    labelled = any(name.startswith("relabel/") for name in tasks)
    assert labelled == (stage == "relabel")


@pytest.mark.parametrize(
    ("method", "left_out", "told"),
    [
        (
            "steper_dpo",
            "states_of: steper, ",
            "steper_dpo learns preference pairs; name the method",
        ),
        (
            "steper_gkd",
            "states_of: steper, ",
            "steper_gkd learns students' own steps; name the method",
        ),
        (
            "steper_gkd",
            ", train: {divergence: jsd, teacher: TINY}",
            "set train: {divergence: jsd, teacher: MOD",
        ),
    ],
)
def test_what_training_on_needs_is_asked_for(trained_on, method, left_out, told):
    with pytest.raises(SettingsError, match=told):
        load_settings(trained_on(method, left_out))


@pytest.mark.slow
def test_preference_pairs_are_collected_labelled_and_learnt(trained_on, tmp_path):
    pipeline = Pipeline(trained_on("steper_dpo"), tmp_path / "out")
    pipeline.run(STUDENTS)
    workspace, whose = pipeline.workspace, ("small", "tiny", "steper_dpo", 0)
    assert Run(workspace.collected(*whose)).manifest["counts"]["questions"] == 10
    examples = ExampleFolder(workspace.built(*whose))
    assert all(pair.rejected for pair in examples.examples())
    manifest = read_json(workspace.trained(*whose) / "manifest.json")
    assert manifest["student"] == str(workspace.trained("small", "tiny", "steper", 0))
    assert read_student_card(workspace.trained(*whose)).recipe == "steper_dpo"
    assert all(p.state == "done" for p in pipeline.plan(STUDENTS) if p.wanted)
    again = {
        p.task.id for p in pipeline.plan(STUDENTS, overwrite_from="train") if p.state == "again"
    }
    assert "collect/small/tiny/steper_dpo-0" in again


@pytest.mark.slow
def test_own_steps_are_collected_and_moved_towards_the_teacher(trained_on, tmp_path):
    pipeline = Pipeline(trained_on("steper_gkd"), tmp_path / "out")
    pipeline.run(STUDENTS)
    workspace, whose = pipeline.workspace, ("small", "tiny", "steper_gkd", 0)
    collected = Run(workspace.collected(*whose))
    examples = list(ExampleFolder(workspace.built(*whose)).examples())
    written = {s.raw for t in collected.trajectories() for s in t.steps if s.generated}
    assert examples
    assert all(any(e.segments[-1].text.strip() in raw for raw in written) for e in examples)
    manifest = read_json(workspace.trained(*whose) / "manifest.json")
    assert manifest["student"] == str(workspace.trained("small", "tiny", "steper", 0))
    assert manifest["settings"]["training"]["divergence"] == "jsd"
    assert all(p.state == "done" for p in pipeline.plan(STUDENTS) if p.wanted)
