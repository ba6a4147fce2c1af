"""The untrained student with demonstrations: right trajectories of the teacher's."""

import pytest

from steper.cli.main import run as command
from steper.pipeline import stages
from steper.pipeline.plan import Stamps
from steper.pipeline.untrained import right_trajectories
from steper.runs import Run
from steper.store import read_json
from steper.studies.results import rows_of
from steper.studies.study import Study
from steper.studies.study_file import load_study
from studies.made_study import write_study

DEMOS = "evaluate.base_demos={demos: 2, demo_steps: all}"


@pytest.fixture(scope="module")
def asked(tmp_path_factory, tiny):
    """A study that has taught and asked the untrained student, and its first cell's workspace."""
    folder = tmp_path_factory.mktemp("study")
    study = Study(load_study(write_study(folder, tiny), [DEMOS]), folder / "out")
    study.run(["index", "teach"])
    workspace = study.cells["few"].workspace
    (run,) = (r for r in workspace.eval_runs("small") if r.recipe == "base_demos")
    stages.evaluate(workspace, False, lambda *_: None, data="small", eval_run=run)
    workspace.close()
    return study, run


def test_it_is_a_row_of_its_own_that_all_cells_share(asked):
    study, run = asked
    cells = {name: cell.workspace for name, cell in study.cells.items()}
    rows = {row.name: row.cells for row in rows_of(cells, "small")}
    assert rows["base"] == rows["base_demos"] == ("few", "all")
    (task,) = (task for task in study.tasks if task.output.parent == run.path)
    assert any(need.startswith("teach/small-") for need in task.needs)
    assert Stamps(study.out).status(task) is None


def test_it_is_shown_right_trajectories_of_training_questions(asked):
    study, run = asked
    manifest = read_json(run.path / "manifest.json")
    shown = manifest["settings"]["demonstrations"]["questions"]
    workspace = study.cells["few"].workspace
    taught = Run(workspace.folder("teach", "small"))
    gold = {question.text: question for question in workspace.data["small"].train}
    right = {t.question for t in taught.trajectories() if t.answer in gold[t.question].answers}
    assert len(shown) == 2
    assert set(shown) <= right
    assert manifest["settings"]["prompt"]["demos"] == 2
    assert len({gold[text].type for text in shown}) == 2  # question types take turns


def test_each_step_is_shown_as_it_is_asked_for(asked):
    study, _ = asked
    workspace = study.cells["few"].workspace
    first, _ = right_trajectories(workspace, "small", 2)
    taught = {t.question: t for t in Run(workspace.folder("teach", "small")).trajectories()}
    steps = taught[first.question].steps
    assert [text for _, text in first.turns] == [step.rationale for step in steps]
    lm, strategy = stages.open_answering(
        workspace,
        workspace.data["small"],
        next(r for r in workspace.eval_runs("small") if r.recipe == "base_demos"),
    )
    messages = strategy.render("Who?", []).messages() if lm.form == "chat" else []
    workspace.close()
    written = [message["content"] for message in messages if message["role"] == "assistant"]
    assert written[: len(steps)] == [step.rationale for step in steps]


def test_it_is_asked_anew_with_other_demonstrations(asked):
    study, run = asked
    (task,) = (task for task in study.tasks if task.output.parent == run.path)
    for other in (DEMOS.replace("2", "1"), "examples.seed=1", "filters.correct=f1"):
        file = load_study(study.out.parent / "pipeline.yaml", [DEMOS, other])
        assert task.id not in {found.id for found in Study(file, study.out).tasks}


def test_more_than_there_are_is_one_line(asked, tmp_path, tiny, capsys):
    file = write_study(tmp_path, tiny)
    many = ["--set", DEMOS.replace("2", "99"), "--jobs", "1", "--out", str(tmp_path / "out")]
    assert command(["study", str(file), *many]) == 2
    message = capsys.readouterr().err
    assert "99 demonstrations are asked for, but the teacher has 10 right trajectories" in message
    assert message.count("\n") == 1


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("evaluate.base_demos.demos=0", "evaluate.base_demos: say how many, such as {de"),
        ("evaluate.base_demos={demos: -1}", "evaluate.base_demos.demos: "),
        ("evaluate.base_demos={demo: 3}", "unknown setting of evaluate.base_demos 'demo'; did you"),
        ("evaluate.base_demos={demos: 2, demo_steps: some}", "evaluate.base_demos.demo_steps: "),
        ("evaluate.base_demos=3", "evaluate.base_demos: "),
        ("strategy.reader=cot", "reader=cot answers apart from the loop"),
        ("evaluate.baseline=base_demo", "unknown method 'base_demo'; did you mean base_demos"),
    ],
)
def test_what_is_wrong_with_demonstrations_is_one_line(tmp_path, tiny, capsys, setting, said):
    file = write_study(tmp_path, tiny)
    asked = ["study", str(file), "--set", DEMOS, "--set", setting, "--dry-run"]
    assert command([*asked, "--out", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1
