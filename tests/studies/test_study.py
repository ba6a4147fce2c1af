"""A study on ten questions: cells share what is equal, resume, and change one at a time."""

import csv
import json
import shutil
from pathlib import Path

import pytest

import steper
from doubles import largest_file
from steper.cli.main import run as command
from steper.evaluation.leakage import Leakage, Overlap
from steper.evaluation.tables import leakage_line
from steper.examples.example_folder import ExampleFolder
from steper.examples.taken import seeded_order
from steper.pipeline import stages
from steper.pipeline.pipeline import Pipeline
from steper.pipeline.plan import Stamps
from steper.pipeline.workspace import Workspace
from steper.store import read_json
from steper.studies.page import contents
from steper.studies.results import baselines, find_results, rows_of
from steper.studies.study import Study
from steper.studies.study_file import load_study
from steper.studies.tables import markdown
from studies.made_study import STUDY, write_study


class Watcher:
    """Remembers what began; with a number, is interrupted when so many trainings have begun."""

    def __init__(self, trainings=None):
        self.begun, self.trainings = [], trainings

    def began(self, planned):
        self.begun.append(planned.task.id)
        if self.count("train/") == self.trainings:
            raise KeyboardInterrupt

    def advanced(self, task, done, total, detail):
        pass

    def ended(self, planned, summary, seconds):
        pass

    def count(self, beginning):
        return sum(task.startswith(beginning) for task in self.begun)


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny):
    """A study's file and folder, what began before it was interrupted and after, what it found."""
    folder = tmp_path_factory.mktemp("study")
    file = write_study(folder, tiny)
    first, second = Watcher(trainings=2), Watcher()
    with pytest.raises(KeyboardInterrupt):
        Study(load_study(file), folder / "out").run(watcher=first)
    outcome = Study(load_study(file), folder / "out").run(watcher=second)
    return file, folder / "out", first, second, outcome


def test_what_is_equal_in_two_cells_is_done_once(made):
    _, out, first, second, _ = made
    begun = [*first.begun, *second.begun]
    for beginning, count in (
        ("index/", 1),
        ("teach/", 1),
        ("build/", 3),
        ("eval/small/teacher", 1),
        ("eval/small/tiny/base", 1),
        ("eval/small/tiny/steper-0", 2),
        ("eval/small/tiny/vanilla_kd-0", 1),
        ("report/", 1),
    ):
        assert sum(task.startswith(beginning) for task in begun) == count, beginning
    assert len(list((out / "teach").iterdir())) == 1


def test_an_interrupted_study_goes_on_where_it_was(made):
    _, out, first, second, _ = made
    assert first.count("teach/") == 1
    assert second.count("teach/") == second.count("index/") == second.count("build/") == 0
    assert second.count("train/") == 2  # the one that was interrupted, and the one after it
    tasks = json.loads((out / "pipeline.json").read_text())["tasks"]
    assert {stamp["status"] for stamp in tasks.values()} == {"complete"}


def test_the_numbers_are_those_of_compare(made):
    _, _, _, _, outcome = made
    comparison = outcome.results.tests["small"].comparison
    assert list(comparison.methods) == [
        "teacher",
        "base",
        "few: steper",
        "vanilla_kd",
        "all: steper",
    ]
    again = steper.compare(
        comparison.methods, "vanilla_kd", bootstrap=comparison.bootstrap.model_dump()
    )
    pairs = zip(comparison.metrics, again.metrics, strict=True)
    for here, there in pairs:
        assert here.means == there.means
        by_name = {d.method: d for d in there.differences}
        for found in here.differences:
            if found.against is None:
                assert found.difference == by_name[found.method].difference
                assert found.p_value == by_name[found.method].p_value


def test_tables_plots_and_page_are_written(made):
    _, out, _, _, outcome = made
    results = outcome.results
    rows = list(csv.DictReader((out / "tables.csv").read_text().splitlines()))
    means = {
        mean.method: mean.mean.value for mean in results.tests["small"].comparison.metrics[1].means
    }
    written = {row["row"]: float(row["mean"]) for row in rows if row["metric"] == "f1"}
    assert written == means
    assert {row["trajectories"] for row in rows if row["row"] == "few: steper"} <= {"5.0", "6.0"}
    assert "| few: steper |" in (out / "tables.md").read_text()
    assert r"few: steper & " in (out / "tables.tex").read_text()
    assert r"vanilla\_kd & " in (out / "tables.tex").read_text()
    assert sorted(path.name for path in (out / "plots").iterdir()) == [
        "small-tokens.svg",
        "small-trajectories.svg",
    ]
    page = (out / "report.html").read_text()
    assert "<title>Few or all</title>" in page
    assert "few: steper" in page


