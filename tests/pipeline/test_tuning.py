"""Settings are tried on development questions, the same for each method, and the best are used."""

import json

import pytest

from pipeline.made import CONFIG, rows, write_files
from steper.cli.main import run as command
from steper.dryrun.smoke import smoke_pipeline
from steper.dryrun.stand_ins import write_rows
from steper.errors import InputError, SettingsError
from steper.pipeline import choices, trials
from steper.pipeline.load import load_settings
from steper.pipeline.pipeline import Pipeline
from steper.pipeline.tune_settings import described
from steper.pipeline.tuning import taken_values, trials_of, tuned_as
from steper.runs import Run
from steper.store import read_json, write_json

TUNE = "tune={questions: 3, grid: {train.lr: [1.0e-3, 1e-2]}}"
METHODS = """{
  vanilla_kd: , vanilla_kd_iter: {student_of: vanilla_kd}, steper: ,
  same: {recipe: steper, tokens_of: vanilla_kd}, other: {recipe: kard, tokens_of: steper},
  steper_onpolicy: {states_of: steper}, steper_dpo: {states_of: steper}}"""


class Watcher:
    """Remembers what began; with a name, is interrupted when that task begins."""

    def __init__(self, stop=None):
        self.begun, self.over, self.stop = [], {}, stop

    def began(self, planned):
        self.begun.append(planned.task.id)
        if planned.task.id == self.stop:
            raise KeyboardInterrupt

    def advanced(self, task, done, total, detail):
        pass

    def ended(self, planned, summary, seconds):
        self.over[planned.task.id] = summary


def settings(config, tiny, *overrides):
    return load_settings(config, [f"students.tiny.model={tiny}", *overrides])


def states(pipeline, *args):
    return {planned.task.id: planned.state for planned in pipeline.plan(*args)}


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny):
    """A configuration that is tuned, its output folder, and what began before and after a kill."""
    folder = tmp_path_factory.mktemp("tuned")
    config = write_files(folder, CONFIG.replace("max_steps: 4", "max_steps: 2"))
    given = settings(
        config, tiny, TUNE, "seeds=[0, 1]", "recipes=[steper]", "evaluate.teacher=false"
    )
    first = Watcher(stop="tune/small/tiny/steper/train.lr=0.01")
    with pytest.raises(KeyboardInterrupt):
        Pipeline(given, folder / "out").run(watcher=first)
    second = Watcher()
    outcome = Pipeline(given, folder / "out").run(watcher=second)
    return config, folder / "out", first, second, outcome


def test_trials_are_asked_development_questions_alone(made, tiny):
    config, out, _, second, _ = made
    data = Pipeline(settings(config, tiny, TUNE), out).workspace.data["small"]
    dev, train, test = ({q.id for q in part} for part in (data.dev, data.train, data.test))
    assert len(dev) == 3
    assert len(train) == 7
    assert not dev & (train | test)
    run = Run(out / "tune/small/tiny/steper/train.lr=0.01/dev")
    assert {q.id for q in run.questions()} == dev
    assert not dev & {q.id for q in Run(out / "teach/small").questions()}
    assert "on 3 dev questions" in second.over["tune/small/tiny/steper/train.lr=0.01"]


def test_a_killed_pipeline_repeats_no_trial(made):
    _, _, first, second, _ = made
    assert "tune/small/tiny/steper/train.lr=0.001" in first.begun
    assert [task for task in second.begun if task.startswith("tune/")] == [
        "tune/small/tiny/steper/train.lr=0.01",
        "tune/small/tiny/steper",
    ]


def test_the_best_trial_is_a_seed_s_student_and_the_others_are_trained_as_it_was(made):
    _, out, _, second, _ = made
    choice = read_json(out / "tune/small/tiny/steper/choice.json")
    trial = out / "tune/small/tiny/steper" / choice["folder"] / "student"
    taken, other = (out / f"train/small/tiny/steper-{seed}" for seed in (0, 1))
    weights = [(folder / "model.safetensors").read_bytes() for folder in (trial, taken, other)]
    assert weights[0] == weights[1] != weights[2]
    assert second.over["train/small/tiny/steper-0"].endswith("trained as a trial")
    manifests = [read_json(folder / "manifest.json") for folder in (taken, other)]
    rates = [manifest["settings"]["training"]["lr"] for manifest in manifests]
    assert rates == [choice["chosen"]["train.lr"]] * 2
    assert manifests[0]["tuned"] == manifests[1]["tuned"]
    assert [one["values"] for one in manifests[0]["tuned"]["tried"]] == [
        {"train.lr": 0.001},
        {"train.lr": 0.01},
    ]


