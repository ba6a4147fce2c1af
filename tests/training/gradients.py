"""Losses, gradients and σ of the first optimizer steps; run by torchrun in the slow tests."""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path

import torch
from transformers import TrainerCallback

from steper.examples.example_folder import ExampleFolder
from steper.training.job import TrainingJob
from steper.training.processes import leave_processes
from steper.training.train_folder import TrainFolder
from steper.training.train_settings import TrainSettings


class _Capture(TrainerCallback):
    def __init__(self, model):
        self.model = model
        self.steps = []

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        named = self.model.named_parameters()
        self.steps.append({n: whole(p.grad) for n, p in named if p.grad is not None})


def whole(gradient):
    """A gradient gathered from its shards, where it has some."""
    gathered = gradient.full_tensor() if hasattr(gradient, "full_tensor") else gradient
    return gathered.detach().clone()


def shard(trainer) -> None:
    """Shard the model by torch's own `fully_shard`, which accelerate leaves out on a CPU."""
    from torch.distributed.fsdp import fully_shard

    for layer in trainer.model.model.layers:
        fully_shard(layer)
    fully_shard(trainer.model)
    trainer.accelerator.prepare_model = lambda model, **_: model  # it is wrapped already
    trainer.args.save_strategy = "no"  # which would need accelerate's own wrapping


def first_steps(examples: Path, student: Path, out: Path, sharded: bool = False, **settings):
    """{"gradients": [{name: tensor}], "rows": log rows} of the training; SGD that hardly moves.

    So later steps differ by their data and σ, and not by what optimizers make of rounding.
    """
    rows = []
    given = {"dtype": "float32", "max_grad_norm": 0.0, "device": "cpu", "schedule": "constant"}
    given |= {"lr": 1e-3, "warmup": 0.0, "trainer": {"optim": "sgd"}, **settings}
    job = TrainingJob(
        ExampleFolder(examples),
        str(student),
        TrainFolder(out, {}),
        TrainSettings.model_validate(given),
        processes=int(os.environ.get("WORLD_SIZE", "1")),
        main=int(os.environ.get("RANK", "0")) == 0,
        progress=rows.append,
    )
    out.mkdir(parents=True, exist_ok=True)
    trainer = job.trainer()
    if sharded:
        shard(trainer)
    capture = _Capture(trainer.model)
    trainer.add_callback(capture)
    trainer.train()
    found = trainer.in_force.sharding
    return {"gradients": capture.steps, "rows": rows, "sharding": found}


def main(jobs: list[dict], out: Path) -> None:
    """Run each job ({examples, student, settings}) in all processes; rank 0 saves the results."""
    found = [
        first_steps(Path(job["examples"]), Path(job["student"]), out / str(n), **job["settings"])
        for n, job in enumerate(jobs)
    ]
    if torch.distributed.get_rank() == 0:
        torch.save(
            {"world_size": torch.distributed.get_world_size(), "found": found}, out / "found"
        )
    leave_processes()


if __name__ == "__main__":
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", "TypedStorage", UserWarning)  # torch's own, in fully_shard
    torch.set_num_threads(1)
    main(json.loads(sys.argv[1]), Path(sys.argv[2]))
