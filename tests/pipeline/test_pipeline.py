"""The whole pipeline on ten questions: skips what is done, resumes, refuses to mix settings."""

import json
import re
import shutil

import pytest

from doubles import change_in_the_middle
from lm.tiny import make_tiny_llama
from pipeline.made import CONFIG, rows, write_files
from steper.cli.main import run as command
from steper.errors import InputError, ModelError, SettingsError
from steper.examples.example_folder import ExampleFolder
from steper.lm import shipped
from steper.pipeline import stages
from steper.pipeline.beforehand import check_beforehand
from steper.pipeline.load import load_settings
from steper.pipeline.pipeline import Pipeline
from steper.pipeline.plan import Stamps
from steper.pipeline.workspace import TEST_QUESTIONS, Workspace
from steper.runs import Run


class Watcher:
    """Remembers what began and what was over."""

    def __init__(self):
        self.begun, self.over, self.advances = [], {}, 0

    def began(self, step):
        self.begun.append(step.task.id)

    def advanced(self, task, done, total, detail):
        self.advances += 1

    def ended(self, step, summary, seconds):
        self.over[step.task.id] = summary


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny):
    """A configuration, its output folder, and what was told of the first run."""
    folder = tmp_path_factory.mktemp("pipeline")
    config = write_files(folder)
    watcher = Watcher()
    pipeline = Pipeline(settings(config, tiny), folder / "out")
    outcome = pipeline.run(watcher=watcher)
    return config, folder / "out", watcher, outcome


def settings(config, tiny, *overrides):
    return load_settings(config, [f"students.tiny.model={tiny}", *overrides])


def states(pipeline, *args):
    return {step.task.id: step.state for step in pipeline.plan(*args)}


def test_every_stage_is_run_in_order(made):
    _, out, watcher, outcome = made
    stages = list(dict.fromkeys(task.partition("/")[0] for task in watcher.begun))
    assert stages == ["index", "teach", "build", "train", "eval", "compare", "report"]
    assert watcher.advances > 10
    assert all(watcher.over.values())
    assert list(outcome.comparisons["small"].methods) == ["teacher", "base", "vanilla_kd", "steper"]
    assert outcome.comparisons["small"].baseline == "vanilla_kd"
    assert outcome.reports["small"] == out / "report.html"
    assert "steper" in (out / "report.html").read_text()


def test_methods_answer_the_test_questions_alone(made):
    _, out, _, _ = made
    tested = [q.id for q in Run(out / "eval/small/tiny/steper-0").questions()]
    trained = {e.question_id for e in ExampleFolder(out / "build/small/tiny/steper").examples()}
    assert len(tested) == 5
    assert trained
    assert not trained & set(tested)
    excluded = (out / "build/small" / TEST_QUESTIONS).read_text()
    assert all(f'"{i}"' in excluded for i in tested)


def test_base_and_students_are_prompted_alike(made):
    _, out, _, _ = made
    runs = [Run(out / "eval/small/tiny" / name) for name in ("base", "steper-0", "vanilla_kd-0")]
    first, *others = [run.manifest["settings"] for run in runs]
    assert [other["prompt"].get("reasoning") for other in others] == [None, "assistant"]
    for other in others:
        # Vanilla-KD's go on with their own turn: their recipe says so.
        assert {**other["prompt"], "reasoning": "user"} == {**first["prompt"], "reasoning": "user"}
        assert other["strategy"] == first["strategy"]
        assert other["questions"] == first["questions"]
        assert other["retriever"] == first["retriever"]


def test_a_second_run_does_nothing(made, tiny):
    config, out, _, _ = made
    pipeline = Pipeline(settings(config, tiny), out)
    assert set(states(pipeline).values()) == {"done"}
    watcher = Watcher()
    pipeline.run(watcher=watcher)
    assert not watcher.begun
    assert set(watcher.over.values()) == {""}


