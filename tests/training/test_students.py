"""A student of each kind, full or LoRA, merged or not, goes from its training to its answers."""

from __future__ import annotations

import json
import shutil
import sys

import pytest
import torch
from safetensors.torch import load_file

from lm.asking import ask
from lm.tiny import make_tiny_llama
from pipeline.made import write_files
from steper.cli.main import run as command
from steper.errors import MissingExtraError, ModelError, SettingsError
from steper.lm import model_source
from steper.lm.hf import HFModel
from steper.lm.model_source import local_digest
from steper.runs import Run
from steper.training.job import train
from steper.training.train_settings import TrainSettings
from training.made import example_folder, examples

LORA = {"lora_rank": 2, "lr": 0.05}
FLAGS = ["--batch-size", "4", "--device", "cpu", "--max-steps", "2", "--lr", "0.05"]
KINDS = {"full": [], "lora": ["--lora-rank", "2"], "merged": ["--lora-rank", "2", "--merge"]}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_tiny_llama(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Examples of students that take two steps of a few words."""
    folder = tmp_path_factory.mktemp("examples")
    own = {"max_steps": 2, "k": 2, "max_tokens": 6}
    return example_folder(folder, examples(6), strategy=own)


def settings(**given):
    common = {"batch_size": 4, "device": "cpu", "dtype": "float32", "max_steps": 2}
    return TrainSettings.model_validate({**common, **given})


@pytest.fixture(scope="module")
def adapter(base, source, tmp_path_factory):
    """A LoRA student as `train` leaves it; copy it before you change it."""
    return train(source, base, tmp_path_factory.mktemp("lora") / "student", settings(**LORA)).path


def weights_of(folder):
    return load_file(folder / "model.safetensors")


def text_of(spec):
    model = HFModel(str(spec))
    request = ask("Who directed the film?", form="chat", max_tokens=12)
    text = model.submit([request])[0].result(60).text
    model.close()
    return text


@pytest.mark.parametrize("kind", KINDS)
def test_trained_then_scored_then_asked(kind, base, source, tmp_path, capsys):
    write_files(tmp_path)
    student, scored = str(tmp_path / "student"), tmp_path / "run"
    trained = ["train", str(source), "--student", str(base), "--out", student]
    assert command([*trained, *FLAGS, *KINDS[kind]]) == 0
    questions = ["--questions", str(tmp_path / "test.json"), "--limit", "2"]
    assert command(["eval", "--student", student, *questions, "--out", str(scored)]) == 0
    settings = Run(scored).manifest["settings"]
    assert settings["model"]["digest"] == local_digest(student)
    assert (scored / "metrics.json").exists()
    assert not (tmp_path / "student" / "README.md").exists()
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"title": "Blue River", "text": "A film of 1987."}\n')
    capsys.readouterr()
    question = ["ask", "Who directed Blue River?", "--corpus", str(corpus)]
    assert command([*question, "--student", student]) == 0
    assert "Step 1" in capsys.readouterr().out


def test_a_finished_training_is_merged_as_it_would_have_been(base, source, tmp_path, capsys):
    """And what it answers stays what it was, and its turns end where they ended."""
    late, at_once = tmp_path / "late", tmp_path / "at-once"
    common = ["train", str(source), "--student", str(base), *FLAGS, "--lora-rank", "2"]
    assert command([*common, "--out", str(late)]) == 0
    before = text_of(late)
    capsys.readouterr()
    assert command([*common, "--out", str(late), "--merge"]) == 0
    assert capsys.readouterr().out.rstrip().endswith(f"Student: {late}")
    assert command([*common, "--out", str(at_once), "--merge"]) == 0
    ours, theirs = weights_of(late), weights_of(at_once)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(weight, theirs[name]) for name, weight in ours.items())
    assert _files(late) == _files(at_once)
    assert text_of(late) == before != text_of(base)
    capsys.readouterr()
    assert command([*common, "--out", str(late), "--merge"]) == 0
    assert capsys.readouterr().out.rstrip().endswith(f"Up to date: {late}")


def _files(folder):
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return {name for name in names if not name.startswith("checkpoints")}


def test_killed_while_merging_it_is_merged_again(base, source, adapter, tmp_path, monkeypatch):
    student = shutil.copytree(adapter, tmp_path / "student")
    before = text_of(student)
    given = settings(**LORA, merge=True)
    with monkeypatch.context() as patch:
        patch.setattr(model_source.Path, "unlink", _die)
        with pytest.raises(KeyboardInterrupt):
            train(source, base, student, given)
    assert text_of(student) == before
    assert not train(source, base, student, given).up_to_date
    assert not (student / "adapter_config.json").exists()
    assert text_of(student) == before


def _die(*args, **kwargs):
    raise KeyboardInterrupt


def test_the_base_is_found_where_it_is_named_or_beside_the_adapter(base, adapter, tmp_path):
    here = shutil.copytree(base, tmp_path / "before" / base.name)
    student = shutil.copytree(adapter, tmp_path / "before" / "student")
    config = student / "adapter_config.json"
    value = json.loads(config.read_text())
    assert value["base_model_name_or_path"] == str(base.resolve())
    config.write_text(json.dumps({**value, "base_model_name_or_path": str(here)}))
    before = text_of(student), local_digest(str(student))
    moved = (tmp_path / "before").rename(tmp_path / "after") / "student"
    assert (text_of(moved), local_digest(str(moved))) == before
    shutil.rmtree(moved.parent / base.name)
    with pytest.raises(ModelError, match=r"its base model .*before/base is gone; put it back"):
        HFModel(str(moved))


def test_other_bytes_in_its_base_make_it_another_student(base, adapter, tmp_path):
    copy = shutil.copytree(base, tmp_path / base.name)
    student = shutil.copytree(adapter, tmp_path / "student")
    config = student / "adapter_config.json"
    config.write_text(config.read_text().replace(str(base.resolve()), str(copy)))
    before = local_digest(str(student))
    (copy / "generation_config.json").write_text("{}")
    assert local_digest(str(student)) != before


def test_an_adapter_can_be_trained_on_whole_and_not_under_another(adapter, source, tmp_path):
    done = train(source, adapter, tmp_path / "out", settings(lr=1e-6))
    assert (done.path / "model.safetensors").exists()
    assert not (done.path / "adapter_config.json").exists()
    assert text_of(done.path) == text_of(adapter)
    with pytest.raises(SettingsError, match=r"is a LoRA adapter, .*merge it first"):
        train(source, adapter, tmp_path / "other", settings(**LORA))
    assert not (tmp_path / "other").exists()


def test_without_peft_an_adapter_is_one_line(adapter, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match=r"needs the package peft.*steper\[train\]"):
        HFModel(str(adapter))


def test_weights_in_several_files(source, tmp_path, adapter):
    whole = make_tiny_llama(tmp_path / "whole")
    parts = make_tiny_llama(tmp_path / "parts", shard="20KB")
    assert len(list(parts.glob("*.safetensors"))) > 2
    assert text_of(parts) == text_of(whole)
    given = settings(lr=0.01)
    ours = train(source, parts, tmp_path / "a", given).path
    theirs = train(source, whole, tmp_path / "b", given).path
    ours, theirs = weights_of(ours), weights_of(theirs)
    assert all(torch.equal(weight, theirs[name]) for name, weight in ours.items())
    lost = sorted(parts.glob("*.safetensors"))[1]
    lost.unlink()
    for load in (HFModel, lambda name: train(source, name, tmp_path / "c", given)):
        with pytest.raises(ModelError, match=f"parts.*{lost.name}"):
            load(str(parts))