def test_tables_say_what_was_tried_and_chosen(made):
    _, out, _, _, outcome = made
    lr = read_json(out / "tune/small/tiny/steper/choice.json")["chosen"]["train.lr"]
    edge = "least" if lr == 1e-3 else "most"
    told = f"steper: lr {lr:g} (of 2 tried on 3 dev questions, the {edge} lr tried)"
    assert outcome.comparisons["small"].tuned == (told,)
    assert told in (out / "report.html").read_text()


def test_what_is_chosen_at_the_grid_s_edge_is_told():
    tried = [
        {"train.lr": lr, "examples.reasoning": r} for lr in (1, 2, 3) for r in ("user", "anew")
    ]
    chosen = [{"train.lr": lr, "examples.reasoning": "user"} for lr in (1, 2, 3)]
    told = [choices.at_edge(one, tried) for one in chosen]
    assert told == [["the least lr tried"], [], ["the most lr tried"]]
    assert choices.at_edge(chosen[0], tried[:2]) == []  # a single rate has no edge


def test_a_wider_grid_tries_what_is_new_and_refuses_what_was_trained(made, tiny):
    config, out, *_ = made
    wider = TUNE.replace("1e-2]", "1e-2, 1e-4]")
    pipeline = Pipeline(settings(config, tiny, wider, "seeds=[0, 1]", "recipes=[steper]"), out)
    found = states(pipeline)
    assert found["tune/small/tiny/steper/train.lr=0.01"] == "done"
    assert found["tune/small/tiny/steper/train.lr=0.0001"] == "to do"
    assert found["tune/small/tiny/steper"] == "again"
    with pytest.raises(
        SettingsError, match=r"stage train .* tuned\.tried is .*--overwrite-from tr"
    ):
        pipeline.run()


def test_another_metric_costs_no_trial(made, tiny):
    config, out, *_ = made
    more = (TUNE, "tune.metric=f1", "seeds=[0, 1]", "recipes=[steper]")
    found = states(Pipeline(settings(config, tiny, *more), out))
    assert [found[f"tune/small/tiny/steper{name}"] for name in ("/train.lr=0.01", "")] == [
        "done",
        "again",
    ]


def test_beginning_anew_from_the_training_keeps_the_trials(made, tiny):
    config, out, *_ = made
    pipeline = Pipeline(settings(config, tiny, TUNE, "seeds=[0, 1]", "recipes=[steper]"), out)
    anew = states(pipeline, (), "train")
    assert {s for task, s in anew.items() if task.startswith("tune/")} == {"done"}
    assert {s for task, s in anew.items() if task.startswith("train/")} == {"again"}
    anew = states(pipeline, (), "tune")
    assert {s for task, s in anew.items() if task.startswith(("tune/", "train/"))} == {"again"}
    assert anew["build/small/tiny/steper"] == "done"


@pytest.mark.parametrize(("metric", "best"), [("em", 1), ("f1", 0), ("acc", 0)])
def test_the_best_on_development_questions_is_chosen_and_of_equal_ones_the_first(
    tmp_path, tiny, metric, best
):
    config = write_files(tmp_path)
    grid = "tune={questions: 3, grid: {train.lr: [0.001, 0.01, 0.1]}}"
    given = settings(config, tiny, grid, f"tune.metric={metric}")
    ws = Pipeline(given, tmp_path / "out").workspace
    scores = [(0.2, 0.5, 0.6), (0.4, 0.3, 0.6), (0.4, 0.5, 0.1)]
    for trial, (em, f1, acc) in zip(trials_of(given, "steper").tried, scores, strict=True):
        folder = choices.trial_folder(ws, "small", "tiny", "steper", trial.name)
        folder.mkdir(parents=True)
        counts = {"steps": 1, "tokens": 1, "seconds": 1}
        row = {"values": trial.values, "em": em, "f1": f1, "acc": acc, **counts}
        write_json(folder / trials.TRIAL, row)
    told = trials.choose(ws, False, lambda *_: None, data="small", student="tiny", method="steper")
    lr = [0.001, 0.01, 0.1][best]
    assert told.startswith(f"lr {lr:g} is best by ")
    whose = ("small", "tiny", "steper", 5)
    assert choices.train_settings(ws, whose).lr == lr
    assert choices.train_settings(ws, whose).seed == 5


