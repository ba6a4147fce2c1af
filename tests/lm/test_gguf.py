"""A model packed by llama.cpp answers, trains and is known as the folder that it was made of."""

from __future__ import annotations

import importlib.util

import pytest

from lm.asking import ask
from lm.packed import pack
from lm.tiny import make_tiny_llama
from steper.errors import MissingExtraError, ModelError
from steper.examples.student_form import student_form
from steper.lm import model_source
from steper.lm.model_source import find_source, local_digest
from steper.lm.open import open_model
from steper.training.job import train
from steper.training.train_settings import TrainSettings
from training.made import example_folder, examples


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny_llama(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def packed(folder, tmp_path_factory):
    pytest.importorskip("gguf")
    return pack(folder, tmp_path_factory.mktemp("packed") / "tiny.gguf")


def text_of(spec):
    model = open_model(spec)
    request = ask("Who directed the film?", form="chat", max_tokens=12)
    text = model.submit([request])[0].result(60).text
    model.close()
    return text, model


@pytest.mark.slow
def test_it_answers_as_the_folder_that_it_was_made_of(folder, packed, monkeypatch):
    expected, _ = text_of(str(folder))
    text, model = text_of(f"hf:{packed}")
    assert text == expected
    assert (model.form, model.context_window) == ("chat", 2048)
    assert model.fingerprint()["digest"] == local_digest(f"hf:{packed}")
    monkeypatch.chdir(packed.parent)
    assert text_of(packed.name)[0] == expected
    assert student_form(str(packed)) == "chat"


def test_a_file_beside_it_does_not_make_it_another_model(packed):
    before = local_digest(str(packed))
    (packed.parent / "other.gguf").write_bytes(b"GGUF")
    assert local_digest(str(packed)) == before


def test_a_student_begins_with_it_and_is_an_ordinary_folder(
    folder, packed, tmp_path, capfd, recwarn
):
    source = example_folder(tmp_path / "examples", examples(4))
    common = {"batch_size": 4, "device": "cpu", "max_steps": 1, "lr": 0.01}
    for more in ({}, {"lora_rank": 2}):
        given = TrainSettings.model_validate({**common, **more})
        ours = train(source, packed, tmp_path / f"a{len(more)}", given).path
        theirs = train(source, folder, tmp_path / f"b{len(more)}", given).path
        assert text_of(str(ours))[0] == text_of(str(theirs))[0] != text_of(str(folder))[0]
    assert (tmp_path / "a0" / "model.safetensors").exists()
    assert "GGUF" not in capfd.readouterr().err  # no bar
    assert not [w for w in recwarn if "config file" in str(w.message)]  # nor peft's warning


def test_what_cannot_be_read_is_one_line(packed, tmp_path, monkeypatch):
    (tmp_path / "a.gguf").write_bytes(b"no such thing")
    with pytest.raises(ModelError, match=r"a\.gguf: cannot be loaded as a causal LM") as caught:
        open_model(str(tmp_path / "a.gguf"))
    assert "\n" not in str(caught.value)
    for name, said in (
        (str(tmp_path / "b.gguf"), "no such file"),
        ("./b.gguf", "no such file"),
        (str(tmp_path / "big-00001-of-00003.gguf"), r"join the parts: llama-gguf-split --merge"),
        (str(tmp_path), r"holds no model; name the file: .*a\.gguf"),
    ):
        with pytest.raises(ModelError, match=said):
            open_model(name)
    hub = find_source("owner/model/file.gguf")
    assert (hub.weights, hub.gguf) == ("owner/model", "file.gguf")


def test_without_the_package_it_is_one_line(tmp_path, monkeypatch):
    real = importlib.util.find_spec
    missing = lambda name: None if name == "gguf" else real(name)  # noqa: E731
    monkeypatch.setattr(model_source, "find_spec", missing)
    with pytest.raises(MissingExtraError, match=r"package gguf.*pip install 'steper\[gguf\]'"):
        open_model(str(tmp_path / "a.gguf"))
