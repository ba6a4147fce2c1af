"""Trainings in two processes of this machine: started by us, killed, taken up again, sharded."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from lm.tiny import make_tiny_llama
from pipeline.made import CONFIG, write_files
from steper.artifact import Lock
from steper.cli.main import run
from steper.errors import InputError, SettingsError, SteperError
from steper.store import read_json
from steper.training.job import train
from steper.training.launch import train_in_processes
from steper.training.train_settings import TrainSettings
from training.made import example_folder, examples

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

GIVEN = {"batch_size": 4, "max_steps": 4, "dtype": "float32", "device": "cpu", "lr": 0.01}
zero = pytest.mark.skipif(find_spec("deepspeed") is None, reason="needs deepspeed")


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    return make_tiny_llama(tmp_path_factory.mktemp("student") / "tiny")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return example_folder(tmp_path_factory.mktemp("examples"), examples(7))


@pytest.fixture(scope="module")
def alone(student, source, tmp_path_factory):
    out = tmp_path_factory.mktemp("alone") / "out"
    train(source, student, out, TrainSettings(**GIVEN))
    return out


def rows(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def assert_alike(ours, theirs):
    """Losses, σ and exported weights, within the noise of float32."""
    for mine, other in zip(rows(ours), rows(theirs), strict=True):
        for name in [name for name in other if name.startswith(("loss", "sigma"))]:
            assert mine[name] == pytest.approx(other[name], rel=1e-4), name
    mine, other = (load_file(path / "model.safetensors") for path in (ours, theirs))
    assert mine.keys() == other.keys()
    for name, weights in other.items():
        assert mine[name].dtype == weights.dtype
        torch.testing.assert_close(mine[name], weights, rtol=1e-3, atol=1e-5)


def test_two_processes_make_the_student_of_one(student, source, alone, tmp_path):
    told = []
    done = train_in_processes(
        2, source, student, tmp_path / "out", TrainSettings(**GIVEN), progress=told.append
    )
    assert [row["step"] for row in told if "loss" in row] == [1, 2, 3, 4]
    found = done.manifest["resolved"]
    assert (found["processes"], found["sharding"]) == (2, "none")
    assert found["wrapper"] == "DistributedDataParallel"
    assert read_json(alone / "manifest.json")["resolved"]["processes"] == 1
    assert_alike(tmp_path / "out", alone)


@zero
def test_zero3_makes_the_same_student(student, source, alone, tmp_path, monkeypatch):
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    settings = TrainSettings(**GIVEN, sharding="zero3")
    done = train_in_processes(2, source, student, tmp_path / "out", settings)
    assert done.manifest["resolved"]["sharding"] == "ZeRO-3"
    assert done.manifest["resolved"]["wrapper"] == "DeepSpeedEngine"
    assert_alike(tmp_path / "out", alone)


def test_two_launches_of_torchrun_make_the_student_of_one_process(student, source, alone, tmp_path):
    """As over two machines of a cluster, with both on this one."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2"]
    command += ["--nproc-per-node", "1", "--rdzv-backend", "c10d", "--local-addr", "127.0.0.1"]
    command += ["--rdzv-endpoint", f"127.0.0.1:{port}", "-m", "steper", "train", str(source)]
    command += ["--student", str(student), "--out", str(tmp_path / "out"), "--processes", "2"]
    for name, value in GIVEN.items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    nodes = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    said = [node.communicate(timeout=200)[1].decode()[-2000:] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], said
    assert read_json(tmp_path / "out" / "manifest.json")["resolved"]["processes"] == 2
    assert_alike(tmp_path / "out", alone)


def test_an_error_of_a_process_is_one_line(student, source, tmp_path):
    with pytest.raises(SteperError, match=r"^batch_size is 3, which 2 processes") as caught:
        train_in_processes(
            2, source, student, tmp_path / "out", TrainSettings(**{**GIVEN, "batch_size": 3})
        )
    assert "\n" not in str(caught.value)
    with pytest.raises(SteperError, match="on a CPU accelerate would train without sharding"):
        train_in_processes(
            2, source, student, tmp_path / "out", TrainSettings(**GIVEN, sharding="fsdp2")
        )


