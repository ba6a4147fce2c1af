"""Settings of a training: the one place where their defaults and descriptions stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, model_validator

from steper.errors import SettingsError
from steper.lm.model_settings import Attention, DType, Settings, TemplateArguments
from steper.training.sharding import Sharding, asked_sharding

Weighting = Literal["learned", "uniform", "fixed"]
Pack = Literal["steps", "none"]

TINY, SMALL = 20_000_000, 1_000_000_000
"""Below so many parameters a model wants larger steps than the paper's 8B student."""

PAIRS = 30
"""By so much smaller are the steps of preference pairs, which undo a student soon (docs/log.md)."""


class TrainSettings(Settings):
    """How a student is trained.

    A batch is counted in trajectories, whatever `pack`, `micro_batch_size` and the number of
    processes are: those decide how a step is computed, not what it computes.
    """

    weights: Weighting | None = Field(
        None,
        description="learned: L_j / (2 σ_j²) + log σ_j with learned σ_j; uniform: the plain mean "
        "of the L_j; fixed: the three numbers below (none: as the examples' recipe says)",
    )
    init_weight: float = Field(1.0, ge=0, description="weight of L_init where weights are fixed")
    exp_weight: float = Field(1.0, ge=0, description="weight of L_exp where weights are fixed")
    agg_weight: float = Field(1.0, ge=0, description="weight of L_agg where weights are fixed")
    sigma_start: float = Field(1.0, gt=0, description="σ_j before the first step")
    sigma_optimizer: Literal["natural", "adam"] = Field(
        "natural",
        description="natural: natural-gradient descent on σ_j², a running mean of L_j; "
        "adam: Adam on log σ_j²",
    )
    sigma_lr: float | None = Field(
        None,
        gt=0,
        le=1,
        description="learning rate of σ, its own (none: natural 0.1, more in trainings under 100 "
        "steps; adam 0.05)",
    )
    sigma_floor: float = Field(
        0.01,
        gt=0,
        description="σ_j stays above this, so L_j weighs at most 1 / (2 · floor²): in long "
        "trainings an easy kind's σ falls to it (0.1 where the others no longer learn)",
    )
    divergence: Literal["none", "jsd"] = Field(
        "none",
        description="jsd: at each learnt token, the generalised Jensen-Shannon divergence between "
        "the next tokens of `teacher` and student, in place of the token's cross-entropy",
    )
    divergence_beta: float = Field(
        0.5,
        ge=0,
        le=1,
        description="β of the divergence: 0 is KL(teacher, student), 1 is KL(student, teacher)",
    )
    teacher: str | None = Field(
        None,
        description="the model whose next tokens a divergence compares with: a folder, a hub name "
        "or one that is shipped, with the student's tokenizer",
    )
    dpo_beta: float = Field(
        0.1,
        gt=0,
        description="β of preference pairs: how dearly they pay for leaving the student that they "
        "began with",
    )
    dpo_sft: float = Field(
        1.0,
        ge=0,
        description="of preference pairs, the weight of the preferred texts' own cross-entropy "
        "beside DPO's loss, as in RPO",
    )
    pack: Pack = Field(
        "steps",
        description="steps: one forward pass for all examples of a trajectory, shared text once; "
        "none: a sequence for each example. The gradients are the same",
    )
    epochs: float = Field(2.0, gt=0, description="passes over the trajectories (the paper's: 2)")
    max_steps: int | None = Field(
        None, ge=1, description="optimizer steps, instead of epochs (none: by epochs)"
    )
    max_tokens: int | None = Field(
        None,
        ge=1,
        description="train for so many tokens computed (padding not counted), instead of epochs: "
        "rounded to whole steps of average size",
    )
    batch_size: int = Field(
        16, ge=1, description="trajectories in an optimizer step, over all processes"
    )
    micro_batch_size: int = Field(
        4, ge=1, description="trajectories in one forward pass of a process, at most"
    )
    lr: float | None = Field(
        None,
        gt=0,
        description="learning rate (none: 5e-6, the paper's, from 1B parameters on, 5e-5 below, "
        "1e-3 below 20M; with LoRA 1e-4, below 20M 3e-3; of preference pairs a thirtieth)",
    )
    optimizer: Literal["adamw", "adamw_bf16", "muon"] = Field(
        "adamw",
        description="adamw_bf16: AdamW with weights, gradients and moments in bfloat16, rounded at "
        "random: 8 bytes a parameter, not 16, so that an 8B trains whole in 80 GB. muon: Muon for "
        "the layers' matrices, AdamW for the rest. For another one of transformers: trainer.optim",
    )
    schedule: str = Field("cosine", description="learning-rate schedule, by transformers' name")
    warmup: float = Field(0.03, ge=0, lt=1, description="share of the steps with a rising rate")
    weight_decay: float = Field(0.0, ge=0, description="of the optimizer; never on σ")
    max_grad_norm: float = Field(1.0, ge=0, description="gradients are clipped to it (0: not)")
    freeze_embeddings: bool = Field(
        False,
        description="leave the embeddings of tokens as they are, the reranker's too, but for those "
        "that a recipe adds: those that training never shows stay as good. LoRA does so anyway",
    )
    lora_rank: int = Field(0, ge=0, description="train LoRA adapters of this rank (0: all weights)")
    lora_alpha: int | None = Field(None, ge=1, description="LoRA's alpha (none: twice the rank)")
    lora_dropout: float = Field(0.0, ge=0, lt=1, description="LoRA's dropout")
    merge: bool = Field(
        False,
        description="export LoRA merged; the adapter goes to OUT/adapter. Also "
        "merges a training that is over",
    )
    dtype: DType = Field(
        "auto",
        description="bfloat16: autocast over float32 weights; auto: on GPUs that multiply bfloat16 "
        "natively, and for models from 50M parameters on CPUs that are measured to do it fast",
    )
    attention: Attention = Field("auto", description="attention implementation (auto: sdpa)")
    gradient_checkpointing: bool = Field(False, description="compute activations twice, store less")
    max_length: int | None = Field(
        None, ge=2, description="longest example in tokens (none: the student's window)"
    )
    chat_template_kwargs: TemplateArguments = Field(
        default_factory=dict,
        description="arguments of the student's chat template, such as {enable_thinking: false}; "
        "the student is asked with them, too",
    )
    too_long: Literal["drop", "error"] = Field(
        "drop", description="what becomes of longer examples; nothing is ever cut"
    )
    group_by_length: bool = Field(False, description="trajectories of like length share a batch")
    eval_share: float = Field(
        0.0, ge=0, lt=1, description="share of the questions kept out and evaluated on"
    )
    eval_every: int | None = Field(
        None, ge=1, description="steps between evaluations (none: an epoch)"
    )
    save_every: int | None = Field(
        None, ge=1, description="steps between checkpoints (none: an epoch)"
    )
    keep_checkpoints: int = Field(1, ge=1, description="checkpoints to keep")
    encoders: int | None = Field(
        None,
        ge=1,
        description="processes that encode the examples, once, before training (none: one; beyond "
        "16 MB of examples, on Linux, one for each core)",
    )
    seed: int = Field(0, ge=0, description="of order, dropout and fresh adapters")
    device: Literal["auto", "cpu"] = Field("auto", description="auto: a GPU where there is one")
    report_to: Literal["none", "tensorboard", "wandb"] = Field(
        "none", description="also log there (transformers' own integrations)"
    )
    processes: int | None = Field(
        None, ge=1, description="fail unless so many processes train together (none: any number)"
    )
    sharding: str | None = Field(
        None,
        description="how processes share weights, gradients and optimizer: zero3 (DeepSpeed) or "
        "fsdp2, the shipped configurations, or a file of yours, DeepSpeed's .json or FSDP's .yaml "
        "(none: each has all)",
    )
    revision: str | None = Field(None, description="branch, tag or commit of a hub model")
    trust_remote_code: bool = Field(
        False, description="run Python code that comes with the model; only for models you trust"
    )
    reranker: str | None = Field(
        None,
        description="model that a student's reranker begins with, where its recipe has one (KARD): "
        "a folder or hub name (none: the student)",
    )
    reranker_epochs: int = Field(3, ge=1, description="passes over the reranker's questions")
    trainer: dict[str, Any] = Field(
        default_factory=dict,
        description="further TrainingArguments of transformers (optim, adam_beta2, …)",
    )

    @model_validator(mode="after")
    def _consistent(self) -> TrainSettings:
        if self.max_steps is not None and self.max_tokens is not None:
            raise ValueError("max_steps and max_tokens exclude each other; give one of them")
        if (self.divergence == "none") != (self.teacher is None):
            raise ValueError("divergence and teacher go together; give both, or neither")
        if self.divergence != "none" and self.sharding is not None:
            raise ValueError("a divergence's teacher is whole in each process; leave sharding out")
        if self.merge and not self.lora_rank:
            raise ValueError("merge goes with lora_rank; without LoRA there is nothing to merge")
        if self.sharding is not None and (shards := SHARDING_ARGUMENTS & set(self.trainer)):
            raise ValueError(f"sharding and trainer.{min(shards)} exclude each other")
        if self.optimizer != "adamw":
            self._check_optimizer()
        taken = sorted(set(self.trainer) & OWN_ARGUMENTS)
        if taken:
            raise ValueError(f"trainer.{taken[0]} is set by steper itself; use its own setting")
        return self

    def _check_optimizer(self) -> None:
        if self.lora_rank:
            raise ValueError(
                f"optimizer {self.optimizer} trains whole matrices; with lora_rank use adamw"
            )
        if self.optimizer == "adamw_bf16" and self.dtype == "float32":
            raise ValueError("optimizer adamw_bf16 holds weights in bfloat16; leave dtype out")
        if self.sharding is not None:
            raise ValueError(
                f"optimizer {self.optimizer} needs whole matrices, which sharding {self.sharding} "
                "does not leave; use adamw"
            )
        if "optim" in self.trainer:
            raise ValueError("trainer.optim names another optimizer; leave trainer.optim out")

    def check_tokens(self, tokens: Sequence[str]) -> None:
        """Refuse, with a SettingsError, what cannot learn single rows of the embeddings.

        Where a recipe adds tokens to the student's, and LoRA or `freeze_embeddings` leaves the
        others as they are.
        """
        frozen = "lora_rank" if self.lora_rank else "freeze_embeddings"
        if not tokens or not getattr(self, frozen):
            return
        added = f"the examples' recipe adds {len(tokens)} tokens, whose embeddings"
        if (kind := self.asked_sharding().kind) != "none":
            raise SettingsError(
                f"{added} {frozen} does not learn under {kind}; leave {frozen} or sharding out"
            )
        if frozen == "freeze_embeddings" and self.weight_decay:
            raise SettingsError(
                f"{added} are rows of a matrix that weight_decay {self.weight_decay:g} shrinks as "
                "a whole; leave weight_decay or freeze_embeddings out"
            )

    @property
    def fixed_weights(self) -> tuple[float, float, float]:
        """(init, exp, agg)."""
        return self.init_weight, self.exp_weight, self.agg_weight

    def default_lr(self, parameters: int, pairs: bool = False) -> float:
        """`lr`, or the default for a model of so many parameters; `pairs`: for preferences."""
        if self.lr is not None:
            return self.lr
        whole = 1e-3 if parameters < TINY else 5e-5 if parameters < SMALL else 5e-6
        lora = 3e-3 if parameters < TINY else 1e-4
        return (lora if self.lora_rank else whole) / (PAIRS if pairs else 1)

    def fingerprint(self) -> dict[str, Any]:
        """The settings that decide what comes out, as JSON values; compared on resume.

        Of `reranker` and `teacher` the digests stand beside them (see `job`), of `sharding` the
        contents here.
        """
        values = self.model_dump(mode="json", exclude=PASSING | LATER | NAMED)
        later = self.model_dump(mode="json", include=LATER, exclude_defaults=True)
        # A configuration by what it says, wherever its file is.
        if shards := self.asked_sharding().arguments:
            trainer = {k: v for k, v in self.trainer.items() if k not in SHARDING_ARGUMENTS}
            values["trainer"] = {**trainer, **shards}
        return values | later

    def asked_sharding(self) -> Sharding:
        """What `sharding` or `trainer` asks for; errors see `sharding.asked_sharding`."""
        return asked_sharding(self.sharding, self.trainer)


