"""transformers' Trainer with StepER's objective: per-kind means over whole optimizer steps.

The Trainer keeps the loop, the optimizer, accumulation, processes, checkpoints and logging; here
is only what equation (1) of `objective` needs: the token counts of a whole step before its first
backward pass, and the reduced L_j after its last.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import Trainer, TrainerCallback, TrainingArguments, modeling_utils
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from transformers.trainer_utils import EvalLoopOutput

from steper.errors import ModelError, SettingsError
from steper.prompt.encode import KINDS
from steper.store import read_json, write_json
from steper.training.adamw_bf16 import AdamWBF16
from steper.training.data import Batch, Collator, Data, OrderSampler, TreeDataset
from steper.training.divergence import generalised_jsd
from steper.training.in_force import InForce, check_in_force, read_in_force
from steper.training.model import sliding_window
from steper.training.objective import Objective, TokenLoss, kind_sums
from steper.training.optimizer import muon_with_adamw
from steper.training.preference import PreferenceLoss
from steper.training.processes import barrier
from steper.training.sharding import Sharding
from steper.training.train_settings import TrainSettings
from steper.training.tree import ancestor_mask

SIGMA_FILE = "sigma.json"
"""Beside each checkpoint: σ, the state of its optimizer, tokens and seconds so far, and how many
processes wrote it in which shards."""

LogRow = dict[str, Any]
TellRow = Callable[[LogRow], None]


class StepTrainer(Trainer):  # type: ignore[misc]
    """Trains on `data` with `objective`; every row of its log goes to `log_row`.

    A micro-batch's share of L_j is Σ w ℓ / W_j with W_j = Σ w over the *whole* step and all
    processes, so shares add up to L_j, and so do their gradients. Data-parallel wrappers average
    gradients over processes; the loss is multiplied by their number to make that a sum.

    With a `teacher`, frozen, a token's loss is its divergence from the teacher's next tokens.

    `in_force` is what the first step was found to use.
    """

    optimizer: Any
    in_force: InForce

    def __init__(
        self,
        model: Any,
        args: TrainingArguments,
        data: Data,
        objective: Objective,
        loss: TokenLoss | PreferenceLoss,
        settings: TrainSettings,
        asked: Sharding,
        tokenizer: Any,
        log_row: TellRow,
        teacher: Any = None,
    ) -> None:
        self.objective, self.parts, self.teacher = objective, loss, teacher
        self._own_settings, self._asked = settings, asked
        rows = TreeDataset(data.train, settings.batch_size)
        multiple = args.per_device_eval_batch_size * args.world_size
        super().__init__(
            model=model,
            args=args,
            data_collator=Collator(pad_id(tokenizer), bool(data.pairs)),
            train_dataset=rows,
            eval_dataset=TreeDataset(data.eval, multiple) if len(data.eval) else None,
            processing_class=tokenizer,
            # Never called, for `compute_loss` is ours. Where there is one, every version of 5 takes
            # the loss as one of the whole step and does not divide it by its micro-batches.
            compute_loss_func=kind_sums,
            optimizer_cls_and_kwargs=own_optimizer(settings, args),
        )
        if args.n_gpu > 1:
            raise SettingsError(
                f"{args.n_gpu} GPUs are visible to one process; start one process for each "
                f"(torchrun --nproc-per-node {args.n_gpu} -m steper train …), or show it one GPU "
                "with CUDA_VISIBLE_DEVICES"
            )
        if self.sharded and settings.merge:
            raise SettingsError(
                "merge needs whole weights, which DeepSpeed and FSDP shard; leave it out and merge "
                "the exported adapter with peft's merge_and_unload"
            )
        if self.sharded and settings.optimizer != "adamw":
            raise SettingsError(
                f"optimizer {settings.optimizer} needs whole matrices, which DeepSpeed and FSDP "
                "shard; use adamw"
            )
        self.remove_callback(PrinterCallback)
        self.remove_callback(ProgressCallback)
        self.add_callback(_Rows(self, log_row))
        self.order = OrderSampler(
            rows, settings.seed, settings.batch_size, settings.group_by_length
        )
        self.counters = {"tokens": 0, "supervised_tokens": 0, "seconds": 0.0}
        self._began = time.monotonic()
        self._step: LogRow = {}
        self._counts = self._shares = torch.zeros(loss.rows, len(KINDS))
        self._micro_batches = 1

    @property
    def sharded(self) -> bool:
        """Whether processes hold parts of the weights, not all of them each."""
        return bool(self.is_deepspeed_enabled or self.is_fsdp_enabled)

    def _get_train_sampler(self, train_dataset: Any = None) -> OrderSampler:
        return self.order

    def create_optimizer(self, *model: Any) -> Any:
        """The Trainer's own, or Muon with AdamW; older versions of 5 call it without a model."""
        if self._own_settings.optimizer != "muon":
            return super().create_optimizer(*model)
        if self.optimizer is None:
            rate, decay = self.args.learning_rate, self.args.weight_decay
            whole = next((m for m in model if m is not None), self.model)
            self.optimizer = muon_with_adamw(whole, rate, decay)
        return self.optimizer

    def get_batch_samples(
        self, epoch_iterator: Iterator[Batch], num_batches: int, device: Any
    ) -> tuple[list[Batch], None]:
        """All micro-batches of the next optimizer step; their W_j are reduced over processes.

        An empty list where the training was taken up from its last step's checkpoint: within a
        pass, the Trainer would do a step more before it looks at their number.
        """
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
            return [], None
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        sums = torch.zeros(self.parts.rows * len(KINDS) + 2, dtype=self._exact)
        for batch in batches:
            own = [batch["tokens"].sum(), torch.tensor(len(batch["targets"]))]
            counted = torch.stack([count.cpu() for count in own])
            weights = self.parts.counts(_exactly(batch, sums)).flatten()
            sums += torch.cat([weights, counted.to(sums)])
        sums = self.accelerator.reduce(sums.to(device), "sum")
        self._counts = sums[:-2].reshape(self.parts.rows, len(KINDS))
        self._shares = torch.zeros_like(self._counts)
        self._micro_batches = max(1, len(batches))
        self.counters["tokens"] += int(sums[-2])
        self.counters["supervised_tokens"] += int(sums[-1])
        return batches, None

    @property
    def _exact(self) -> torch.dtype:
        return torch.float32 if self.args.device.type == "mps" else torch.float64

    def compute_loss(
        self,
        model: Any,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """This micro-batch's share of the step's loss, times the number of processes."""
        sums = self.parts.sums(self.token_losses(model, inputs), inputs)
        # Of an absent kind both are 0. Divided by next to nothing its gradient would be 0 times a
        # number that overflows where its σ is small, which is no number.
        counts = torch.where(self._counts > 0, self._counts, 1)
        shares = sums / counts.to(sums)
        self._shares += shares.detach().to(self._shares)
        coefficients = torch.tensor(self.objective.coefficients()).to(shares)
        means = self.parts.means(shares)
        loss = self.accelerator.num_processes * (means * coefficients).sum()
        return loss + self.objective.constant(self._present()) / self._micro_batches

    def _present(self) -> list[bool]:
        """The kinds that the step has."""
        found: list[bool] = (self._counts > 0).all(0).tolist()
        return found

    def token_losses(self, model: Any, inputs: Batch) -> torch.Tensor:
        """(M,): cross-entropy or divergence at each supervised token of a micro-batch."""
        logits = self._logits(model, inputs, self.model)[inputs["source"]]
        if self.teacher is None:
            return cross_entropy(logits.float(), inputs["targets"], reduction="none")
        with torch.no_grad(), self.accelerator.autocast():
            theirs = self._logits(self.teacher, inputs, self.teacher)[inputs["source"]]
        return generalised_jsd(logits, theirs, self._own_settings.divergence_beta)

    def _logits(self, model: Any, inputs: Batch, whose: Any) -> torch.Tensor:
        """(K, V): logits of the nodes from which something is predicted, the others' left out.

        `whose`: what `model` may wrap.
        """
        given: LogRow = {"input_ids": inputs["input_ids"], "use_cache": False}
        if "end" in inputs:
            given["position_ids"] = inputs["position_ids"]
            given["attention_mask"] = self._mask(inputs["end"], inputs["position_ids"], whose)
        # Without branches no mask is needed: what stands to the right is not seen.
        if keeps_logits_by_mask():
            kept: torch.Tensor = model(**given, logits_to_keep=inputs["predict"]).logits
            return kept
        every: torch.Tensor = model(**given).logits
        return every[inputs["predict"]]

    def _mask(self, end: torch.Tensor, depth: torch.Tensor, whose: Any) -> torch.Tensor:
        mask = ancestor_mask(end, depth, sliding_window(whose.config))
        # On a CPU sdpa would turn a boolean mask into numbers again in every layer.
        if whose.config._attn_implementation == "sdpa" and end.device.type != "cpu":
            return mask
        kind = torch.bfloat16 if self.args.bf16 else whose.dtype
        added = torch.zeros(mask.shape, dtype=kind, device=mask.device)
        return added.masked_fill_(~mask, torch.finfo(kind).min)

    def training_step(self, model: Any, inputs: Batch, num_items_in_batch: Any = None) -> Any:
        """The Trainer's; after a step's last micro-batch, σ's own step."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        if self.accelerator.sync_gradients:
            self._finish_step()
        return loss

    def _finish_step(self) -> None:
        reduced = self.accelerator.reduce(self._shares, "sum")
        found = zip(self.parts.means(reduced).tolist(), self._present(), strict=True)
        means = [mean if here else None for mean, here in found]
        self._step = {
            **self.parts.logged(reduced, self._counts),
            **{f"loss_{k}": m for k, m in zip(KINDS, means, strict=True) if m is not None},
            **self._sigmas(),
        }
        self.objective.update(means)

    def _sigmas(self) -> LogRow:
        if self.objective.weighting != "learned":
            return {}
        return {f"sigma_{k}": s for k, s in zip(KINDS, self.objective.sigma, strict=True)}

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add L_j, σ_j (as used in the step), tokens and seconds to what a step logs."""
        if "loss" in logs:
            norm = logs.get("grad_norm", 0.0)
            if not math.isfinite(logs["loss"]) or not math.isfinite(norm):
                raise ModelError(
                    f"step {self.state.global_step}: the training diverged (loss {logs['loss']}, "
                    f"gradient {norm}); use a smaller lr than {self.args.learning_rate:g}, or a "
                    "larger batch_size"
                )
            logs |= self._step | self.counted()
        super().log(logs, start_time)

    def counted(self) -> dict[str, Any]:
        """Tokens computed, tokens supervised and seconds, up to now."""
        seconds = self.counters["seconds"] + time.monotonic() - self._began
        return {**self.counters, "seconds": round(seconds, 3)}

    def evaluation_loop(
        self,
        dataloader: Any,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """L_j over the whole evaluation set; `eval_loss` is their plain mean, whatever `weights`.

        The Trainer's own loop would average the losses of batches.
        """
        model = self._wrap_model(self.model, training=False)
        if not self.accelerator._models:  # outside of training nothing has prepared it
            model = self.accelerator.prepare_model(model, evaluation_mode=True)
        model.eval()
        shape = (2, self.parts.rows, len(KINDS))
        sums = torch.zeros(shape, dtype=self._exact, device=self.args.device)
        for batch in dataloader:
            inputs = self._prepare_inputs(batch)
            with torch.no_grad(), self.compute_loss_context_manager():
                losses = self.token_losses(model, inputs)
                sums[0] += self.parts.sums(losses, inputs).to(sums)
            sums[1] += self.parts.counts(_exactly(inputs, sums))
        totals, counts = self.accelerator.reduce(sums, "sum")
        shares = totals / torch.where(counts > 0, counts, 1)
        found = zip(KINDS, self.parts.means(shares).tolist(), (counts > 0).all(0), strict=True)
        means = {kind: mean for kind, mean, here in found if here}
        metrics = {f"{metric_key_prefix}_loss_{k}": mean for k, mean in means.items()}
        more = self.parts.logged(shares, counts)
        metrics |= {f"{metric_key_prefix}_{name}": value for name, value in more.items()}
        metrics[f"{metric_key_prefix}_loss"] = sum(means.values()) / max(1, len(means))
        return EvalLoopOutput(None, None, metrics, len(dataloader.dataset))

    def read_in_force(self) -> None:
        """Read back what is in force; SettingsError where it is not what was asked for."""
        self.in_force = read_in_force(self)
        check_in_force(self.in_force, self._asked, self)

    def _save_rng_state(self, output_dir: str) -> None:
        # The last that a process writes of its own: a checkpoint is whole when all have.
        super()._save_rng_state(output_dir)
        barrier()

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        # Before the rest: a checkpoint is whole once the Trainer has written its own state.
        if self.args.should_save:
            folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
            state = {
                "objective": self.objective.state(),
                "counters": self.counted(),
                "processes": self.in_force.processes,
                "sharding": self.in_force.sharding,
            }
            write_json(folder / SIGMA_FILE, state)
        super()._save_checkpoint(model, trial)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        path = Path(checkpoint) / SIGMA_FILE
        state = read_json(path)
        self.objective.load(state["objective"], str(path))
        self.counters = state["counters"]


class _Rows(TrainerCallback):  # type: ignore[misc]
    """Hands each row of the log on, in the main process, and tells the sampler its epoch.

    Before the first step it has read back what is in force.
    """

    def __init__(self, trainer: StepTrainer, log_row: TellRow) -> None:
        self._trainer = trainer
        self._log_row = log_row

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._trainer.read_in_force()

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # Not left to the data loader: it forgets the epoch when a resumed one skips batches.
        self._trainer.order.epoch = int((state.epoch or 0) + 1e-6)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if state.is_world_process_zero and ("loss" in logs or "eval_loss" in logs):
            self._log_row({"step": state.global_step, "steps": state.max_steps, **logs})


def _exactly(batch: Batch, like: torch.Tensor) -> Batch:
    """What is counted in a batch, in the dtype and on the device of `like`."""
    return {k: batch[k].to(like) for k in ("weights", "pair_kinds") if k in batch}


def check_taken_up(checkpoint: Path, asked: Sharding, processes: int) -> None:
    """SettingsError where as many processes cannot go on from a checkpoint.

    Whole weights are taken up by any number, to the same end. Shards are those of one number.
    """
    path = checkpoint / SIGMA_FILE
    state = read_json(path)
    before = state.get("processes", processes)
    if asked.kind != "none" and before != processes:
        raise SettingsError(
            f"{path}: {before} processes shared its weights ({asked.kind}), and {processes} cannot "
            f"take up their shards; start {before}, or begin anew with --overwrite"
        )


def own_optimizer(settings: TrainSettings, args: TrainingArguments) -> Any:
    """(class, keywords) where it is ours and the Trainer is to make it; None for its own."""
    if settings.optimizer != "adamw_bf16":
        return None
    betas = (args.adam_beta1, args.adam_beta2)
    return AdamWBF16, {"lr": args.learning_rate, "betas": betas, "eps": args.adam_epsilon}


def pad_id(tokenizer: Any) -> int:
    """The id that fills rows up; it is never seen by a token of an example."""
    pad, eos = tokenizer.pad_token_id, tokenizer.eos_token_id
    return int(pad if pad is not None else eos if eos is not None else 0)


def keeps_logits_by_mask() -> bool:
    """Whether models take `logits_to_keep` as a (R, T) mask; older versions of 5 do not."""
    return hasattr(modeling_utils, "slice_logits_to_keep")
