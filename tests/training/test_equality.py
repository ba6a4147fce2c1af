"""One forward pass for all steps equals a sequence for each: losses, gradients and σ."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from lm.tiny import make_tiny_llama
from steper.examples.example_folder import ExampleFolder
from steper.prompt.encode import KINDS, Encoder
from training.gradients import first_steps
from training.made import example_folder, examples

LIMIT = 1e-5
FORMS = [
    ("passages_first", "chat"),
    ("append_only", "chat"),
    ("passages_first", "plain"),
    ("append_only", "plain"),
]


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    return make_tiny_llama(tmp_path_factory.mktemp("student"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    def make(layout, form, target="current", reasoning="user"):
        path = tmp_path_factory.mktemp("examples")
        how = {"layout": layout, "form": form, "target": target, "reasoning": reasoning}
        return example_folder(path, examples(7, **how))

    return make


def assert_equal(one, other):
    """Every gradient within LIMIT of the other's norm; losses and σ as close."""
    assert len(one["gradients"]) == len(other["gradients"]) > 1
    for mine, theirs in zip(one["gradients"], other["gradients"], strict=True):
        assert mine.keys() == theirs.keys()
        for name, gradient in mine.items():
            norm = theirs[name].norm()
            assert norm > 0, name
            assert (gradient - theirs[name]).norm() <= LIMIT * norm, name
    for mine, theirs in zip(one["rows"], other["rows"], strict=True):
        names = [n for n in theirs if n.startswith(("loss", "sigma"))]
        assert len(names) >= 4 or "sigma_init" not in theirs
        for name in names:
            assert mine[name] == pytest.approx(theirs[name], rel=LIMIT)
        assert mine["supervised_tokens"] <= theirs["supervised_tokens"]


@pytest.mark.parametrize(
    ("layout", "form", "weights"),
    [
        (*FORMS[0], "learned"),
        (*FORMS[1], "uniform"),
        *(pytest.param(*form, "learned", marks=pytest.mark.slow) for form in FORMS[1:]),
        pytest.param(*FORMS[0], "uniform", marks=pytest.mark.slow),
    ],
)
def test_packing_and_accumulation_change_nothing(folder, student, tmp_path, layout, form, weights):
    source = folder(layout, form)
    common = {"weights": weights, "batch_size": 4, "max_steps": 3}  # into the second epoch
    plain = first_steps(source, student, tmp_path / "a", pack="none", micro_batch_size=4, **common)
    one_pass = first_steps(source, student, tmp_path / "b", micro_batch_size=4, **common)
    assert_equal(one_pass, plain)
    assert one_pass["rows"][-1]["tokens"] < 0.8 * plain["rows"][-1]["tokens"]
    for pack in ("steps", "none"):
        small = {"pack": pack, "micro_batch_size": 1, **common}
        assert_equal(first_steps(source, student, tmp_path / pack, **small), plain)


@pytest.mark.parametrize("layout", ["passages_first", "append_only"])
def test_losses_are_those_of_plain_transformers(folder, student, tmp_path, layout):
    """Example by example, with transformers' own labels and shift, and nothing of ours."""
    source = folder(layout, "chat")
    tokenizer = AutoTokenizer.from_pretrained(student)
    model = AutoModelForCausalLM.from_pretrained(student)
    sums, counts = dict.fromkeys(KINDS, 0.0), dict.fromkeys(KINDS, 0)
    for example in ExampleFolder(source).examples():
        encoded = Encoder(tokenizer).example(example)
        ids, labels = torch.tensor([encoded.ids]), torch.tensor([encoded.labels])
        number = int((labels[:, 1:] >= 0).sum())
        with torch.no_grad():
            sums[example.kind] += number * model(input_ids=ids, labels=labels).loss.item()
        counts[example.kind] += number
    (row,) = first_steps(source, student, tmp_path, batch_size=7, max_steps=1)["rows"]
    for kind in KINDS:
        assert row[f"loss_{kind}"] == pytest.approx(sums[kind] / counts[kind], rel=LIMIT)
    expected = sum(sums[kind] / counts[kind] for kind in KINDS) / 2  # σ = 1: L_j / 2 + log 1
    assert row["loss"] == pytest.approx(expected, rel=LIMIT)


