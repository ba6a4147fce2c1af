"""Train a student on a folder of step examples: the whole of `steper train` as a function.

In: a folder that `steper build` wrote, and a transformers causal LM. Out: a folder with the trained
student, see `train_folder`.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from steper.errors import SettingsError, missing_extra, needing_room
from steper.examples.example_folder import EXAMPLES, RANKINGS, ExampleFolder
from steper.lm.hf_load import SMALL_PARAMETERS, window
from steper.lm.model_source import local_digest
from steper.lm.shipped import locate_model
from steper.prompt.chat_template import check_arguments
from steper.prompt.encode import Encoder
from steper.prompt.segments import Form
from steper.store import sha256_file, write_json
from steper.text import brief
from steper.training.train_folder import STEPER, TrainFolder
from steper.training.train_settings import TrainSettings

try:
    import torch
    import transformers
except ImportError as error:
    raise missing_extra(error.name or "torch", "train") from None
if find_spec("accelerate") is None:
    raise missing_extra("accelerate", "train")

from steper.training.data import Data, load_data
from steper.training.model import (
    Base,
    count_parameters,
    export,
    load_student,
    load_tokenizer,
    make_room,
    merge_finished,
    name_base,
    pick_attention,
    stop_at,
    stored_dtype,
    uses_bfloat16,
)
from steper.training.objective import Objective
from steper.training.reranker import find_start, train_reranker
from steper.training.trainer import StepTrainer

log = logging.getLogger(__name__)

Progress = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Trained:
    """The folder of a trained student; `up_to_date` if it had been there already."""

    path: Path
    manifest: dict[str, Any]
    up_to_date: bool = False

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return brief("Trained", repr(str(self.path)), f"{self.manifest['trained']['steps']} steps")


def train(
    examples: Path | str,
    student: Path | str,
    out: Path | str,
    settings: TrainSettings | None = None,
    *,
    overwrite: bool = False,
    resume_from: int | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Train `student` on the folder `examples` and write it to the folder `out`.

    The student is a model's folder or hub name, or one that is shipped.

    A training that is complete is left as it is, but for `merge`, which merges its adapter; one
    that was interrupted goes on from its last checkpoint, or from that of step `resume_from`, and
    what came after it is trained anew.
    `progress` gets each row of the log. Under torchrun every process calls this.
    Raises SettingsError where `out` was trained with other settings, InputError on bad examples or
    where there is no such checkpoint, ModelError where the student cannot be loaded.
    """
    settings = settings or TrainSettings()
    student = locate_model(student).removeprefix("hf:")
    source, out = ExampleFolder(Path(examples)), Path(out)
    folder = TrainFolder(out, _fingerprint(source, student, settings))
    main = int(os.environ.get("RANK", "0")) == 0
    if main:  # another process could find the folder half made by this one
        folder.check(overwrite)
        if resume_from is not None:
            folder.checkpoint(resume_from)
    if folder.complete and not overwrite and resume_from is None:
        merged = main and settings.merge and _merge(student, folder, settings)
        return Trained(out, folder.manifest, up_to_date=not merged)
    processes = _processes(settings)
    job = Job(source, student, folder, settings, processes, main, progress)
    try:
        with needing_room(out):
            job.run(overwrite, resume_from)
        leave_processes()
    finally:
        folder.close()
    return Trained(out, folder.manifest)


def _merge(student: str, folder: TrainFolder, settings: TrainSettings) -> bool:
    folder.open(overwrite=False)
    try:
        with needing_room(folder.path):
            return merge_finished(Base.find(student, settings), folder.path)
    finally:
        folder.close()


def _fingerprint(source: ExampleFolder, student: str, settings: TrainSettings) -> dict[str, Any]:
    manifest, rankings = source.manifest, source.path / RANKINGS
    reranker = rankings.exists() and settings.reranker
    return {
        "training": settings.fingerprint(),
        "student": _known_by(student),
        **({"reranker": _known_by(locate_model(reranker))} if reranker else {}),
        "examples": {
            "sha256": sha256_file(source.path / EXAMPLES),
            "recipe": manifest["recipe"],
            "weights": manifest["weights"],
            **({"rankings_sha256": sha256_file(rankings)} if rankings.exists() else {}),
        },
    }


def _known_by(model: str) -> dict[str, str | None]:
    """A local model is known by its files, wherever they are; another one by its name."""
    digest = local_digest(model)
    return {"digest": digest, "name": None if digest else model}