def test_who_is_tuned_and_who_follows(tmp_path, tiny):
    config = write_files(tmp_path, CONFIG.replace("{max_steps: 2, ", "{"))
    given = settings(config, tiny, TUNE, f"recipes={METHODS}".replace("\n", ""))
    assert {method: tuned_as(given, method) for method in given.recipes} == {
        "vanilla_kd": "vanilla_kd",
        "vanilla_kd_iter": "vanilla_kd",
        "steper": "steper",
        "same": "steper",  # of the same recipe
        "other": "steper",  # it is as long as
        "steper_onpolicy": "steper",
        "steper_dpo": None,  # trains a student on
    }
    chosen = {"train.lr": 0.1, "train.epochs": 3}
    assert taken_values(given, "steper_onpolicy", chosen) == chosen
    assert taken_values(given, "same", chosen) == {"train.lr": 0.1}
    own = settings(
        config,
        tiny,
        TUNE,
        "recipes={steper: , o: {recipe: steper_onpolicy, states_of: steper, train: {lr: 0.3}}}",
    )
    assert taken_values(own, "o", chosen) == {"train.epochs": 3}


def test_forms_of_the_prompt_are_tried_where_a_recipe_allows_them(tmp_path, tiny):
    config = write_files(tmp_path)
    forms = "tune={questions: 3, grid: {examples.reasoning: [user, assistant, anew]}}"
    given = settings(config, tiny, forms)
    assert [described(t.values) for t in trials_of(given, "steper").tried] == [
        "reasoning user",
        "reasoning assistant",
    ]
    found = trials_of(given, "vanilla_kd")
    assert [described(t.values) for t in found.tried] == ["reasoning assistant", "reasoning anew"]
    assert list(found.refused) == ["reasoning user"]
    tasks = {task.id: task for task in Pipeline(given, tmp_path / "out").tasks.all()}
    chosen = "tune/small/tiny/steper"
    assert chosen in tasks["build/small/tiny/steper"].needs
    trial = "build/small/tiny/steper.examples.reasoning=user"
    assert trial in tasks[f"{chosen}/examples.reasoning=user"].needs


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("{grid: {train.lrr: [1]}}", "tune.grid.train.lrr: unknown setting of train 'lrr'; did"),
        ("{grid: {lr: [1]}}", "tune.grid.lr: a setting of train or examples was expected"),
        ("{grid: {train.lr: [-1]}}", "tune.grid.train.lr: Input should be greater than 0, not -1"),
        ("{grid: {train.lr: []}}", "tune.grid.train.lr names no value to try"),
        ("{grid: {}}", "tune.grid: no setting to try; expected such as"),
        ("{questions: 3}", "tune.grid: required field is missing"),
        ("{grid: {train.seed: [1]}}", "tune.grid.train.seed cannot be tried: all trials have the"),
        ("{grid: {train.teacher: [x]}}", "cannot be tried: it names a model or a file"),
        ("{grid: {examples.questions: [1]}}", "cannot be tried: methods would learn from more"),
        ("{grid: {train.lr: [1e-3, 0.001]}}", "tune.grid: lr 0.001 would be tried twice"),
        ("{grid: {train.lr: [1]}, metric: x}", "tune.metric: Input should be 'em', 'f1' or 'acc'"),
        ("{grid: {train.lr: [1]}, n: 3}", "unknown setting of tune 'n'"),
        ("{questions: 10, grid: {train.lr: [1]}}", "tune.questions is 10, but"),
        (
            "{grid: {examples.reasoning: [anew]}}",
            "no combination is one for recipes.steper (reasoning=anew",
        ),
    ],
)
def test_what_cannot_be_tried_is_one_line_with_its_place(config, tiny, capsys, override, told):
    given = ["--set", f"students.tiny.model={tiny}", "--set", f"tune={override}"]
    line = ["run", str(config), "--out", str(config.parent / "out"), *given, "--dry-run"]
    assert command(line) == 2
    error = capsys.readouterr().err.strip()
    assert told in " ".join(error.split())
    assert len(error.splitlines()) == 1
    assert "--set tune" in error or "train.json" in error


def test_errors_in_a_file_name_its_line(tmp_path, tiny):
    text = f"{CONFIG}tune:\n  grid:\n    train.lr: [0.1]\n    train.lrr: [0.1]\n"
    config = write_files(tmp_path, text)
    last = len(text.splitlines())
    with pytest.raises(SettingsError, match=rf"pipeline.yaml, line {last}: tune.grid.train.lrr"):
        settings(config, tiny)
    with pytest.raises(SettingsError, match=r"^--set tune.grid.train.lrr=\[1\]: tune.grid.train.l"):
        settings(write_files(tmp_path), tiny, TUNE, "tune.grid.train.lrr=[1]")


def test_a_method_s_own_setting_is_not_tried(tmp_path, tiny):
    text = CONFIG.replace("[vanilla_kd, steper]", "\n  vanilla_kd: {train: {lr: 0.2}}")
    with pytest.raises(SettingsError, match=r"line 13: recipes.vanilla_kd.train.lr is set, and tu"):
        settings(write_files(tmp_path, text), tiny, TUNE)