@pytest.mark.parametrize(
    ("override", "stage", "said"),
    [
        ("train.lr=0.002", "train", "training.lr is 0.001 there, 0.002 now"),
        ("recipes.steper.train.lr=0.002", "train", "small/tiny/steper-0"),
        ("strategy.k=2", "teach", "strategy.k is 3 there, 2 now"),
        ("filters.correct=em", "build", 'filters.correct is "acc_token" there, "em" now'),
        ("data.small.test_size=4", "teach", "questions.test_size is null there, 4 now"),
        ("index.k1=1.5", "index", "bm25.k1 is 1.2 there, 1.5 now"),
    ],
)
def test_changed_settings_are_refused_with_the_stage_and_the_way_on(
    made, tiny, override, stage, said
):
    config, out, _, _ = made
    pipeline = Pipeline(settings(config, tiny, override), out)
    with pytest.raises(SettingsError) as caught:
        pipeline.run()
    message = str(caught.value)
    assert message.startswith(f"stage {stage} (")
    assert said in message
    assert f"--overwrite-from {stage}" in message


@pytest.mark.parametrize("section", ["students.tiny.hf", "train", "recipes.steper.train"])
def test_a_misspelt_argument_of_the_template_is_told_before_the_first_task(tmp_path, tiny, section):
    student = shutil.copytree(tiny, tmp_path / "thinks")
    template = student / "chat_template.jinja"
    template.write_text("{% if not enable_thinking %}{% endif %}" + template.read_text())
    config = write_files(tmp_path)
    pipeline = Pipeline(
        settings(config, student, f"{section}.chat_template_kwargs={{enable_thinkin: false}}"),
        tmp_path / "out",
    )
    with pytest.raises(SettingsError) as caught:
        pipeline.run()
    assert str(caught.value) == (
        f"{section}.chat_template_kwargs.enable_thinkin: the model's chat template does not ask "
        "for it; did you mean enable_thinking?"
    )
    assert not (tmp_path / "out").exists()
    plain = settings(
        config,
        student,
        f"{section}.chat_template_kwargs={{enable_thinkin: false}}",
        "examples.form=plain",
    )
    check_beforehand(plain, {"train"}, ())  # plain text has no template
    check_beforehand(plain, {"index", "build"}, ())


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["examples.reasoning=anew"], "recipes.steper: reasoning=anew asks for all"),
        (["examples.target=cumulative", "examples.reasoning=user"], "recipes.vanilla_kd: reasoni"),
        (["strategy.keep=all", "examples.end_of_turn=last_step"], "recipes.steper: end_of_turn=la"),
    ],
)
def test_examples_that_cannot_be_made_are_told_before_the_first_task(
    config, tiny, tmp_path, overrides, said
):
    pipeline = Pipeline(settings(config, tiny, *overrides), tmp_path / "out")
    with pytest.raises(SettingsError, match=f"^{said}"):
        pipeline.run()
    assert not (tmp_path / "out").exists()


def test_lora_in_shards_with_added_tokens_is_told_before_the_first_task(config, tiny, tmp_path):
    train = "{lora_rank: 2, optimizer: adamw, sharding: zero3}"
    lora = f"recipes={{steper: {{}}, self_rag: {{train: {train}}}}}"
    asked = settings(config, tiny, lora, "evaluate.baseline=null")
    with pytest.raises(SettingsError, match=r"^recipes\.self_rag, students\.\w+: .*adds 15 tokens"):
        Pipeline(asked, tmp_path / "out").run()
    assert not (tmp_path / "out").exists()
    check_beforehand(asked, {"build", "eval"}, ())


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["train.sharding=fsdp2", "train.device=cpu"], "train: FSDP2 was asked for"),
        (["launch.processes=3", "train.batch_size=4"], "train: batch_size is 4, which 3 processes"),
        (
            ["recipes={steper: {train: {batch_size: 3}}}", "launch.processes=2"],
            "recipes.steper.train: ",
        ),
    ],
)
def test_trainings_that_could_not_start_are_told_before_the_first_task(
    config, tiny, tmp_path, overrides, said
):
    asked = settings(config, tiny, *overrides, "evaluate.baseline=null")
    pipeline = Pipeline(asked, tmp_path / "out")
    for do in (pipeline.run, pipeline.plan):
        with pytest.raises(SettingsError, match=f"^{said}"):
            do()
    assert not (tmp_path / "out").exists()
    pipeline.plan(["world", "teach", "build"])


