"""`steper train` as a command: what it prints, how it ends, alone and under torchrun."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import yaml

from doubles import change_in_the_middle
from lm.tiny import make_tiny_llama
from steper.cli.main import run
from steper.cli.terminal import describe_row
from steper.store import read_json
from training.made import example_folder, examples


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    return str(make_tiny_llama(tmp_path_factory.mktemp("student")))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return str(example_folder(tmp_path_factory.mktemp("examples"), examples(6)))


FLAGS = ["--batch-size", "4", "--dtype", "float32", "--device", "cpu", "--max-steps", "2"]


def test_trains_and_says_where(student, source, tmp_path, capsys):
    out = str(tmp_path / "out")
    command = ["train", source, "--student", student, "--out", out, *FLAGS]
    assert run([*command, "--max-length", "190"]) == 0
    printed = capsys.readouterr()
    assert "6 trajectories: " in printed.out
    assert "2 of 17 examples left out (2 agg): longer than 190 tokens" in printed.out
    assert "2 steps, " in printed.out
    assert printed.out.rstrip().endswith(f"Student: {out}")
    assert "Loading weights" not in printed.err
    assert run([*command, "--max-length", "190"]) == 0
    assert f"Up to date: {out}" in capsys.readouterr().out
    assert run([*command, "--lr", "0.5"]) == 2
    error = capsys.readouterr().err
    assert "steper train: error: " in error
    assert "training.lr is null there, 0.5 now" in error
    assert run([*command, "--lr", "0.5", "--overwrite"]) == 0


@pytest.mark.slow
def test_other_bytes_in_the_middle_of_the_student_are_noticed(source, tmp_path, capsys):
    student = make_tiny_llama(tmp_path / "student", intermediate=32_768)
    assert (student / "model.safetensors").stat().st_size > 12_000_000
    out = tmp_path / "out"
    command = ["train", source, "--student", str(student), "--out", str(out), "--device", "cpu"]
    command += ["--max-steps", "1", "--batch-size", "1", "--lora-rank", "1"]
    assert run(command) == 0
    assert run(command) == 0
    assert f"Up to date: {out}" in capsys.readouterr().out
    change_in_the_middle(student / "model.safetensors")
    assert run(command) == 2
    error = capsys.readouterr().err
    assert f"{out} was trained with other settings: student.digest is " in error


def test_settings_from_a_file(student, source, tmp_path, capsys):
    config = tmp_path / "config.yaml"
    given = {"batch_size": 4, "max_steps": 1, "device": "cpu", "trainer": {"adam_beta2": 0.95}}
    config.write_text(yaml.safe_dump({"train": given}))
    out = tmp_path / "out"
    command = ["train", source, "--student", student, "--out", str(out), "--config", str(config)]
    assert run([*command, "--weights", "fixed", "--exp-weight", "2"]) == 0
    training = read_json(out / "manifest.json")["settings"]["training"]
    assert training["trainer"] == {"adam_beta2": 0.95}
    assert (training["weights"], training["exp_weight"], training["max_steps"]) == ("fixed", 2.0, 1)
    config.write_text(yaml.safe_dump({"train": {"learn": 1}}))
    assert run(command) == 2
    assert "section train: learn: unknown field" in capsys.readouterr().err


def test_help_needs_no_torch():
    code = (
        "import sys; from steper.cli.main import run; run(['train', '--help']);"
        "print([m for m in ('torch', 'transformers', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("[]")


def test_describe_row():
    row = {"loss": 1.5, "sigma_init": 1.1, "sigma_exp": 0.5, "sigma_agg": 2.0}
    row |= {"tokens": 5000, "seconds": 2.0}
    assert describe_row(row) == "loss 1.500  σ 1.10 0.50 2.00  2,500 tok/s"


@pytest.mark.slow
def test_two_processes_write_one_student(student, source, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--standalone", "-m", "steper", "train", source, "--student", student]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--out", str(out), "--processes", "2", *FLAGS],
        capture_output=True,
        text=True,
        env=environment,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("Student: ") == 1
    manifest = read_json(out / "manifest.json")
    assert manifest["resolved"]["processes"] == 2
    assert len((out / "log.jsonl").read_text().splitlines()) == 2
    alone = tmp_path / "alone"
    assert run(["train", source, "--student", student, "--out", str(alone), *FLAGS]) == 0
    ours, theirs = (
        [json.loads(line) for line in (path / "log.jsonl").read_text().splitlines()]
        for path in (out, alone)
    )
    for mine, other in zip(ours, theirs, strict=True):
        assert mine["loss"] == pytest.approx(other["loss"], rel=1e-4)
        assert mine["tokens"] == other["tokens"]
