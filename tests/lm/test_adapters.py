"""LoRA adapters that others made: what does not fit its base is refused, never left out."""

from __future__ import annotations

import json
import shutil

import pytest

from lm.tiny import make_tiny_llama
from steper.errors import ModelError
from steper.lm.model_source import find_source, quiet_peft

peft = pytest.importorskip("peft")

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


def saved(base, out, config):
    """The folder of a fresh adapter of that configuration."""
    with quiet_peft():
        model = peft.get_peft_model(find_source(str(base)).model(), config)
    model.save_pretrained(out)
    told = json.loads((out / CONFIG).read_text())
    (out / CONFIG).write_text(json.dumps(told | {"base_model_name_or_path": str(base)}))
    return out


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_tiny_llama(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def adapter(base, tmp_path_factory):
    lora = peft.LoraConfig(
        r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", init_lora_weights=False
    )
    return saved(base, tmp_path_factory.mktemp("adapters") / "lora", lora)


def renamed(adapter, out, rename):
    """A copy whose weights have other names; those renamed to None are left out."""
    from safetensors.torch import load_file, save_file

    copy = shutil.copytree(adapter, out)
    weights = load_file(copy / WEIGHTS)
    named = {rename(key, n): value for n, (key, value) in enumerate(sorted(weights.items()))}
    save_file({key: value for key, value in named.items() if key}, copy / WEIGHTS)
    return copy


def refusal(folder):
    with pytest.raises(ModelError) as caught:
        find_source(str(folder)).model()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_one_that_fits_changes_the_base(base, adapter):
    before, after = (find_source(str(name)).model().state_dict() for name in (base, adapter))
    changed = {name for name in before if not before[name].equal(after[name])}
    assert {name.split(".")[-2] for name in changed} == {"q_proj", "v_proj"}


@pytest.mark.parametrize(
    ("rename", "says"),
    [
        (lambda key, n: key.replace("model.layers", "model.language_model.layers"), "missing from"),
        (lambda key, n: key if n % 2 else None, "missing from its files (base_model.model.model"),
        (lambda key, n: key.replace("layers.1", "layers.1.more") if n else key, "its files have"),
    ],
    ids=["multimodal", "half", "some"],
)
def test_weights_that_do_not_fit_are_refused(adapter, tmp_path, rename, says):
    told = refusal(renamed(adapter, tmp_path / "a", rename))
    assert says in told
    assert "trained on another model than base_model_name_or_path in its adapter_config" in told


def test_weights_beyond_the_base_are_refused(adapter, tmp_path):
    from safetensors.torch import load_file, save_file

    copy = shutil.copytree(adapter, tmp_path / "a")
    weights = load_file(copy / WEIGHTS)
    more = {key.replace("layers.1", "layers.7"): value.clone() for key, value in weights.items()}
    save_file(weights | more, copy / WEIGHTS)
    assert "weights in its files have no place in the base model" in refusal(copy)


def test_a_folder_without_its_weights_is_said_before_the_base_is_loaded(adapter, tmp_path):
    copy = shutil.copytree(adapter, tmp_path / "a")
    (copy / WEIGHTS).unlink()
    with pytest.raises(ModelError, match=r"has adapter_config.json and no adapter_model.safeten"):
        find_source(str(copy))


def test_what_cannot_be_merged_is_refused_by_its_kind(base, tmp_path):
    prefix = peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    assert "peft_type PREFIX_TUNING, which cannot be merged" in refusal(
        saved(base, tmp_path / "a", prefix)
    )