def test_students_that_are_also_asked_what_they_did_not_learn_are_told(config, tiny, caplog):
    also = "evaluate.also={ends_steps: {keep: all}}"
    asked = settings(config, tiny, "examples.end_of_turn=last_step", also)
    check_beforehand(asked, {"build"}, ())
    (said,) = caplog.messages
    assert said.startswith("evaluate.also.ends_steps asks what recipes.steper did not teach: end_")


def test_a_student_that_is_not_there_is_told_before_the_first_task(config, tmp_path, capsys):
    gone = tmp_path / "gone"
    said = f"students.tiny.model: {gone}: no such folder"
    pipeline = Pipeline(settings(config, gone), tmp_path / "out")
    with pytest.raises(ModelError, match=f"^{re.escape(said)}$"):
        pipeline.run()
    with pytest.raises(ModelError, match="no such folder"):
        pipeline.plan()
    pipeline.plan(["index", "teach"])
    taught = Pipeline(settings(config, gone, f"teacher.model=hf:{gone}"), tmp_path / "out")
    for begin in (taught.plan, taught.run):
        with pytest.raises(ModelError, match=f"^teacher.model: {re.escape(str(gone))}: no such"):
            begin(["index", "teach"])
    assert not (tmp_path / "out").exists()
    model = ["--set", f"students.tiny.model={gone}"]
    assert command(["run", str(config), *model, "--out", str(tmp_path / "out"), "--dry-run"]) == 2
    assert said in "".join(capsys.readouterr().err.splitlines())


def test_a_teachers_misspelt_argument_of_the_template_is_told_before_the_first_task(tmp_path, tiny):
    wrong = "teacher.hf.chat_template_kwargs={thinks: false}"
    asked = settings(write_files(tmp_path), tiny, f"teacher.model=hf:{tiny}", wrong)
    with pytest.raises(SettingsError, match=r"^teacher\.hf\.chat_template_kwargs\.thinks: "):
        Pipeline(asked, tmp_path / "out").run()
    check_beforehand(asked, {"teach"}, {str(tiny)})  # of one that is yet to be made
    check_beforehand(asked, {"train"}, ())


FEW = CONFIG.replace("test: test.json", "test: test.json\n    train_size: 4").replace(
    "max_steps: 2, batch_size: 4, micro_batch_size: 2", "epochs: 1, batch_size: 1"
)


def test_a_method_trains_on_as_many_tokens_as_another(tmp_path, tiny):
    text = FEW.replace(
        "recipes: [vanilla_kd, steper]",
        "recipes: {vanilla_kd: {tokens_of: steper}, steper: {}}",
    )
    config = write_files(tmp_path, text)
    pipeline = Pipeline(settings(config, tiny), tmp_path / "out")
    pipeline.run(["index", "teach", "build", "train"])
    trained = {
        name: json.loads((tmp_path / f"out/train/small/tiny/{name}-0/manifest.json").read_text())
        for name in ("vanilla_kd", "steper")
    }
    tokens = {name: manifest["trained"]["tokens"] for name, manifest in trained.items()}
    assert tokens["vanilla_kd"] == pytest.approx(tokens["steper"], rel=0.15)
    assert tokens["vanilla_kd"] > trained["vanilla_kd"]["counts"]["tokens"]
    assert set(states(Pipeline(settings(config, tiny), tmp_path / "out"), ["train"]).values()) == {
        "done",
        "to do",
    }
    with pytest.raises(SettingsError, match="tokens_of is 'x'; expected a method of this file"):
        settings(config, tiny, "recipes.vanilla_kd.tokens_of=x")
    with pytest.raises(SettingsError, match=r"tokens_of and train\.max_steps exclude each other"):
        settings(config, tiny, "train.max_steps=3")


