"""The processes that train together: how many, where they wait for each other, how they part."""

from __future__ import annotations

import os
from datetime import timedelta
from importlib.util import find_spec
from typing import Any, Literal

import torch

from steper.errors import SettingsError, missing_extra
from steper.training.sharding import Sharding
from steper.training.train_settings import TrainSettings


def count_processes(settings: TrainSettings) -> int:
    """How many processes train together, as torchrun tells; SettingsError if that is not wanted."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if settings.processes is not None and settings.processes != count:
        raise SettingsError(
            f"processes is {settings.processes}, but {count} train together; start them with "
            f"torchrun --nproc-per-node {settings.processes} -m steper train … "
            "(accelerate launch --cpu starts a single one)"
        )
    check_shares(settings, count)
    return count


def check_shares(settings: TrainSettings, processes: int) -> None:
    """SettingsError where so many processes cannot take as many trajectories of a batch each."""
    if settings.batch_size % processes:
        raise SettingsError(
            f"batch_size is {settings.batch_size}, which {processes} processes cannot share evenly"
        )


def check_machine(
    settings: TrainSettings, asked: Sharding, processes: int, *, launched: bool = False
) -> Literal["cuda", "mps", "cpu"]:
    """Where this machine trains; raises what `check_gpus` and `check_sharding` do.

    `launched`: torchrun is going to start the processes.
    """
    on_gpu = settings.device == "auto" and torch.cuda.is_available()
    if on_gpu and processes > 1:
        check_gpus(processes)
    on_cpu = settings.device == "cpu" or not (on_gpu or torch.backends.mps.is_available())
    check_sharding(asked, on_cpu, processes, launched=launched)
    return "cuda" if on_gpu else "cpu" if on_cpu else "mps"


def check_gpus(processes: int) -> None:
    """SettingsError where more processes of this machine are to train than it has GPUs."""
    here, gpus = int(os.environ.get("LOCAL_WORLD_SIZE", processes)), torch.cuda.device_count()
    if here > gpus:
        raise SettingsError(
            f"{here} processes of this machine train together, one on each GPU, but it shows "
            f"{gpus}; start {gpus}, or train on the CPU with --device cpu"
        )


def check_sharding(
    asked: Sharding, on_cpu: bool, processes: int, *, launched: bool = False
) -> None:
    """Refuse, before a model is loaded, sharding that would not be in force, or that others set.

    `launched`: torchrun is going to start the processes.
    """
    for name, launcher in (("DEEPSPEED", asked.deepspeed), ("FSDP", asked.kind[:4] == "FSDP")):
        if os.environ.get(f"ACCELERATE_USE_{name}", "").lower() == "true" and not launcher:
            raise SettingsError(
                f"ACCELERATE_USE_{name} is set in the environment (by accelerate launch), of which "
                "steper's settings know nothing; start with torchrun and name a sharding"
            )
    if asked.kind.startswith("FSDP") and on_cpu:
        raise SettingsError(
            f"{asked.kind} was asked for, and on a CPU accelerate would train without sharding; "
            "use --sharding zero3 there, or none"
        )
    if asked.kind.startswith("FSDP") and processes == 1:
        raise SettingsError(
            f"{asked.kind} was asked for, but a single process trains, which has nobody to share "
            "with; start several with torchrun, or ask for none"
        )
    if asked.deepspeed and find_spec("deepspeed") is None:
        raise missing_extra("deepspeed", "deepspeed")
    if asked.deepspeed and not launched and "LOCAL_RANK" not in os.environ:
        raise SettingsError(
            f"{asked.kind} was asked for, and DeepSpeed's processes are started by torchrun, a "
            "single one, too: torchrun --nproc-per-node 1 -m steper train …"
        )


def join_processes(asked: Sharding, args: Any) -> None:
    """Let this process join the others; `args` are the TrainingArguments."""
    size = args.world_size  # the first who asks for it, or for the device, joins them
    if asked.deepspeed:
        _join_deepspeed(args.device.type)
    barrier()
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if size != count:
        raise SettingsError(f"{count} processes were started, but transformers sees {size}")


def _join_deepspeed(device: str) -> None:
    """Tell DeepSpeed of the processes, which accelerate does on GPUs alone.

    Without it a model that loads in shards would be told of a single process.
    """
    import deepspeed
    from deepspeed.accelerator import get_accelerator

    found = get_accelerator().device_name()
    if found != device:
        raise SettingsError(
            f"this training is to run on {device}, but DeepSpeed has settled on {found}; set "
            f"DS_ACCELERATOR={device} in the environment"
        )
    if device == "cpu":
        deepspeed.init_distributed("gloo", auto_mpi_discovery=False)


LONGEST_WAIT = timedelta(days=7)


def wait_for_main(main: bool, work: str) -> Any:
    """Let the other processes wait until the main one, which did some `work` before, comes here.

    For processes that have not joined yet: their backend's own barriers give up after half an hour.
    Returns what the main process has to hold until they have joined.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or torch.distributed.is_initialized():
        barrier()
        return None
    store, _, _ = next(iter(torch.distributed.rendezvous("env://")))
    if main:
        store.set(f"steper/{work}", b"done")
    else:
        store.wait([f"steper/{work}"], LONGEST_WAIT)
    return store


def barrier() -> None:
    """Wait for all processes of a distributed training."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()


def leave_processes() -> None:
    """Wait for all processes of a distributed training and end its communication.

    A model that is loaded from then on is this process's own.
    """
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    barrier()
    unset_hf_deepspeed_config()
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