def test_fewer_questions_are_among_more(made):
    _, out, _, _, _ = made
    learnt = []
    for folder in (out / "build/small/tiny").glob("steper-*"):
        learnt.append({example.question_id for example in ExampleFolder(folder).examples()})
    few, every = sorted(learnt, key=len)
    assert few < every
    manifests = [
        read_json(f / "manifest.json") for f in (out / "build/small/tiny").glob("steper-*")
    ]
    dropped = [manifest["counts"]["dropped"].get("not_taken", 0) for manifest in manifests]
    assert sorted(dropped) == [0, 4]
    ids = [f"q{i}" for i in range(100)]
    assert seeded_order(ids[:50], 0)[:5] == [i for i in seeded_order(ids, 0) if i in ids[:50]][:5]
    assert seeded_order(ids, 0) != seeded_order(ids, 1)


def test_more_questions_than_there_are_cannot_be_learnt_from(made, tmp_path):
    _, out, _, _, _ = made
    (run,) = (out / "teach").iterdir()
    with pytest.raises(steper.SteperError, match="10 questions, but 11 are to be learnt"):
        steper.build(run, "steper", out=tmp_path / "examples", questions=11)
    assert not (tmp_path / "examples").exists()


def test_a_study_runs_in_one_process(made, monkeypatch):
    file, out, _, _, _ = made
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(steper.SteperError, match="a study makes no use of"):
        Study(load_study(file), out).run()


def test_a_change_in_one_cell_leaves_the_others_done(made):
    file, out, _, _, _ = made
    study = Study(load_study(file, ["cells.few.examples.questions=3"]), out)
    states = {planned.task.id: planned.state for planned in study.plan()}
    new = sorted(task.rpartition("-")[0] for task, state in states.items() if state == "to do")
    assert new == [
        "build/small/tiny/steper",
        "eval/small/tiny/steper-0",
        "train/small/tiny/steper-0",
    ]
    assert states["report/study"] == "again"
    assert sum(state == "done" for state in states.values()) == len(states) - 4
    for task in study.cells["all"].tasks:
        assert states[task.id] == "done"


def test_a_done_study_does_nothing(made):
    file, out, _, _, _ = made
    watcher = Watcher()
    steper.study(file, out, watcher=watcher)
    assert not watcher.begun


def test_a_study_on_a_full_disk_ends_in_one_line_and_goes_on(made, tmp_path, capsys):
    file, out, _, _, _ = made
    copy = shutil.copytree(out, tmp_path / "out")
    for name in ("study.json", "report.html", "tables.md"):
        (copy / name).unlink()
    line = ["study", str(file), "--out", str(copy), "--overwrite-from", "compare"]
    for size in (0, 2_000):
        with largest_file(size):
            assert command(line) == 2
        said = capsys.readouterr().err.splitlines()
        assert said[-1].startswith("steper study: error: ")
        assert "cannot be written (File too large)" in said[-1]
    assert command(line) == 0
    assert (copy / "tables.md").read_bytes() == (out / "tables.md").read_bytes()
    assert not list(copy.rglob("*.tmp"))


