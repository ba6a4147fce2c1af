from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from lm.asking import ask
from lm.fake_server import Reply, fake_server
from lm.tiny import make_tiny_llama
from steper.errors import MissingExtraError, ModelError, SettingsError
from steper.lm import HFSettings, OpenAISettings, open_model


def answer(model, **fields):
    try:
        return model.submit([ask(form=model.form, max_tokens=3, **fields)])[0].result(30).text
    finally:
        model.close()


def test_each_spec_opens_its_model(tmp_path, monkeypatch):
    script = tmp_path / "s.jsonl"
    script.write_text('{"default": true, "text": "scripted"}\n')
    assert answer(open_model(f"scripted:{script}")) == "scripted"
    with fake_server(lambda n, body: Reply(body["model"])) as fake:
        settings = OpenAISettings(base_url=fake.url)
        assert answer(open_model("openai:org/name:tag", openai=settings)) == "org/name:tag"
    folder = make_tiny_llama(tmp_path / "tiny")
    monkeypatch.chdir(tmp_path)
    texts = {answer(open_model(spec)) for spec in (f"hf:{folder}", str(folder), "tiny", "./tiny")}
    assert len(texts) == 1
    assert open_model("tiny", hf=HFSettings(form="plain")).form == "plain"


@pytest.mark.parametrize("spec", ["", "nonesuch", "scripted:", "openai:", "hf:", "gpt:4", "Gold"])
def test_unknown_specs_list_the_known_forms(spec):
    with pytest.raises(ModelError, match=r"known forms: gold .*openai:MODEL") as caught:
        open_model(spec)
    assert "\n" not in str(caught.value)


def test_gold_needs_questions():
    with pytest.raises(SettingsError, match="gold needs the questions"):
        open_model("gold")


@pytest.mark.parametrize(
    ("spec", "package", "extra"), [("hf:x/y", "torch", "hf"), ("openai:m", "openai", "openai")]
)
def test_missing_extras_are_named(monkeypatch, spec, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"steper\[{extra}\]"):
        open_model(spec)


def test_settings_are_frozen_and_checked():
    with pytest.raises(ValidationError, match="must start with http"):
        OpenAISettings(base_url="localhost:8000")
    with pytest.raises(ValidationError):
        HFSettings(dtype="float8")
    for settings in (HFSettings, OpenAISettings):
        assert all(field.description for field in settings.model_fields.values())


def test_import_is_free():
    code = "import sys, steper.lm; print({'torch', 'transformers', 'openai'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