def dev_of(config, tiny, *overrides):
    given = settings(config, tiny, TUNE, *overrides)
    return Pipeline(given, config.parent / "out")


@pytest.mark.parametrize(
    ("items", "what"),
    [(lambda: rows()[0][:4], "training"), (lambda: [*rows()[1][5:], rows()[1][0]], "test")],
)
def test_development_questions_that_are_learnt_from_or_tested_on_are_refused(
    config, tiny, items, what
):
    dev = config.parent / "dev.json"
    write_rows(dev, items())
    with pytest.raises(InputError, match=rf"data.small.dev: \d of \d .* are {what} questions, too"):
        dev_of(config, tiny, f"data.small.dev={dev}", f"tune.questions={len(items())}").plan()


def test_a_file_of_development_questions_leaves_training_as_it_is(config, tiny):
    dev = config.parent / "dev.json"
    write_rows(dev, rows()[1][5:9])
    plain = Pipeline(settings(config, tiny), config.parent / "out")
    tuned = dev_of(config, tiny, f"data.small.dev={dev}")
    assert tuned.workspace.data["small"].key() == plain.workspace.data["small"].key()
    assert len(tuned.workspace.data["small"].train) == 10
    assert len(tuned.workspace.data["small"].dev) == 3
    with pytest.raises(InputError, match=r"tune.questions is 7, but .*dev.json holds 4"):
        dev_of(config, tiny, f"data.small.dev={dev}", "tune.questions=7").plan()


def test_held_out_questions_are_those_that_train_size_leaves(config, tiny):
    sizes = "data.small.train_size=5"
    plain = Pipeline(settings(config, tiny, sizes), config.parent / "out").workspace.data["small"]
    tuned = dev_of(config, tiny, sizes).workspace.data["small"]
    assert [q.id for q in tuned.train] == [q.id for q in plain.train]
    assert tuned.key() == plain.key()
    assert not {q.id for q in tuned.dev} & {q.id for q in tuned.train}
    with pytest.raises(InputError, match=r"tune.questions is 6, but .* has 5 to hold out beside"):
        _ = dev_of(config, tiny, sizes, "tune.questions=6").workspace.data["small"].dev


def test_a_world_makes_its_own_and_stays_as_it_is(tmp_path, tiny):
    text = CONFIG.replace("questions: train.json", "world: {train: 6, test: 4}")
    config = write_files(tmp_path, text.replace("    test: test.json\n", ""))
    plain = Pipeline(settings(config, tiny), tmp_path / "out")
    tuned = Pipeline(settings(config, tiny, TUNE), tmp_path / "out")
    keys = [
        {t.id: t.key for t in p.tasks.all() if t.stage in ("world", "index", "teach", "build")}
        for p in (plain, tuned)
    ]
    assert keys[0] == keys[1]
    stages = ("world", "tune")
    made = [t for t in tuned.tasks.all() if t.id in ("world/small", "tune/small")]
    assert [task.stage for task in made] == list(stages)
    for task in made:
        task.work(tuned.workspace, False, lambda *_: None)
    data = tuned.workspace.data["small"]
    assert len(data.dev) == 3
    assert all("-dev-" in question.id for question in data.dev)
    own = json.loads((tmp_path / "out/world/small/train.json").read_text())
    assert {q.id for q in data.train} == {item["_id"] for item in own}


def test_a_dry_run_of_everything_tunes_by_a_few_questions(config, tiny, tmp_path):
    tune = "tune={grid: {train.lr: [0.1, 0.2, 0.3], train.epochs: [1, 2]}}"
    pipeline, notes = smoke_pipeline(settings(config, tiny, tune), tmp_path / "out")
    small = pipeline.settings.tune
    assert (small.questions, small.grid) == (3, {"train.lr": [0.1, 0.2]})
    assert "each setting is tuned by two values on 3 questions" in notes
    assert sum(task.stage == "tune" for task in pipeline.tasks.all()) == 6


def test_without_tune_nothing_is_tried_and_no_key_knows_of_it(config, tiny):
    dev = config.parent / "dev.json"
    write_rows(dev, rows()[1][5:9])
    keys = []
    for more in ((), (f"data.small.dev={dev}",)):
        tasks = Pipeline(settings(config, tiny, *more), config.parent / "out").tasks.all()
        keys.append({task.id: task.key for task in tasks})
    assert keys[0] == keys[1]
    assert not any(task.startswith("tune/") for task in keys[0])
    assert not any("tuned" in key for key in keys[0].values())
