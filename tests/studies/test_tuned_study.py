"""A study whose methods are tuned: cells share trials, tables say what was chosen."""

import csv

import pytest

from pipeline.made import CONFIG, write_files
from steper.cli.main import run as command
from steper.studies.estimate import sizes_of
from steper.studies.study import Study
from steper.studies.study_file import load_study
from steper.studies.tables import csv_text, effort_table, latex, markdown, tuned_of
from studies.made_study import made_up, write_study

TUNE = "tune={questions: 3, grid: {train.lr: [1.0e-3, 1.0e-2]}}"


def test_cells_share_the_trials_of_what_they_have_in_common(tmp_path, tiny):
    file = write_study(tmp_path, tiny)
    study = Study(load_study(file, [TUNE]), tmp_path / "out")
    tuning = [task for task in study.tasks if task.stage == "tune"]
    trials = [task for task in tuning if "train.lr=" in task.name]
    assert len(trials) == 6  # StepER in both cells, of other examples, and Vanilla-KD in one
    wider = Study(load_study(file, [TUNE.replace("e-2]", "e-2, 1.0e-4]")]), tmp_path / "out")
    assert {task.id for task in trials} <= {task.id for task in wider.tasks}
    sizes = sizes_of(study, trials[0])
    assert [(size.stage, size.count) for size in sizes] == [("train", 8), ("eval", 3)]


def test_a_dry_run_counts_tuning(tmp_path, tiny, capsys):
    line = ["study", str(write_study(tmp_path, tiny)), "--out", str(tmp_path / "out")]
    assert command([*line, "--set", TUNE, "--dry-run", "--quick"]) == 0
    shown = [text.split() for text in capsys.readouterr().out.splitlines()]
    assert ["tune", "3"] in [words[:2] for words in shown]


def test_a_cell_may_be_tuned_alone(tmp_path, tiny):
    file = write_study(tmp_path, tiny)
    study = Study(load_study(file, [f"cells.few.{TUNE}"]), tmp_path / "out")
    stages = {name: {t.stage for t in cell.tasks} for name, cell in study.cells.items()}
    assert "tune" in stages["few"]
    assert "tune" not in stages["all"]


def test_tables_name_what_was_chosen_and_who_was_not_tuned():
    results = made_up()
    told = "lr 0.00075 (of 3 tried on 500 dev questions)"
    plain = markdown(results), csv_text(results)
    assert not tuned_of(results)
    assert not any("tuned" in text for text in plain)
    tests = {
        name: test.model_copy(
            update={
                "rows": tuple(
                    row.model_copy(update={"tuned": told if row.name == "steper" else ""})
                    for row in test.rows
                )
            }
        )
        for name, test in results.tests.items()
    }
    tuned = results.model_copy(update={"tests": tests})
    assert f"- steper: {told}\n" in markdown(tuned)
    assert "- kard: not tuned\n" in markdown(tuned)
    assert "- teacher: " not in markdown(tuned)
    assert f"steper: {told}; " in latex(tuned)
    rows = {row["row"]: row for row in csv.DictReader(csv_text(tuned).splitlines())}
    assert (rows["steper"]["tuned"], rows["kard"]["tuned"]) == (told, "not tuned")
    assert rows["teacher"]["tuned"] == ""
    assert "tuned" not in effort_table(next(iter(tests.values())))[0]


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny):
    folder = tmp_path_factory.mktemp("tuned")
    text = CONFIG.replace("max_steps: 4", "max_steps: 2").replace("nowhere/tiny", str(tiny))
    more = "evaluate.teacher=false", "evaluate.base=none"
    study = Study(load_study(write_files(folder, text), [TUNE, *more]), folder / "out")
    return study, study.run()


def test_a_study_tells_what_it_chose(made):
    study, outcome = made
    told = tuned_of(outcome.results)
    assert list(told) == ["vanilla_kd", "steper"]
    assert all("(of 2 tried on 3 dev questions, the " in one for one in told.values())
    for file in ("tables.md", "tables.csv", "report.html"):
        assert told["steper"] in (study.out / file).read_text(), file
    assert {planned.state for planned in study.plan()} == {"done"}
