"""What a training really uses, read back from the live objects, never from the settings.

In: a Trainer that has wrapped its model. Out: processes, sharding and mixed precision, which go
into the manifest's `resolved`, and a refusal where they are not what was asked for.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel

from steper.errors import SettingsError
from steper.training.sharding import Sharding


@dataclass(frozen=True)
class InForce:
    """Processes that train together, how they share weights, and in what they multiply.

    `wrapper` is the class that the model is wrapped in (its own where nothing wraps it), `sharding`
    none, ZeRO-1 … ZeRO-3, FSDP1 or FSDP2, `mixed_precision` no, bf16 or fp16.
    """

    processes: int
    wrapper: str
    sharding: str
    mixed_precision: str
    optimizer: str


def read_in_force(trainer: Any) -> InForce:
    """What is in force once the Trainer has prepared its model and optimizer."""
    wrapped, accelerator = trainer.model_wrapped, trainer.accelerator
    engine = _engine(wrapped)
    optimizer = trainer.optimizer
    while hasattr(optimizer, "optimizer"):  # accelerate's and DeepSpeed's wrappers
        optimizer = optimizer.optimizer
    return InForce(
        processes=_processes(engine),
        wrapper=type(wrapped).__name__,
        sharding=_sharding(wrapped, engine),
        mixed_precision=str(accelerator.mixed_precision) if engine is None else _mixed(engine),
        optimizer=type(optimizer).__name__,
    )


def check_in_force(found: InForce, asked: Sharding, trainer: Any) -> None:
    """SettingsError, of one line, where what is in force is not what was asked for."""
    if asked.kind not in ("none", "ZeRO-0", found.sharding):
        raise SettingsError(
            f"{asked.kind} was asked for, but the model is held by {found.wrapper} with sharding "
            f"{found.sharding}; nothing was trained"
        )
    args = trainer.args
    wanted = "bf16" if args.bf16 else "fp16" if args.fp16 else "no"
    if found.mixed_precision != wanted:
        raise SettingsError(
            f"mixed precision {wanted} was asked for, but {found.mixed_precision} is in force; "
            "nothing was trained"
        )
    if found.processes != args.world_size:
        raise SettingsError(
            f"{args.world_size} processes were to train together, but the model is shared by "
            f"{found.processes}; nothing was trained"
        )


def count_trained(model: Any, only_trainable: bool = False) -> int:
    """A model's parameters, also where this process holds a part of each."""
    parameters = {id(p): p for p in model.parameters() if p.requires_grad or not only_trainable}
    # DeepSpeed leaves an empty tensor in place of a parameter that it holds in parts.
    return sum(int(getattr(p, "ds_numel", p.numel())) for p in parameters.values())


def _engine(wrapped: Any) -> Any:
    """DeepSpeed's engine where it holds the model; DeepSpeed is not imported to find out."""
    deepspeed = sys.modules.get("deepspeed")
    engine = getattr(deepspeed, "DeepSpeedEngine", None)
    return wrapped if engine is not None and isinstance(wrapped, engine) else None


def _processes(engine: Any) -> int:
    if engine is not None:
        return int(engine.dp_world_size)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return int(torch.distributed.get_world_size())
    return 1


def _sharding(wrapped: Any, engine: Any) -> str:
    if engine is not None:
        stage = engine.zero_optimization_stage()
        parted = all(hasattr(p, "ds_tensor") for p in engine.module.parameters())
        return "none" if not stage or (stage == 3 and not parted) else f"ZeRO-{stage}"
    if isinstance(wrapped, DistributedDataParallel) or not torch.distributed.is_available():
        return "none"
    from torch.distributed.fsdp import FSDPModule, FullyShardedDataParallel
    from torch.distributed.tensor import DTensor

    if isinstance(wrapped, FullyShardedDataParallel):
        return "FSDP1"
    shared = isinstance(wrapped, FSDPModule) and all(
        isinstance(p, DTensor) and any(place.is_shard() for place in p.placements)
        for p in wrapped.parameters()
    )
    return "FSDP2" if shared else "none"


def _mixed(engine: Any) -> str:
    return "bf16" if engine.bfloat16_enabled() else "fp16" if engine.fp16_enabled() else "no"