@pytest.mark.slow
def test_a_method_trains_as_long_as_another(tmp_path, tiny):
    text = FEW.replace(
        "recipes: [vanilla_kd, steper]",
        "recipes: {long: {recipe: vanilla_kd, seconds_of: steper}, vanilla_kd: {}, steper: {}}",
    )
    config = write_files(tmp_path, text)
    pipeline = Pipeline(settings(config, tiny), tmp_path / "out")
    pipeline.run(["index", "teach", "build", "train"])
    done = {
        name: json.loads((tmp_path / f"out/train/small/tiny/{name}-0/manifest.json").read_text())
        for name in ("vanilla_kd", "steper", "long")
    }
    trained = {name: manifest["trained"] for name, manifest in done.items()}
    rate = trained["vanilla_kd"]["tokens"] / trained["vanilla_kd"]["seconds"]
    wanted = done["long"]["settings"]["training"]["max_tokens"]
    assert wanted == round(trained["steper"]["seconds"] * rate)
    by_id = {planned.task.id: planned.task for planned in pipeline.plan()}
    needs = by_id["train/small/tiny/long-0"].needs
    assert {"train/small/tiny/steper-0", "train/small/tiny/vanilla_kd-0"} <= set(needs)
    with pytest.raises(SettingsError, match="has the same recipe, examples and filters"):
        settings(config, tiny, "recipes.long.recipe=steper_uniform")
    with pytest.raises(SettingsError, match="tokens_of and seconds_of exclude each other"):
        settings(config, tiny, "recipes.long.tokens_of=steper")


@pytest.mark.slow
def test_other_bytes_in_the_middle_of_a_student_are_noticed(tmp_path, capsys):
    student = make_tiny_llama(tmp_path / "student", window=8192, intermediate=32_768)
    text = CONFIG.replace("[vanilla_kd, steper]", "[steper]").replace("_words: 20", "_words: 2")
    text = text.replace(
        "max_steps: 2, batch_size: 4, micro_batch_size: 2",
        "max_steps: 1, batch_size: 1, lora_rank: 1",
    ).replace("k: 3", "k: 1")
    config = write_files(tmp_path, text)
    model, out = f"students.tiny.model={student}", str(tmp_path / "out")
    line = ["run", str(config), "--set", model, "--out", out]
    line += ["--stages", "index,teach,build,train"]
    assert command(line) == 0
    assert command(line) == 0
    assert "done before" in capsys.readouterr().out
    change_in_the_middle(student / "model.safetensors")
    assert command(line) == 2
    error = capsys.readouterr().err
    assert f"stage train (small/tiny/steper-0) was done in {out} with other settings: " in error
    assert "student is " in error


def test_what_is_derived_is_done_again_without_asking(made, tiny):
    config, out, _, _ = made
    pipeline = Pipeline(settings(config, tiny, "evaluate.metrics=[f1]"), out)
    differing = {task: state for task, state in states(pipeline).items() if state != "done"}
    assert differing == {"compare/small": "again"}


@pytest.mark.parametrize(("baseline", "against"), [("steper", "steper (long)"), ("con", "con")])
def test_who_has_no_such_setting_is_not_asked_also(config, tiny, tmp_path, baseline, against):
    """Chain-of-Note's readers keep nothing: they are asked by a strategy of their own."""
    changes = "recipes=[steper, con]", "evaluate.also.long={keep: all}"
    made = settings(config, tiny, *changes, f"evaluate.baseline={baseline}")
    workspace = Workspace(made, tmp_path / "out")
    asked = [run.method for run in workspace.eval_runs("small") if run.trained]
    assert asked == ["steper", "con", "steper (long)"]
    assert workspace.against("small") == {"steper (long)": against}
    workspace.close()


def test_students_are_asked_also_in_another_way(made, tiny):
    """Only these questions are asked anew; they are compared with the baseline asked likewise."""
    config, out, _, _ = made
    also = settings(config, tiny, "evaluate.also.long={keep: all}")
    pipeline, watcher = Pipeline(also, out), Watcher()
    comparison = pipeline.run(watcher=watcher).comparisons["small"]
    students = ["vanilla_kd-0.long", "steper-0.long"]
    assert watcher.begun[:-2] == [f"eval/small/tiny/{name}" for name in students]
    kept = [
        Run(out / "eval/small/tiny" / name).manifest["settings"]["strategy"] for name in students
    ]
    assert [strategy["keep"] for strategy in kept] == ["all", "all"]
    labels = [found.label for found in comparison.metrics[0].differences]
    assert labels == ["teacher", "base", "steper", "steper (long) − vanilla_kd (long)"]
    assert "steper (long)" in (out / "report.html").read_text()
    Pipeline(settings(config, tiny), out).run()