def test_quick_puts_its_section_over_the_others(made, capsys):
    file, out, _, _, _ = made
    quick = load_study(file, quick=True)
    assert list(quick.cells) == ["one"]
    assert quick.common.evaluate.bootstrap.resamples == 50
    assert list(quick.common.recipes) == ["steper"]
    assert command(["study", str(file), "--out", str(out), "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "few" in shown
    assert "4 are shared" in shown
    assert "About 0.00 core-hours are left" in shown


def test_the_dry_run_estimates_by_what_was_measured_here(made, tmp_path):
    from steper.studies.estimate import HERE, Rates, estimate

    file, out, _, _, _ = made
    study = Study(load_study(file, ["cells.few.examples.questions=3", "seeds=[0,1]"]), out)
    left = {one.stage: one for one in estimate(study, study.plan())}
    assert left["train"].sources == (HERE,)
    assert left["train"].tasks == 4
    stamps = Stamps(out)
    done = [t for t in study.tasks if t.stage == "train" and stamps.status(t) == "complete"]
    seconds = sum(stamps.seconds(task) for task in done) / len(done)
    assert left["train"].hours == pytest.approx(4 * seconds / 3600)
    (tmp_path / "rates.yaml").write_text("about: a guess\nrates: {train: {1000: 1.0}}\n")
    fresh = Study(load_study(file), tmp_path / "out")
    found = {
        one.stage: one for one in estimate(fresh, fresh.plan(), Rates(tmp_path / "rates.yaml"))
    }
    assert found["train"].sources == ("a guess",)
    assert found["train"].hours > 0
    assert found["teach"].unknown == ("gold",)


def test_a_student_is_made_first_and_once(tmp_path, tiny):
    made = tmp_path / "bases" / "copied"
    command = f'python -c \'import shutil; shutil.copytree("{tiny}", "{made}")\''
    student = f"students.tiny={{model: {made}, made_by: {json.dumps(command)}}}"
    file = write_study(tmp_path, tiny)
    study = Study(load_study(file, [student]), tmp_path / "out")
    watcher = Watcher()
    study.run(["base", "index", "teach", "build"], watcher=watcher)
    assert watcher.count("base/tiny") == 1
    assert watcher.count("build/") == 3
    assert (made / "config.json").exists()
    again = Study(load_study(file, [student]), tmp_path / "out")
    states = {p.task.stage: p.state for p in again.plan()}
    assert (states["base"], states["build"], states["train"]) == ("done", "done", "to do")
    fails = f"students.tiny={{model: {tmp_path / 'none'}, made_by: python -c 1/0}}"
    with pytest.raises(
        steper.SteperError, match=r"stage base \(.*\): students.tiny.made_by: .*code 1"
    ):
        Study(load_study(file, [fails]), tmp_path / "out").run(["base"])
    with pytest.raises(steper.SteperError, match=r"begin `model` with \./"):
        load_study(file, ["students.tiny={model: org/name, made_by: make}"])


def test_a_student_is_compared_with_the_baseline_of_its_own_size(tmp_path, tiny):
    one = "  tiny:\n    model: nowhere/tiny\n"
    two = "  small: {model: nowhere/tiny}\n  large: {model: nowhere/tiny}\n"
    text = STUDY.replace(one, two).replace(
        "recipes: [steper]}\n  all", "recipes: [steper, vanilla_kd]}\n  all"
    )
    study = Study(load_study(write_study(tmp_path, tiny, text)), tmp_path / "out")
    cells = {name: cell.workspace for name, cell in study.cells.items()}
    asked = {"all: small steper": "all: large vanilla_kd"}
    against = baselines(cells, "small", rows_of(cells, "small"), asked)
    assert against == {
        "teacher": "few: small steper",  # the first recipe of its first cell
        "small base": "few: small steper",
        "large base": "few: large steper",
        "few: small steper": "few: small steper",
        "few: small vanilla_kd": "few: small steper",
        "few: large steper": "few: large steper",
        "few: large vanilla_kd": "few: large steper",
        "all: small vanilla_kd": "all: small vanilla_kd",
        "all: small steper": "all: large vanilla_kd",
        "all: large vanilla_kd": "all: large vanilla_kd",
        "all: large steper": "all: large vanilla_kd",
    }


def test_students_are_asked_further_questions(made, tmp_path):
    file, out, _, _, _ = made
    further = "evaluate.further.other={world: {domain: ood, train: 1, test: 3}}"
    study = Study(load_study(file, [further]), shutil.copytree(out, tmp_path / "out"))
    states = {planned.task.id.rpartition("-")[0]: planned.state for planned in study.plan()}
    assert states["train/small/tiny/steper-0"] == "done"
    assert states["eval/other/small/tiny/steper-0"] == "to do"
    assert states["world/other"] == "to do"
    results = study.run().results
    assert list(results.tests) == ["small", "other"]
    assert results.tests["other"].comparison.shared == 3
    assert results.row_names == ["teacher", "base", "few: steper", "vanilla_kd", "all: steper"]


def test_further_questions_that_are_trained_on_are_refused(tmp_path, tiny):
    file = write_study(tmp_path, tiny)
    again = f"evaluate.further.again={{questions: {tmp_path / 'train.json'}, corpus: auto}}"
    with pytest.raises(steper.SteperError, match=r"evaluate.further.again: 10 of 10 questions of"):
        Study(load_study(file, [again]), tmp_path / "out").run()


def test_a_shared_set_of_gold_passages_is_refused_before_anything_is_done(tmp_path, tiny):
    """The dry run, too: nobody has been asked, or paid, by then."""
    file = write_study(tmp_path, tiny)
    train = json.loads((tmp_path / "train.json").read_text())
    test = json.loads((tmp_path / "test.json").read_text())
    learnt = train[0] | {"_id": "another", "question": "What else of these passages?"}
    (tmp_path / "test.json").write_text(json.dumps([*test, learnt]))
    study = Study(load_study(file), tmp_path / "out")
    for begin in (study.plan, study.run):
        with pytest.raises(steper.SteperError, match="by all of their gold passages"):
            begin()
    assert not (tmp_path / "out" / "index").exists()


def test_questions_that_share_a_passage_are_told_apart(made, monkeypatch):
    study = Study(load_study(made[0]), made[1])
    cells = {name: cell.workspace for name, cell in study.cells.items()}
    sharing = next(iter(cells.values())).data["small"].test[0].id
    found = Leakage(
        test=5, overlaps=(Overlap(source="train", questions=10, gold_passage=(sharing,)),)
    )
    monkeypatch.setattr(Workspace, "leakage", lambda *_: found)
    results = find_results("study", study.file.settings, cells)
    comparison = results.tests["small"].comparison
    assert comparison.shared_gold == 1
    assert comparison.others[0].n == 4
    told = f"Leakage: {leakage_line(comparison)}."
    assert told in markdown(results)
    assert contents(results, {})["parts"][0]["leakage"] in told


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("cells:\n", "sells:\n", "line 20: unknown section 'sells'; did you mean cells"),
        (
            "examples: {questions: 6}",
            "exmples: {questions: 6}",
            "line 21: unknown section of cells.few 'exmples'",
        ),
        ("examples: {questions: 6}", "examples: {questions: 0}", "line 21: examples.questions: "),
        ("recipes: [steper]}\n  all", "recipes: [stepper]}\n  all", "unknown recipe 'stepper'"),
        (
            "  all: {}",
            "  all: {students: [huge]}",
            "line 22: cells.all: unknown one of students 'huge'",
        ),
        ("  all: {}", "  a/b: {}", "line 22: cells.a/b: the name 'a/b' is that of a folder"),
        ("  all: {}", "  all: 3", "line 22: cell all must hold sections, not 3"),
        ("  all: {}", "  all: {jobs: 2}", "line 22: unknown section of cells.all 'jobs'"),
        ("x: [trajectories, tokens]", "x: [weight]", "line 19: study.x[0]: "),
        ("title: Few or all", "against: {sequel: base}", "study.against: unknown row 'sequel'"),
        ("title: Few or all", "against: {base: sequel}", "study.against: unknown row 'sequel'"),
        (
            "  all: {}",
            "  all: {data: {small: {test_size: 3}}}",
            "other test questions by the name small",
        ),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, tiny, capsys, old, new, said):
    file = write_study(tmp_path, tiny, STUDY.replace(old, new))
    assert command(["study", str(file), "--out", str(tmp_path / "out"), "--dry-run"]) == 2
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1
    assert not (tmp_path / "out").exists()


def _not_json(folder):
    (folder / "config.json").write_text("{oops")


def _cut_off(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])