def _processes(settings: TrainSettings) -> int:
    """How many processes train together, as torchrun tells; SettingsError if that is not wanted."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if settings.processes is not None and settings.processes != count:
        raise SettingsError(
            f"processes is {settings.processes}, but {count} train together; start them with "
            f"torchrun --nproc-per-node {settings.processes} -m steper train … "
            "(accelerate launch --cpu starts a single one)"
        )
    if settings.batch_size % count:
        raise SettingsError(
            f"batch_size is {settings.batch_size}, which {count} processes cannot share evenly"
        )
    return count


@dataclass
class Job:
    """One training in one process; `main` is the process that writes."""

    source: ExampleFolder
    student: str
    folder: TrainFolder
    settings: TrainSettings
    processes: int = 1
    main: bool = True
    progress: Progress | None = None
    resolved: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.manifest = self.source.manifest
        self.form: Form = self.manifest["settings"]["form"]
        self.base = Base.find(self.student, self.settings)
        ranks = (self.source.path / RANKINGS).exists()
        self.reranker_start = find_start(self.settings, self.student) if ranks else None
        self.tokens: list[str] = self.manifest["settings"].get("tokens", [])
        self.tokenizer = load_tokenizer(self.base, self.form, self.tokens)
        self.config = self.base.load(self.base.source.config)
        arguments = self.settings.chat_template_kwargs
        check_arguments(self.tokenizer, self.form, arguments)
        self.encoder = Encoder(self.tokenizer, arguments)
        self._say_what_changes()
        limit = self.settings.max_length or window(self.config, self.tokenizer)
        self.data = load_data(self.source.examples(), self.encoder, self.settings, limit)
        steps, per_epoch = plan_steps(self.data, self.settings)
        self.resolved |= {"max_length": limit, "steps": steps, "steps_per_epoch": per_epoch}

    def _say_what_changes(self) -> None:
        """Tell of a template that does not let `append_only` prompts grow at their end alone."""
        if self.form == "plain" or not self.main or self.encoder.template.keeps_turns:
            return
        if self.manifest["settings"]["prompt"]["layout"] == "append_only":
            log.warning(
                "%s: its chat template shows a turn otherwise once others follow (Qwen3 without "
                "thinking leaves out an empty block of thoughts), so append_only prompts do not "
                "begin with those before them, and steps share less of a forward pass",
                self.student,
            )

    def run(self, overwrite: bool, resume_from: int | None = None) -> None:
        """Train from the last checkpoint, or a chosen one, or the start, and export."""
        if self.main:
            self.folder.open(overwrite)
            if resume_from is not None:
                self.folder.go_back(resume_from)
        trainer = self.trainer()
        resume = self.folder.last_checkpoint()
        if self.main:
            self.folder.cut_log(int(resume.name.rpartition("-")[2]) if resume else 0)
        _barrier()
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
        self._export(trainer)
        if self.main:
            self._finish(trainer)

    def trainer(self) -> StepTrainer:
        """The student, loaded, in a trainer of its own."""
        settings, data = self.settings, self.data
        # Before the model, which DeepSpeed's settings in the arguments may shard while it loads.
        args = self._arguments(self.resolved["steps"])
        _barrier()
        if args.world_size != self.processes:
            raise SettingsError(
                f"{self.processes} processes were started, but transformers sees {args.world_size}"
            )
        transformers.set_seed(settings.seed)
        trees = any(not tree.is_chain for item in (*data.train, *data.eval) for tree in item)
        attention = pick_attention(settings, trees)
        model = load_student(self.base, attention, trees)
        if self.tokens:
            make_room(model, self.tokenizer)
        if args.device.type == "cpu" and model.num_parameters() < SMALL_PARAMETERS:
            torch.set_num_threads(1)
        weights = settings.weights or self.manifest["weights"]
        objective = Objective(weights, settings, data.learnt_kinds(), self.resolved["steps"])
        self.resolved |= {
            "weights": weights,
            "lr": args.learning_rate,
            "bf16": args.bf16,
            "attention": attention,
            "device": args.device.type,
            "processes": self.processes,
            "micro_batch_size": args.per_device_train_batch_size,
            "accumulation": args.gradient_accumulation_steps,
            "parameters": model.num_parameters(),
            "trained_parameters": model.num_parameters(only_trainable=True),
        }
        return StepTrainer(model, args, data, objective, settings, self.tokenizer, self._log_row)

    def _arguments(self, steps: int) -> transformers.TrainingArguments:
        """transformers' own settings."""
        settings = self.settings
        parameters = count_parameters(self.config, settings)
        on_gpu = settings.device == "auto" and torch.cuda.is_available()
        on_cpu = settings.device == "cpu" or not (on_gpu or torch.backends.mps.is_available())
        share = settings.batch_size // self.processes
        micro = next(
            n for n in range(min(settings.micro_batch_size, share), 0, -1) if share % n == 0
        )
        distributed = {"ddp_backend": "gloo"} if on_cpu and self.processes > 1 else {}
        return transformers.TrainingArguments(
            **{
                "dataloader_pin_memory": not on_cpu,
                **distributed,
                **(_checkpointing() if settings.gradient_checkpointing else {}),
                **settings.trainer,
            },
            output_dir=str(self.folder.checkpoints),
            per_device_train_batch_size=micro,
            per_device_eval_batch_size=micro,
            gradient_accumulation_steps=share // micro,
            max_steps=steps,
            learning_rate=settings.default_lr(parameters),
            lr_scheduler_type=settings.schedule,
            warmup_steps=round(settings.warmup * steps),
            weight_decay=settings.weight_decay,
            max_grad_norm=settings.max_grad_norm,
            bf16=uses_bfloat16(settings, on_gpu, parameters),
            seed=settings.seed,
            logging_steps=1,
            eval_strategy=_every(settings.eval_every) if self.data.eval else "no",
            eval_steps=settings.eval_every,
            save_strategy=_every(settings.save_every),
            save_steps=settings.save_every or 500,
            save_total_limit=settings.keep_checkpoints,
            report_to=settings.report_to,
            use_cpu=on_cpu,
            remove_unused_columns=False,
            disable_tqdm=True,
        )

    def _log_row(self, row: dict[str, Any]) -> None:
        kept = {("lr" if k == "learning_rate" else k): v for k, v in row.items() if k != "steps"}
        self.folder.log(kept)
        if self.progress:
            self.progress(row)

    def _export(self, trainer: StepTrainer) -> None:
        path = self.folder.path
        model = trainer.accelerator.unwrap_model(trainer.model)
        end = self.encoder.turn_end(self.form)
        adapted = hasattr(model, "peft_config")
        if adapted:
            name_base(model, self.base)
        if trainer.sharded:
            whole = model.get_base_model() if adapted else model
            stop_at(whole.generation_config, end)
            trainer.save_model(str(path))  # gathers the shards
            whole.generation_config.save_pretrained(path)
            (path / "training_args.bin").unlink(missing_ok=True)
        elif self.main:
            dtype, merge = stored_dtype(self.config), self.settings.merge
            export(model, self.tokenizer, path, dtype, end, merge)

    def _finish(self, trainer: StepTrainer) -> None:
        manifest, made = self.manifest, self.manifest["settings"]
        arguments = self.settings.chat_template_kwargs
        about = {
            "schema_version": manifest["schema_version"],
            "form": self.form,
            **({"chat_template_kwargs": arguments} if arguments and self.form == "chat" else {}),
            "strategy": made["strategy"],
            "prompt": made["prompt"],
            "recipe": manifest["recipe"],
            "target": made["target"],
            "weights": self.resolved["weights"],
            **made.get("inference", {}),
            "examples": manifest["settings_hash"],
        }
        write_json(self.folder.path / STEPER, about)
        learned = trainer.objective.weighting == "learned"
        more = {
            **self._reranker(),
            "student": self.student,
            "examples": {"path": str(self.source.path), "settings": manifest["settings_hash"]},
            "resolved": self.resolved,
            "counts": asdict(self.data.counts),
            "trained": {"steps": trainer.state.global_step, **trainer.counted()},
            "sigma": trainer.objective.sigma if learned else None,
        }
        self.folder.write_manifest("complete", more)

    def _reranker(self) -> dict[str, Any]:
        """Train the student's reranker where its examples have rankings; what came of it."""
        rankings = list(self.source.rankings())
        if not rankings or self.reranker_start is None:
            return {}
        settings, name = self.settings, self.manifest["settings"]["inference"]["reranker"]
        out, device = self.folder.path / name, "cpu" if settings.device == "cpu" else None
        how = (settings.reranker_epochs, settings.seed, device)
        return {name: train_reranker(rankings, self.reranker_start, out, *how)}


def plan_steps(data: Data, settings: TrainSettings) -> tuple[int, int]:
    """(optimizer steps, steps of an epoch), from max_steps, max_tokens or epochs."""
    per_epoch = math.ceil(len(data.train) / settings.batch_size)
    if settings.max_steps is not None:
        return settings.max_steps, per_epoch
    if settings.max_tokens is not None:
        return max(1, round(settings.max_tokens * per_epoch / data.counts.tokens)), per_epoch
    return max(1, math.ceil(settings.epochs * per_epoch)), per_epoch


def _every(steps: int | None) -> str:
    return "epoch" if steps is None else "steps"


def _checkpointing() -> dict[str, Any]:
    """Gradient checkpointing by the name that this version of transformers has for it."""
    known = {each.name for each in fields(transformers.TrainingArguments)}
    name = "activation" if "activation_checkpointing" in known else "gradient"
    options = {"use_reentrant": False}
    return {f"{name}_checkpointing": True, f"{name}_checkpointing_kwargs": options}


def leave_processes() -> None:
    """Wait for all processes of a distributed training and end its communication."""
    _barrier()
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _barrier() -> None:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
