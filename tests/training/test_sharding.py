"""Sharding: what a configuration may say, what is refused before a model is loaded."""

from __future__ import annotations

import json
from importlib.util import find_spec

import pytest

from steper.errors import InputError, MissingExtraError, SettingsError
from steper.training.processes import check_gpus, check_sharding
from steper.training.sharding import SHIPPED_SHARDING, asked_sharding
from steper.training.train_settings import TrainSettings

ZERO3 = {
    "zero_optimization": {"stage": 3, "stage3_gather_16bit_weights_on_model_save": True},
    "gradient_clipping": "auto",
}


def refused(message, sharding=None, **trainer):
    with pytest.raises(SettingsError, match=message) as caught:
        TrainSettings(sharding=sharding, trainer=trainer).asked_sharding()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("optimizer", ["muon", "adamw_bf16"])
def test_optimizers_of_whole_matrices_are_refused_before_anything_is_loaded(optimizer):
    with pytest.raises(ValueError, match="needs whole matrices, which sharding zero3 does not"):
        TrainSettings(sharding="zero3", optimizer=optimizer)


def file(tmp_path, value, name="z.json"):
    path = tmp_path / name
    path.write_text(json.dumps(value))
    return str(path)


def test_shipped_configurations():
    kinds = {name: asked_sharding(name, {}).kind for name in SHIPPED_SHARDING}
    assert kinds == {"zero3": "ZeRO-3", "fsdp2": "FSDP2"}
    config = asked_sharding("zero3", {}).arguments["deepspeed"]
    assert config["train_batch_size"] == "auto"
    fsdp = asked_sharding("fsdp2", {}).arguments
    assert fsdp["fsdp"] is True
    assert fsdp["fsdp_config"]["state_dict_type"] == "FULL_STATE_DICT"


def test_a_file_of_one_s_own_and_transformers_arguments_are_the_same(tmp_path):
    path = file(tmp_path, ZERO3)
    named = TrainSettings(sharding=path)
    given = TrainSettings(trainer={"deepspeed": path})
    inline = TrainSettings(trainer={"deepspeed": ZERO3})
    assert named.asked_sharding() == given.asked_sharding() == inline.asked_sharding()
    assert named.asked_sharding().kind == "ZeRO-3"
    # What is left out is ours to decide, not DeepSpeed's default.
    assert named.asked_sharding().arguments["deepspeed"]["bf16"] == {"enabled": "auto"}
    assert asked_sharding(None, {"fsdp": "full_shard"}).kind == "FSDP2"
    config = {"fsdp": True, "fsdp_config": {"version": 1}}
    assert asked_sharding(None, config).kind == "FSDP1"
    assert asked_sharding(None, {}).kind == "none"


def test_a_training_is_known_by_what_the_configuration_says(tmp_path):
    first = TrainSettings(sharding=file(tmp_path, ZERO3, "a.json")).fingerprint()
    second = TrainSettings(sharding=file(tmp_path, ZERO3, "b.json")).fingerprint()
    other = {**ZERO3, "zero_optimization": {**ZERO3["zero_optimization"], "overlap_comm": True}}
    assert first == second
    assert first != TrainSettings(sharding=file(tmp_path, other, "a.json")).fingerprint()
    assert "sharding" not in TrainSettings().fingerprint()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gradient_clipping": 0.5}, r"gradient_clipping is 0\.5, which steper.*say \"auto\""),
        ({"bf16": {"enabled": True}}, "bf16.enabled is True"),
        ({"scheduler": {"type": "WarmupLR"}}, "scheduler: the settings schedule and warmup"),
        ({"optimizer": {"type": "Lamb"}}, "optimizer.type is 'Lamb'"),
        ({"zero_optimization": {"stage": 3}}, "gather_16bit_weights_on_model_save must be true"),
        ({"zero_optimization": {"stage": "3"}}, r"stage is '3'; 0, 1, 2 or 3 was expected"),
        ({"zero_optimization": {"stage": 7}}, "stage is 7; 0, 1"),
        ({"zero_optimization": {"stage": True}}, "stage is True; 0, 1"),
        ({"zero_optimization": [3]}, r"zero_optimization is \[3\]; a mapping was expected"),
    ],
)
def test_what_steper_decides_itself_is_refused(change, message, tmp_path):
    refused(message, file(tmp_path, {**ZERO3, **change}))


def test_what_is_no_configuration_is_refused(tmp_path):
    refused("unknown sharding or file 'zero4'.*zero3", "zero4")
    refused("a DeepSpeed configuration, a mapping, was expected", file(tmp_path, [1]))
    refused("settings of FSDP, a mapping", file(tmp_path, [1], "f.yaml"))
    refused("version is 7; 1 or 2 was expected", file(tmp_path, {"version": 7}, "f.yaml"))
    with pytest.raises(InputError, match=r"no\.json"):
        TrainSettings(sharding=str(tmp_path / "no.json")).asked_sharding()
    with pytest.raises(ValueError, match=r"sharding and trainer\.fsdp exclude each other"):
        TrainSettings(sharding="zero3", trainer={"fsdp": True})


def test_what_would_not_be_in_force_is_refused(monkeypatch):
    fsdp, zero = asked_sharding("fsdp2", {}), asked_sharding("zero3", {})
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    with pytest.raises(SettingsError, match="on a CPU accelerate would train without sharding"):
        check_sharding(fsdp, on_cpu=True, processes=2)
    with pytest.raises(SettingsError, match="a single process trains"):
        check_sharding(fsdp, on_cpu=False, processes=1)
    check_sharding(fsdp, on_cpu=False, processes=2)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(SettingsError, match="ACCELERATE_USE_FSDP is set"):
        check_sharding(asked_sharding(None, {}), on_cpu=True, processes=2)
    monkeypatch.delenv("ACCELERATE_USE_FSDP")
    monkeypatch.setattr("steper.training.processes.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"steper\[deepspeed\]"):
        check_sharding(zero, on_cpu=True, processes=2)
    monkeypatch.setattr("steper.training.processes.find_spec", find_spec)
    if find_spec("deepspeed") is not None:
        with pytest.raises(SettingsError, match="started by torchrun"):
            check_sharding(zero, on_cpu=True, processes=1)


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    check_gpus(4)  # on two machines
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with pytest.raises(SettingsError, match=r"4 processes .* but it shows 2; start 2"):
        check_gpus(4)
