"""How many tasks fit on the machine at once, and what part of it each gets.

Left to itself a pipeline does no task on other threads than it would have alone, so its results do
not depend on what ran beside it: a small model computes on one thread and takes one place of as
many as there are cores; a large one computes on all of them and so runs alone. On GPUs a place is a
GPU.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator

from steper.lm.hf_load import SMALL_PARAMETERS
from steper.lm.model_settings import HFSettings
from steper.lm.shipped import locate_model, model_folder
from steper.pipeline.plan import Load
from steper.pipeline.task_process import LocalProcess, TaskProcess, Tell


def _number_or_auto(value: object) -> object:
    if value == "auto" or (type(value) is int and value > 0):
        return value
    raise ValueError("a number of tasks from 1 on was expected, or auto")


Jobs = Annotated[int | Literal["auto"], BeforeValidator(_number_or_auto)]

BYTES = 2
"""Of a parameter, at the least: what is stored in more is taken for larger than it is."""


def load_of(model: str, hf: HFSettings) -> Load:
    """What a task with this model asks of the machine; see `Load`."""
    spec = locate_model(model)
    if spec.partition(":")[0] in ("gold", "scripted"):
        return "small"
    if not spec.startswith("hf:") and not Path(spec).is_dir():
        return "alone"  # a server, which has been told how many requests it gets at once
    return load_of_local(spec, hf)


def load_of_local(model: str, hf: HFSettings) -> Load:
    """`load_of` for a folder or hub name."""
    if hf.device_map or hf.device not in ("auto", "cpu"):
        return "alone"
    folder = model_folder(model)
    sizes = [path.stat().st_size for path in folder.glob("model*.safetensors")]
    small = sizes and sum(sizes) < BYTES * SMALL_PARAMETERS
    return "small" if small and hf.threads in (None, 1) else "large"


@dataclass(frozen=True)
class Places:
    """`count` tasks at once, on these GPUs or, without any, on so many cores.

    `fixed`: the count was asked for; cores are then shared evenly among the places.
    """

    count: int
    cores: int
    gpus: tuple[str, ...] = ()
    fixed: bool = False

    def needed(self, load: Load) -> int:
        """How many places a task takes."""
        if self.fixed or load == "small" or (load == "large" and self.gpus):
            return 1
        return self.count

    def environment(self, load: Load, place: int) -> dict[str, str]:
        """The environment variables that keep a task's process to its place."""
        if len(self.gpus) > 1 and load != "alone":
            return {"CUDA_VISIBLE_DEVICES": self.gpus[place % len(self.gpus)]}
        if self.fixed and not self.gpus and "OMP_NUM_THREADS" not in os.environ:
            return {"OMP_NUM_THREADS": str(max(1, self.cores // self.count))}
        return {}

    def start(self, given: bytes, load: Load, place: int, tell: Tell) -> TaskProcess:
        """Start a task's process in its place."""
        return LocalProcess(given, self.environment(load, place), tell)


def find_places(jobs: Jobs) -> Places:
    """The places of this machine, or as many as were asked for."""
    gpus, cores = _gpus(), _cores()
    if jobs == "auto":
        return Places(len(gpus) or cores, cores, gpus)
    return Places(jobs, cores, gpus, fixed=True)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # fewer than the machine has, where a job was given some
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _gpus() -> tuple[str, ...]:
    """The names of the GPUs that may be used, as CUDA_VISIBLE_DEVICES takes them."""
    try:
        import torch
    except ImportError:
        return ()
    if torch.backends.mps.is_available():
        return ("0",)
    count = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return tuple(visible.split(",") if visible else map(str, range(count)))[:count]