def _no_weights(folder):
    (folder / "model.safetensors").unlink()


MISSING = [
    ("students.tiny.model={gone}", "students.tiny.model: {gone}: no such folder"),
    ("cells.few.students.tiny.model={gone}", "students.tiny.model: {gone}: no such folder"),
    ("students.tiny.model=shipped:gone", "unknown shipped model 'gone'; known: "),
    ("teacher.model=hf:{gone}", "teacher.model: {gone}: no such folder"),
    ("teacher.model=telepathy", "teacher.model: unknown model 'telepathy'; known forms: "),
    ("teacher.model=scripted:{gone}", "teacher.model: {gone}: no such file"),
    ("evaluate.teacher_model={gone}", "evaluate.teacher_model: {gone}: no such folder"),
    ("recipes.steper.judge=hf:{gone}", "recipes.steper.judge: {gone}: no such folder"),
    ("train.reranker={gone}", "train.reranker: {gone}: no such folder"),
]
DAMAGED = [
    (_not_json, "config.json, line 1, column 2: not JSON"),
    (_cut_off, "model.safetensors: cut off after "),
    (_no_weights, "the folder has no weights (model.safetensors)"),
]


@pytest.mark.parametrize("dry", [True, False])
@pytest.mark.parametrize(("setting", "said"), MISSING)
def test_a_model_that_is_not_there_is_told_before_the_first_task(
    tmp_path, tiny, capsys, dry, setting, said
):
    gone = tmp_path / "gone"
    _refused(tmp_path, tiny, capsys, dry, setting.format(gone=gone), said.format(gone=gone))


