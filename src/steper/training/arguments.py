"""Settings of a training → transformers' own TrainingArguments."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import transformers

from steper.training.model import count_parameters, uses_bfloat16
from steper.training.processes import check_machine
from steper.training.sharding import Sharding
from steper.training.train_settings import SHARDING_ARGUMENTS, TrainSettings


def make_arguments(
    settings: TrainSettings,
    asked: Sharding,
    config: Any,
    steps: int,
    processes: int,
    checkpoints: Path,
    evaluates: bool,
    pairs: bool = False,
) -> transformers.TrainingArguments:
    """transformers' arguments for `steps` optimizer steps of a model of this `config`.

    `evaluates`: there is an evaluation set; `pairs`: what is learnt are preference pairs.

    Raises SettingsError for sharding that would not be in force here.
    """
    parameters = count_parameters(config, settings)
    device = check_machine(settings, asked, processes)
    on_gpu, on_cpu = device == "cuda", device == "cpu"
    share = settings.batch_size // processes
    micro = next(n for n in range(min(settings.micro_batch_size, share), 0, -1) if share % n == 0)
    distributed = {"ddp_backend": "gloo"} if on_cpu and processes > 1 else {}
    own = {name: v for name, v in settings.trainer.items() if name not in SHARDING_ARGUMENTS}
    return transformers.TrainingArguments(
        **{
            "dataloader_pin_memory": not on_cpu,
            **distributed,
            **(_checkpointing() if settings.gradient_checkpointing else {}),
            **own,
            **asked.arguments,
        },
        output_dir=str(checkpoints),
        per_device_train_batch_size=micro,
        per_device_eval_batch_size=micro,
        gradient_accumulation_steps=share // micro,
        max_steps=steps,
        learning_rate=settings.default_lr(parameters, pairs),
        lr_scheduler_type=settings.schedule,
        warmup_steps=round(settings.warmup * steps),
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        bf16=uses_bfloat16(settings, on_gpu, parameters),
        seed=settings.seed,
        logging_steps=1,
        logging_nan_inf_filter=False,  # a loss that is no number ends the training (trainer.log)
        eval_strategy=_every(settings.eval_every) if evaluates else "no",
        eval_steps=settings.eval_every,
        save_strategy=_every(settings.save_every),
        save_steps=settings.save_every or 500,
        save_total_limit=settings.keep_checkpoints,
        report_to=settings.report_to,
        use_cpu=on_cpu,
        remove_unused_columns=False,
        disable_tqdm=True,
    )


def _every(steps: int | None) -> str:
    return "epoch" if steps is None else "steps"


def _checkpointing() -> dict[str, Any]:
    """Gradient checkpointing by the name that this version of transformers has for it."""
    known = {each.name for each in fields(transformers.TrainingArguments)}
    name = "activation" if "activation_checkpointing" in known else "gradient"
    options = {"use_reentrant": False}
    return {f"{name}_checkpointing": True, f"{name}_checkpointing_kwargs": options}
