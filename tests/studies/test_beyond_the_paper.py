"""Methods beyond the paper in a study: they go on from StepER's students, over one store."""

from pathlib import Path

import pytest

from steper.cli.main import run as command
from steper.studies.estimate import estimate
from steper.studies.results import baselines, rows_of
from steper.studies.study import Study
from steper.studies.study_file import load_study
from studies.made_study import STUDY, write_study

METHODS = Path(__file__).parents[2] / "recipes" / "studies" / "methods.yaml"

BEYOND = """\
recipes:
  steper:
  steper_onpolicy: {states_of: steper, rounds: 2}
  steper_dpo: {states_of: steper, teacher_share: 0}
  steper_gkd: {states_of: steper, teacher_share: 0, train: {divergence: jsd, teacher: nowhere/tiny}}
"""
CELLS = """\
  against: {"one: steper_gkd": "one: steper_dpo"}
cells:
  one: {}
  two: {train: {epochs: 1}}
"""


@pytest.fixture
def file(tmp_path, tiny):
    before, _, after = STUDY.partition("recipes: [vanilla_kd, steper]\n")
    config = after.partition("cells:")[0]
    return write_study(tmp_path, tiny, before + BEYOND + config + CELLS)


def test_the_study_of_methods_compares_them_with_the_students_that_they_go_on_from():
    study = Study(load_study(METHODS, ["seeds=[0]"]), METHODS.parent / "nowhere")
    cells = {name: cell.workspace for name, cell in study.cells.items()}
    against = baselines(
        cells, "small-world", rows_of(cells, "small-world"), study.file.settings.against
    )
    for method in ("steper_onpolicy", "steper_dpo", "steper_gkd"):
        assert against[f"ircot: {method}"] == "ircot: steper"
        assert against[f"self_ask: {method}"] == "self_ask: steper"
        assert against[f"{method} (ends_steps)"] == "steper (ends_steps)"
    assert against["ircot: steper"] == "ircot: vanilla_kd"


def test_they_build_on_the_trajectories_and_students_of_their_cell(file, tmp_path):
    study = Study(load_study(file), tmp_path / "out")
    tasks = {task.id.rpartition("-")[0]: task for task in study.cells["one"].tasks}

    def needed(task):
        return {need.rpartition("-")[0] for need in tasks[task].needs}

    whose = "small/tiny/steper"
    assert needed(f"build/{whose}_onpolicy.1-0") == {
        "teach/small",
        f"relabel/{whose}_onpolicy.1-0",
    }
    for method, stage in (("dpo", "relabel"), ("gkd", "collect")):
        trained = f"{whose}_{method}-0"
        assert needed(f"build/{trained}") == {f"{stage}/{trained}"}
        assert needed(f"train/{trained}") == {f"build/{trained}", f"train/{whose}-0"}
    ids = {task.id for task in study.tasks if task.stage == "teach"}
    assert len(ids) == 1


def test_students_runs_are_estimated_as_evaluations_are(tmp_path):
    study = Study(load_study(METHODS, ["seeds=[0]"]), tmp_path / "out")
    left = {one.stage: one for one in estimate(study, study.plan())}
    for stage in ("collect", "relabel"):
        assert left[stage].hours > 0
        assert not left[stage].unknown


@pytest.mark.slow
def test_they_run_over_one_store_and_stand_in_the_tables(file, tmp_path):
    study = Study(
        load_study(file, ["study.against=null", "cells={one: , two: null}"]), tmp_path / "out"
    )
    results = study.run().results
    assert results.row_names == [
        "teacher",
        "base",
        "steper",
        "steper_onpolicy.1",
        "steper_onpolicy",
        "steper_dpo",
        "steper_gkd",
    ]
    table = (tmp_path / "out" / "tables.md").read_text()
    assert "| steper_dpo | steper |" in table
    assert all(planned.state == "done" for planned in study.plan())


def test_what_is_wrong_in_the_file_is_told_by_its_line(file, tmp_path, capsys):
    file.write_text(
        file.read_text().replace(
            "steper_dpo: {states_of: steper", "steper_dpo: {states_of: stepper"
        )
    )
    assert command(["study", str(file), "--out", str(tmp_path / "out"), "--dry-run"]) == 2
    message = capsys.readouterr().err
    assert "pipeline.yaml, line 15: recipes.steper_dpo.states_of is 'stepper'" in message
    assert message.count("\n") == 1


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("recipes.steper_dpo.states_of=stepper", "states_of is 'stepper'; expected another method"),
        (
            "recipes.steper_dpo.states_of=null",
            "steper_dpo learns preference pairs; name the method",
        ),
        ("recipes.steper_onpolicy.rounds=0", "rounds is 0; a number from 1 on was expected"),
        ("recipes.steper_onpolicy.teacher_share=1", "teacher_share"),
        ("recipes.steper_gkd.train.teacher=null", "is to be judged by a teacher, token by token"),
        ("recipes.steper_gkd.train.teacher=./gone", "recipes.steper_gkd.train.teacher: "),
        ("study.against={steper_gkd: steper}", "study.against: unknown row 'steper_gkd'"),
    ],
)
def test_what_is_wrong_with_one_is_one_line(file, tmp_path, capsys, setting, said):
    asked = ["study", str(file), "--set", setting, "--out", str(tmp_path / "out"), "--dry-run"]
    assert command(asked) == 2
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1
    assert not (tmp_path / "out").exists()
