"""What a reranker begins with: whole models alone, in float32, known by their files."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM

from doubles import change_in_the_middle
from lm.packed import pack
from lm.tiny import make_tiny_llama
from steper.errors import SettingsError
from steper.examples.example_folder import RANKINGS
from steper.pipeline.load import resolve_paths
from steper.recipes.base import Ranking
from steper.records import Passage
from steper.retrieve.cross_encoder import load_cross_encoder
from steper.store import write_jsonl
from steper.training import job, reranker
from steper.training.job import train
from steper.training.train_settings import TrainSettings
from training.made import example_folder, examples


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    return make_tiny_llama(tmp_path_factory.mktemp("models") / "student")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Examples with rankings, as KARD's."""
    own = {"inference": {"reranker": "reranker"}}
    path = example_folder(tmp_path_factory.mktemp("examples"), examples(4), **own)
    found = tuple(Passage.make(f"Film {n}", "Ann Lee film " * n) for n in range(4))
    one = {"question_id": "q0", "query": "Which film?", "scores": (1.0, 2.0, 3.0, 4.0), "first": 2}
    write_jsonl(path / RANKINGS, [Ranking(candidates=found, **one)])
    return path


def settings(**given):
    given = {"batch_size": 4, "max_steps": 1, "device": "cpu", "reranker_epochs": 1, **given}
    return TrainSettings.model_validate(given)


def test_it_is_trained_in_float32_on_the_device_of_the_training(
    student, source, tmp_path, monkeypatch
):
    half = tmp_path / "half"
    shutil.copytree(student, half)
    AutoModelForCausalLM.from_pretrained(student).to(torch.bfloat16).save_pretrained(half)
    assert load_cross_encoder(half, "cpu").model.dtype == torch.bfloat16  # asked as it was stored
    given = []

    def fit(encoder, *args):
        given.append({(p.device.type, p.dtype) for p in encoder.model.parameters()})
        return 0.0

    monkeypatch.setattr(reranker, "_fit", fit)
    monkeypatch.setattr(
        torch.cuda, "is_available", lambda: False if not given else pytest.fail("asked for a GPU")
    )
    train(source, student, tmp_path / "out", settings(reranker=str(half)))
    assert given == [{("cpu", torch.float32)}]


def test_cpu_is_heeded_where_there_is_a_gpu(student, source, tmp_path, monkeypatch):
    asked = []

    def train_reranker(rankings, start, out, epochs, seed, device, frozen):
        asked.append((device, frozen))
        return {}

    monkeypatch.setattr(job, "train_reranker", train_reranker)
    train(source, student, tmp_path / "a", settings())
    train(source, student, tmp_path / "b", settings(device="auto", freeze_embeddings=True))
    assert asked == [("cpu", False), (None, True)]


def test_a_packed_start_is_refused_before_the_training(student, source, tmp_path):
    pytest.importorskip("gguf")
    packed = pack(student, tmp_path / "tiny.gguf")
    with pytest.raises(SettingsError, match=r"begin with .*tiny\.gguf \(--reranker is a GGUF file"):
        train(source, student, tmp_path / "out", settings(reranker=str(packed)))
    with pytest.raises(SettingsError, match=r"the student, for --reranker names no other, is a GG"):
        train(source, packed, tmp_path / "out", settings())
    assert not (tmp_path / "out").exists()


def test_an_adapter_is_refused_before_the_training(student, source, tmp_path):
    adapter, plain = tmp_path / "adapter", example_folder(tmp_path / "plain", examples(4))
    train(plain, student, adapter, settings(lora_rank=2))
    with pytest.raises(SettingsError, match=r"begin with .*adapter \(--reranker is a LoRA adapter"):
        train(source, student, tmp_path / "out", settings(reranker=str(adapter)))
    assert not (tmp_path / "out").exists()


def test_it_is_known_by_its_files_wherever_they_are(student, source, tmp_path):
    out, start, moved = tmp_path / "out", tmp_path / "start", tmp_path / "moved"
    shutil.copytree(make_tiny_llama(tmp_path / "made", intermediate=32_768), start)
    first = train(source, student, out, settings(reranker=str(start)))
    assert first.manifest["settings"]["reranker"]["digest"]
    assert "reranker" not in first.manifest["settings"]["training"]
    start.rename(moved)
    assert train(source, student, out, settings(reranker=str(moved))).up_to_date
    change_in_the_middle(moved / "model.safetensors")
    with pytest.raises(SettingsError, match=r"reranker\.digest is .* there"):
        train(source, student, out, settings(reranker=str(moved)))
    assert json.loads((out / "reranker" / "config.json").read_text())["dtype"] == "float32"


def test_in_a_pipeline_its_path_starts_from_the_file(tmp_path):
    (tmp_path / "scorer").mkdir()
    value = {"train": {"reranker": "scorer"}, "recipes": {"kard": {"train": {"reranker": "x/y"}}}}
    resolve_paths(value, tmp_path)
    assert value["train"]["reranker"] == str((tmp_path / "scorer").resolve())
    assert value["recipes"]["kard"]["train"]["reranker"] == "x/y"  # of the hub