@pytest.mark.parametrize("dry", [True, False])
@pytest.mark.parametrize(("damage", "said"), DAMAGED)
def test_a_model_that_cannot_be_read_is_told_before_the_first_task(
    tmp_path, tiny, capsys, dry, damage, said
):
    broken = shutil.copytree(tiny, tmp_path / "broken")
    damage(broken)
    _refused(tmp_path, tiny, capsys, dry, f"students.tiny.model={broken}", said)
    _refused(tmp_path, tiny, capsys, dry, f"teacher.model={broken}", said)


def _refused(folder, tiny, capsys, dry, setting, said):
    file = write_study(
        folder, tiny, STUDY.replace("[vanilla_kd, steper]", "{vanilla_kd: , steper: }")
    )
    out = ["--out", str(folder / "out"), *["--dry-run"] * dry]
    assert command(["study", str(file), "--set", setting, *out]) == 2
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1
    assert not (folder / "out").exists()


def test_stages_that_need_no_student_are_planned_without_one(tmp_path, tiny, capsys):
    gone = ["--set", f"students.tiny.model={tmp_path / 'gone'}", "--out", str(tmp_path / "out")]
    asked = ["study", str(write_study(tmp_path, tiny)), *gone, "--stages", "index,teach"]
    assert command([*asked, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "teach" in shown
    assert "train" not in shown


STUDIES = sorted((Path(__file__).parents[2] / "recipes" / "studies").glob("*.yaml"))


@pytest.mark.parametrize(
    ("quick", "planned"),
    [(True, True), (False, False), pytest.param(False, True, marks=pytest.mark.slow)],
)
def test_the_studies_of_the_repository_are_valid(tmp_path, quick, planned):
    names = {path.stem for path in STUDIES}
    assert names == {
        *("methods", "ablation", "scaling", "transfer", "benchmarks", "budget", "strategies"),
    }
    for path in STUDIES:
        file = load_study(path, quick=quick)
        if (
            planned and path.stem != "benchmarks"
        ):  # whose files tests/studies/test_benchmarks.py makes
            Study(file, tmp_path)
        seeds = {len(settings.seeds) for settings in file.cells.values()}
        assert seeds == ({1} if quick else {5})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "study",
    [
        "methods",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("ablation", "transfer", "budget")),
    ],
)
def test_students_are_shared_only_where_both_methods_learn_the_same(study, tmp_path):
    """What a cell says otherwise (a strategy) may make other texts of the same trajectories."""
    small = [f"data.small-world.world.{name}" for name in ("train=6", "test=2")]
    path = Path(__file__).parents[2] / "recipes" / "studies" / f"{study}.yaml"
    file = load_study(path, [*small, "teacher.model=gold", "teacher.hf={}"])
    shared = 0
    for name, settings in file.cells.items():
        pipeline = Pipeline(settings, tmp_path / name)
        pipeline.run(["world", "index", "teach"])
        for method, own in settings.recipes.items():
            if own.student_of is None:
                continue
            folders = []
            for one in (method, own.student_of):
                whose = {"data": "small-world", "student": "small", "method": one, "seed": 0}
                stages.make_examples(pipeline.workspace, False, lambda *_: None, **whose)
                folders.append(ExampleFolder(pipeline.workspace.built(**whose)))
            mine, theirs = ([e.learnt for e in folder.examples()] for folder in folders)
            assert mine == theirs
            shared += 1
        pipeline.workspace.close()
    assert shared