LATER = {
    "chat_template_kwargs",
    "reranker_epochs",
    "dpo_beta",
    "dpo_sft",
    "divergence",
    "divergence_beta",
    "sigma_floor",
    "freeze_embeddings",
}
"""Settings that came later: at their defaults a fingerprint leaves them out."""


NAMED = {"reranker", "teacher", "sharding"}
"""Settings that name files, whose contents decide, not their names."""

PASSING = {"save_every", "keep_checkpoints", "encoders", "report_to", "processes", "merge"}
"""Settings that may change when a training is taken up again."""

SHARDING_ARGUMENTS = frozenset({"deepspeed", "fsdp", "fsdp_config"})
"""Of transformers' arguments, those that `sharding` stands for."""

_OWN_ARGUMENTS = """
output_dir per_device_train_batch_size per_device_eval_batch_size gradient_accumulation_steps
num_train_epochs max_steps learning_rate lr_scheduler_type warmup_steps weight_decay max_grad_norm
bf16 activation_checkpointing gradient_checkpointing seed data_seed logging_steps logging_strategy
eval_strategy eval_steps save_strategy save_steps save_total_limit report_to use_cpu
remove_unused_columns label_smoothing_factor train_sampling_strategy dataloader_drop_last
accelerator_config disable_tqdm label_names ignore_data_skip logging_nan_inf_filter
"""
OWN_ARGUMENTS = frozenset(_OWN_ARGUMENTS.split())