def test_a_way_to_ask_takes_settings_that_the_strategy_has(config, tiny):
    with pytest.raises(SettingsError, match=r"evaluate\.also\.long.*kep.*keep"):
        settings(config, tiny, "evaluate.also.long={kep: all}")


def test_a_way_to_ask_needs_a_name_that_a_folder_can_have(config, tiny):
    with pytest.raises(SettingsError, match=r"evaluate\.also.*'a/b'"):
        settings(config, tiny, 'evaluate.also={"a/b": {keep: all}}')


def test_overwriting_begins_with_a_stage(made, tiny):
    config, out, _, _ = made
    pipeline = Pipeline(settings(config, tiny, "train.lr=0.002"), out)
    found = states(pipeline, (), "train")
    assert {state for task, state in found.items() if task.startswith(("teach", "build"))} == {
        "done"
    }
    assert {found[f"{stage}/small"] for stage in ("compare", "report")} == {"again"}
    assert found["train/small/tiny/steper-0"] == "again"
    with pytest.raises(SettingsError, match="unknown stage 'trian'; did you mean train"):
        pipeline.plan((), "trian")


def test_a_stage_without_what_it_builds_on_is_refused(tmp_path, config, tiny):
    pipeline = Pipeline(settings(config, tiny), tmp_path / "out")
    with pytest.raises(SettingsError, match="stage build needs teach/small, which is not done"):
        pipeline.run(["build", "train"])
    assert not (tmp_path / "out").exists()