@zero
def test_shards_are_written_in_the_dtype_of_the_student(student, source, tmp_path, monkeypatch):
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    half = tmp_path / "half"
    shutil.copytree(student, half)
    AutoModelForCausalLM.from_pretrained(student).to(torch.bfloat16).save_pretrained(half)
    settings = TrainSettings(**{**GIVEN, "max_steps": 1}, sharding="zero3")
    train_in_processes(2, source, half, tmp_path / "out", settings)
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").dtype == torch.bfloat16
    assert {t.dtype for t in load_file(tmp_path / "out" / "model.safetensors").values()} == {
        torch.bfloat16
    }


def begin(source, student, out, settings, alone=False):
    """Start it in a process of its own, which is killed after its second checkpoint.

    `alone`: that process, not torchrun and those below it, as where memory runs out.
    """
    code = (
        "import json, sys\n"
        "from steper.training.launch import train_in_processes\n"
        "from steper.training.train_settings import TrainSettings\n"
        "source, student, out, given = json.loads(sys.argv[1])\n"
        "train_in_processes(2, source, student, out, TrainSettings(**given))\n"
    )
    asked = json.dumps([str(source), str(student), str(out), settings])
    process = subprocess.Popen(
        [sys.executable, "-c", code, asked],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    # Older ones are taken away.
    folder, wanted = Path(out) / "checkpoints", "checkpoint-[3-9]*/trainer_state.json"
    for _ in range(2400):
        if any(folder.glob(wanted)) or process.poll() is not None:
            break
        time.sleep(0.05)
    (os.kill if alone else os.killpg)(process.pid, signal.SIGKILL)
    process.wait()
    assert any(folder.glob(wanted))
    assert not (Path(out) / "model.safetensors").exists()
    wait_until_free(Path(out))


def wait_until_free(out):
    """Its processes end with who started them; the kernel takes a moment to clear them away."""
    lock = Lock(out / ".lock", "still at work")
    for _ in range(200):
        with suppress(InputError):
            lock.take()
            lock.release()
            return
        time.sleep(0.05)
    pytest.fail("its processes hold the folder still")


@pytest.mark.parametrize("processes", [1, 2])
def test_killed_it_is_taken_up_by_any_number(processes, student, source, tmp_path):
    """To the very same student as undisturbed."""
    given = {**GIVEN, "save_every": 1, "max_steps": 40}
    out, whole = tmp_path / "out", tmp_path / "whole"
    train(source, student, whole, TrainSettings(**given))
    begin(source, student, out, given)
    if processes == 1:
        train(source, student, out, TrainSettings(**given))
    else:
        train_in_processes(2, source, student, out, TrainSettings(**given))
    assert_alike(out, whole)


def test_nobody_trains_on_where_who_started_it_was_killed(student, source, tmp_path):
    out = tmp_path / "out"
    begin(source, student, out, {**GIVEN, "save_every": 1, "max_steps": 100_000}, alone=True)
    steps = len(rows(out))
    time.sleep(1)
    assert len(rows(out)) == steps < 100_000


@zero
def test_shards_are_taken_up_by_as_many_alone(student, source, tmp_path, monkeypatch):
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    given = {**GIVEN, "save_every": 1, "max_steps": 40, "sharding": "zero3"}
    begin(source, student, tmp_path / "out", given)
    with pytest.raises(SteperError, match=r"2 processes shared its weights .*start 2"):
        train_in_processes(1, source, student, tmp_path / "out", TrainSettings(**given))
    done = train_in_processes(2, source, student, tmp_path / "out", TrainSettings(**given))
    assert done.manifest["trained"]["steps"] == 40


def test_a_pipeline_starts_them_itself(student, tmp_path, capsys):
    config = write_files(tmp_path, CONFIG.replace("nowhere/tiny", str(student)))
    asked = ["run", str(config), "--out", str(tmp_path / "out")]
    asked += ["--stages", "index,teach,build,train", "--set", "launch.processes=2"]
    assert run(asked) == 0, capsys.readouterr().err
    folders = sorted((tmp_path / "out" / "train").rglob("manifest.json"))
    found = [read_json(path)["resolved"]["processes"] for path in folders]
    assert found == [2, 2]
    assert run(asked) == 0  # nothing is done again
    assert "✓ train" not in capsys.readouterr().out.split("Everything")[-1]
    with pytest.raises(SettingsError):
        train(example_folder(tmp_path / "x", examples(2)), student, tmp_path / "y",
              TrainSettings(**GIVEN, processes=2))  # fmt: skip
