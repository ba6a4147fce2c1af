"""`--smoke`: every stage with stand-ins of the real kind, and saying so."""

import gzip
from pathlib import Path

import pytest

from data.mini import SHARED, shared
from pipeline.made import CONFIG, write_files
from steper.cli.main import run as command
from steper.dryrun.smoke import smoke_pipeline
from steper.examples.example_folder import ExampleFolder
from steper.pipeline.load import load_settings
from steper.runs import Run

LLAMA = Path(__file__).parents[2] / "recipes" / "llama-3.1-8b.yaml"


def test_the_papers_settings_stay_where_size_allows(tmp_path):
    settings = load_settings(LLAMA)
    assert settings.strategy_settings.max_steps == 5
    assert settings.strategy_settings.k == 4
    assert settings.train.lr == 5e-6
    assert settings.train.epochs == 2
    assert settings.train.dtype == "bfloat16"
    assert settings.train.gradient_checkpointing
    small = smoke_pipeline(settings, tmp_path)[0].settings
    assert small.strategy_settings.max_steps == 5
    assert small.strategy_settings.k == 4
    assert small.train.lr == 5e-6
    assert small.train.gradient_checkpointing
    assert small.train.max_steps == 3
    assert small.teacher.model == "gold"
    assert not list(tmp_path.iterdir())


def test_absent_data_is_generated_in_its_format_and_said(tmp_path):
    settings = load_settings(LLAMA)
    pipeline, notes = smoke_pipeline(settings, tmp_path / "out")
    for name, kind in (("2wiki", "2wikimultihopqa"), ("hotpotqa", "hotpotqa")):
        note = next(n for n in notes if n.startswith(f"{name}:"))
        assert f"generated questions in {kind} format stand in" in note
    assert any("gold annotations, not from the random teacher" in n for n in notes)
    pipeline.run(["stand-ins", "index", "teach", "build"])
    for name in settings.data:
        taught = Run(tmp_path / "out/teach" / name)
        assert {q.benchmark for q in taught.questions()} == {settings.data[name].benchmark}
        examples = list(ExampleFolder(tmp_path / "out/build" / name / "8b/steper").examples())
        assert {e.kind for e in examples} == {"init", "exp", "agg"}
        assert examples[0].form == "chat"


def test_one_file_gives_both_sides_and_models_that_are_small_stay(tmp_path, tiny):
    config = write_files(tmp_path, CONFIG.replace("test: test.json", "test: none.json"))
    settings = load_settings(config, [f"students.tiny.model={tiny}"])
    pipeline, notes = smoke_pipeline(settings, tmp_path / "out")
    assert pipeline.settings.students["tiny"].model == str(tiny)
    assert "5 + 5" not in notes[0]
    assert "test questions held out" in notes[0]
    assert "none.json not there" in notes[0]
    pipeline.run(["stand-ins", "index"])
    data = pipeline.workspace.data["small"]
    assert len(data.train) == len(data.test) == 5
    again, _ = smoke_pipeline(settings, tmp_path / "out")
    states = {s.task.id: s.state for s in again.plan()}
    assert states["index/small"] == states["stand-ins/small"] == "done"


def test_further_questions_are_few_and_no_student_is_made(tmp_path, tiny):
    settings = load_settings(
        write_files(tmp_path),
        [
            f"students.tiny={{model: {tmp_path / 'none'}, made_by: make none}}",
            "evaluate.further.world={world: {domain: ood}}",
            f"evaluate.further.there={{questions: {tmp_path / 'test.json'}}}",
            "evaluate.further.absent={questions: none.json}",
        ],
    )
    pipeline, notes = smoke_pipeline(settings, tmp_path / "out")
    small = pipeline.settings
    assert small.students["tiny"].made_by is None
    assert list(small.evaluate.further) == ["world", "there"]
    assert small.evaluate.further["world"].world.test == 10
    assert any("none.json not there, so nobody is asked" in note for note in notes)
    assert {"world/world", "eval/there/small/tiny/steper-0"} <= {p.task.id for p in pipeline.plan()}


def test_ten_questions_of_a_gzipped_file_are_plain_lines(tmp_path, tiny):
    config = write_files(tmp_path, CONFIG.replace("test: test.json", "test: none.json"))
    zipped = tmp_path / "train.json.gz"
    zipped.write_bytes(gzip.compress((tmp_path / "train.json").read_bytes()))
    changed = [f"students.tiny.model={tiny}", f"data.small.questions={zipped}"]
    pipeline, _ = smoke_pipeline(load_settings(config, changed), tmp_path / "out")
    pipeline.run(["stand-ins"])
    assert pipeline.workspace.data["small"].train_file.suffix == ".jsonl"
    assert len(pipeline.workspace.data["small"].train) == 5


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(not SHARED.exists(), reason="real benchmark samples are not here")
def test_the_llama_recipe_goes_through_every_stage_on_real_data(tmp_path, capsys):
    names = {"2wiki": "2wikimultihopqa_sample.json", "hotpotqa": "hotpotqa_sample.json"}
    names["musique"] = "musique_sample.jsonl"
    sets = [f"data.{name}.questions={shared(file)}" for name, file in names.items()]
    options = [word for value in sets for word in ("--set", value)]
    arguments = ["run", str(LLAMA), "--smoke", "--out", str(tmp_path / "out"), *options]
    assert command(arguments) == 0
    shown = capsys.readouterr().out
    for name in names:
        assert f"{name}: 10 test questions" in shown
        assert (tmp_path / "out/report" / f"{name}.html").exists()
        for folder in ("teacher", "8b/base", "8b/vanilla_kd-0", "8b/steper-0"):
            assert (tmp_path / "out/eval" / name / folder / "metrics.json").exists()
    assert command(arguments) == 0
    assert "done before" in capsys.readouterr().out