def test_an_interrupted_stage_is_taken_up(tmp_path, config, tiny, monkeypatch):
    pipeline = Pipeline(settings(config, tiny), tmp_path / "out")
    real = stages.write_examples

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(stages, "write_examples", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(["index", "teach", "build"])
    monkeypatch.setattr(stages, "write_examples", real)
    again = Pipeline(settings(config, tiny), tmp_path / "out")
    found = states(again)
    assert found["teach/small"] == "done"
    assert found["build/small/tiny/vanilla_kd"] == "resume"
    assert found["build/small/tiny/steper"] == "to do"
    watcher = Watcher()
    again.run(["index", "teach", "build"], watcher=watcher)
    assert watcher.begun == ["build/small/tiny/vanilla_kd", "build/small/tiny/steper"]


def test_overwriting_replaces_what_an_earlier_run_made(tmp_path, config, tiny):
    stages = ["index", "teach", "build"]
    Pipeline(settings(config, tiny), tmp_path / "out").run(stages)
    changed = Pipeline(settings(config, tiny, "strategy.k=1"), tmp_path / "out")
    changed.run(stages, overwrite_from="teach")
    manifest = Run(tmp_path / "out/teach/small").manifest
    assert manifest["settings"]["strategy"]["k"] == 1
    assert set(states(changed, stages).values()) == {"done", "to do"}


def test_shared_questions_stop_the_run_before_it_begins(tmp_path, config, tiny):
    (config.parent / "test.json").write_bytes((config.parent / "train.json").read_bytes())
    pipeline = Pipeline(settings(config, tiny), tmp_path / "out")
    with pytest.raises(InputError, match=r"^data.small: 10 of 10 questions"):
        pipeline.run()
    assert not (tmp_path / "out/index").exists()


def test_questions_about_the_same_facts_stop_the_run_before_it_begins(tmp_path, config, tiny):
    path = config.parent / "test.json"
    test, train = json.loads(path.read_text()), rows()[0][0]
    facts = ("context", "supporting_facts", "evidences")
    test[2] |= {name: train[name] for name in facts}
    path.write_text(json.dumps(test))
    pipeline = Pipeline(settings(config, tiny), tmp_path / "out")
    with pytest.raises(InputError, match=r"^data.small: 1 of 5 .*all of their gold"):
        pipeline.run(["index", "teach"])
    dropping = Pipeline(settings(config, tiny, "data.small.overlap=drop"), tmp_path / "out2")
    dropping.run(["index", "teach"])
    assert Run(tmp_path / "out2/teach/small").manifest["counts"]["questions"] == 9


def test_samples_of_a_teacher_are_part_of_its_task_and_need_one_that_samples(
    tmp_path, config, tiny
):
    one = Pipeline(settings(config, tiny), tmp_path / "out")
    two = Pipeline(settings(config, tiny, "teacher.samples=2"), tmp_path / "out")
    keys = [
        next(s.task.key for s in pipeline.plan(["teach"]) if s.task.stage == "teach")
        for pipeline in (one, two)
    ]
    assert keys[1] == {**keys[0], "samples": 2}
    with pytest.raises(SettingsError, match=r"samples is 2, but gold writes the same text"):
        two.run(["index", "teach"])


def test_two_pipelines_in_one_folder_are_refused(tmp_path, config, tiny):
    pipeline = Pipeline(settings(config, tiny), tmp_path / "out")
    refused = pytest.raises(InputError, match="another `steper run` is at work")
    with Stamps(tmp_path / "out").locked(), refused:
        pipeline.run(["index"])


def test_the_command_plans_runs_and_shows(made, tiny, capsys):
    config, out, _, _ = made
    model = ["--set", f"students.tiny.model={tiny}", "--out", str(out)]
    assert command(["run", str(config), "--dry-run", *model]) == 0
    assert "Nothing was done" in capsys.readouterr().out
    assert command(["run", str(config), *model]) == 0
    shown = capsys.readouterr().out
    assert "done before" in shown
    assert "vanilla_kd" in shown
    assert "5 test questions, %, with 95 % intervals" in shown
    assert f"Report: {out / 'report.html'}" in shown
    assert command(["run", str(config), *model, "--set", "train.lr=1"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "--overwrite-from train" in error


def test_stamps_name_what_decided_a_task(made):
    _, out, _, _ = made
    stamp = json.loads((out / "pipeline.json").read_text())["tasks"]["teach/small"]
    assert stamp["status"] == "complete"
    assert stamp["key"]["strategy"]["k"] == 3
    assert list(stamp["key"]["after"]) == ["index/small"]


@pytest.mark.slow
def test_students_of_every_target_are_asked_in_their_form(tmp_path, tiny):
    """By the recipe alone: nothing but the target is named."""
    whole = "recipes.whole={recipe: steper, examples: {target: cumulative}}"
    alone = "evaluate.base=none", "evaluate.teacher=false", "train.max_steps=1"
    config = settings(write_files(tmp_path), tiny, whole, *alone)
    Pipeline(config, tmp_path / "out").run(["index", "teach", "build", "train", "eval"])
    asked = {}
    for method in ("vanilla_kd", "steper", "whole"):
        run = Run(tmp_path / "out/eval/small/tiny" / f"{method}-0")
        built = ExampleFolder(tmp_path / "out/build/small/tiny" / method).manifest["settings"]
        assert run.manifest["settings"]["prompt"] == built["prompt"]
        assert run.manifest["step_end"] == "cut"
        asked[method] = built["prompt"].get("reasoning", "user"), built["target"]
    assert asked == {
        "vanilla_kd": ("assistant", "current"),
        "steper": ("user", "current"),
        "whole": ("anew", "cumulative"),
    }


def test_a_shipped_model_in_another_installation_is_the_same(tmp_path, monkeypatch):
    """An environment that was made anew would refuse all that was done in the old one."""
    config = write_files(tmp_path, CONFIG.replace("model: gold", "model: shipped:teacher"))
    asked = load_settings(config, ["students.tiny.model=shipped:student-base"])
    keys = {task.id: task.key for task in Pipeline(asked, tmp_path / "out").tasks.all()}
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(shipped.shipped_models(), elsewhere)
    monkeypatch.setattr(shipped, "shipped_models", lambda: elsewhere)
    assert keys == {task.id: task.key for task in Pipeline(asked, tmp_path / "out").tasks.all()}