@pytest.mark.parametrize("form", ["chat", pytest.param("plain", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("reasoning", "target"),
    [("assistant", "current"), ("assistant", "cumulative"), ("anew", "cumulative")],
)
def test_reasoning_that_is_the_students_own_text(
    folder, student, tmp_path, reasoning, target, form
):
    source = folder("passages_first", form, target, reasoning)
    common = {"batch_size": 4, "micro_batch_size": 2, "max_steps": 2}
    plain = first_steps(source, student, tmp_path / "a", pack="none", **common)
    assert_equal(first_steps(source, student, tmp_path / "b", **common), plain)


def test_eager_attention_equals_sdpa(folder, student, tmp_path):
    source = folder("passages_first", "chat")
    common = {"batch_size": 4, "max_steps": 2}
    sdpa = first_steps(source, student, tmp_path / "a", attention="sdpa", **common)
    assert_equal(first_steps(source, student, tmp_path / "b", attention="eager", **common), sdpa)


def make_windowed(path, kind, window):
    """A random model of a kind whose tokens see `window` tokens at most, on the tiny tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(make_tiny_llama(path))
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 2048}
    ids = dict.fromkeys(("bos_token_id", "eos_token_id"), tokenizer.eos_token_id)
    ids |= {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    config = AutoConfig.for_model(kind, **sizes, **heads, **ids, sliding_window=window)
    config.initializer_range = 0.4
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(path)
    return path


@pytest.mark.parametrize(
    "kind", ["mistral", *(pytest.param(k, marks=pytest.mark.slow) for k in ("phi3", "starcoder2"))]
)
def test_a_sliding_window_holds_inside_a_tree(folder, tmp_path, kind):
    source = folder("passages_first", "chat")
    common = {"batch_size": 4, "max_steps": 2}
    student = make_windowed(tmp_path / "narrow", kind, 24)
    plain = first_steps(source, student, tmp_path / "a", pack="none", **common)
    one_pass = first_steps(source, student, tmp_path / "b", **common)
    assert_equal(one_pass, plain)
    wide = make_windowed(tmp_path / "wide", kind, None)  # the same weights
    other = first_steps(source, wide, tmp_path / "c", **common)
    assert other["rows"][0]["loss"] != pytest.approx(plain["rows"][0]["loss"], rel=1e-4)


def test_gradient_checkpointing_changes_nothing(folder, student, tmp_path):
    source = folder("passages_first", "chat")
    common = {"batch_size": 4, "max_steps": 2}
    plain = first_steps(source, student, tmp_path / "a", **common)
    again = first_steps(source, student, tmp_path / "b", gradient_checkpointing=True, **common)
    assert_equal(again, plain)


def torchrun(jobs, out):
    """What each job gives in two processes, all after each other in one launch."""
    script = Path(__file__).with_name("gradients.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--standalone", str(script), json.dumps(jobs), str(out)]
    where = os.pathsep.join([str(script.parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": where, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = torch.load(out / "found")
    assert found["world_size"] == 2
    return found["found"]


@pytest.mark.slow
def test_two_processes_change_nothing(folder, student, tmp_path):
    """Both layouts, learned and uniform weights, accumulation 1 and 4, packed or not."""
    jobs, alone = [], []
    for layout, weights in product(("passages_first", "append_only"), ("learned", "uniform")):
        source = folder(layout, "chat")
        common = {"weights": weights, "batch_size": 8, "epochs": 2}
        out = tmp_path / layout / weights
        plain = first_steps(source, student, out, pack="none", micro_batch_size=8, **common)
        for micro, pack in ((4, "steps"), (1, "steps"), (1, "none")):
            settings = {"pack": pack, "micro_batch_size": micro, **common}
            jobs.append({"examples": str(source), "student": str(student), "settings": settings})
            alone.append(plain)
    for shared, plain in zip(torchrun(jobs, tmp_path), alone, strict=True):
        assert_equal(shared, plain)


@pytest.mark.slow
def test_fully_sharded_weights_change_nothing(folder, student, tmp_path):
    """torch's own FSDP2 over two processes: each holds half of every weight."""
    jobs, alone = [], []
    for layout, weights in (("passages_first", "learned"), ("append_only", "uniform")):
        source = folder(layout, "chat")
        common = {"weights": weights, "batch_size": 8, "epochs": 2, "micro_batch_size": 2}
        alone.append(first_steps(source, student, tmp_path / layout, **common))
        settings = {**common, "sharded": True}
        jobs.append({"examples": str(source), "student": str(student), "settings": settings})
    for shared, plain in zip(torchrun(jobs, tmp_path), alone, strict=True):
        assert (shared["sharding"], plain["sharding"]) == ("FSDP2", "none")
        assert_equal(shared, plain)
