"""The student before and after: loaded for training, exported as a plain save_pretrained folder."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
import transformers

from steper.errors import ModelError, SettingsError, missing_extra
from steper.lm.hf_load import is_path, one_line
from steper.prompt.segments import Form
from steper.training.train_settings import TrainSettings


def from_pretrained(kind: Any, name: str, settings: TrainSettings, **options: Any) -> Any:
    """What a class of transformers loads of the student; ModelError, of one line, if it cannot."""
    if is_path(name) and not Path(name).is_dir():
        raise ModelError(f"{name}: no such folder")
    with one_line(name, "a student"):
        return kind.from_pretrained(
            name,
            revision=settings.revision,
            trust_remote_code=settings.trust_remote_code,
            **options,
        )


def load_tokenizer(name: str, settings: TrainSettings, form: Form) -> Any:
    """The student's tokenizer; SettingsError where examples of this form do not fit it.

    A student trained on plain text loses its chat template, so that inference prompts it alike.
    """
    tokenizer = from_pretrained(transformers.AutoTokenizer, name, settings)
    if form == "chat" and not getattr(tokenizer, "chat_template", None):
        raise SettingsError(
            f"the examples are chats, but the tokenizer of {name} has no chat template; build them "
            f"again for this student (steper build … --student {name}) or with --form plain"
        )
    if form == "plain":
        tokenizer.chat_template = None
    return tokenizer


def uses_bfloat16(settings: TrainSettings, on_gpu: bool) -> bool:
    """Whether to train under bfloat16 autocast."""
    if settings.dtype != "auto":
        return settings.dtype == "bfloat16"
    # On a CPU autocast gains nothing at the sizes that are trained there (measured with AMX).
    return on_gpu and bool(torch.cuda.is_bf16_supported(including_emulation=False))


def pick_attention(settings: TrainSettings, trees: bool) -> str:
    """The attention implementation; SettingsError where it cannot do trees."""
    chosen = "sdpa" if settings.attention == "auto" else settings.attention
    if trees and chosen not in ("eager", "sdpa"):
        raise SettingsError(
            f"attention {chosen} takes no mask of our own, which pack=steps needs for these "
            "examples; use --attention sdpa, or --pack none"
        )
    return chosen


def load_student(
    name: str, settings: TrainSettings, attention: str, trees: bool
) -> transformers.PreTrainedModel:
    """The model to train, in float32 (with LoRA, the frozen base in its own dtype).

    `trees`: some sequence branches. Raises ModelError, SettingsError or MissingExtraError.
    """
    frozen = bool(settings.lora_rank)
    model = from_pretrained(
        transformers.AutoModelForCausalLM,
        name,
        settings,
        dtype="auto" if frozen else torch.float32,
        attn_implementation=attention,
    )
    check_branching(model.config, trees)
    return with_lora(model, settings) if frozen else model


def check_branching(config: Any, trees: bool) -> None:
    """SettingsError where a model would not heed an ancestor mask."""
    config = config.get_text_config()
    layers = set(getattr(config, "layer_types", None) or ["full_attention"])
    if trees and layers != {"full_attention"}:
        raise SettingsError(
            f"{config.model_type} has layers of type {', '.join(sorted(layers))}, which cannot "
            "branch inside a sequence; use --pack none"
        )


def with_lora(model: Any, settings: TrainSettings) -> Any:
    """The model with fresh LoRA adapters on all linear layers but the output."""
    try:
        import peft
    except ImportError:
        raise missing_extra("peft", "train") from None
    if settings.gradient_checkpointing:
        model.enable_input_require_grads()
    config = peft.LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha or 2 * settings.lora_rank,
        lora_dropout=settings.lora_dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():
        # peft asks transformers by a name that will be gone in its version 6.
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        return peft.get_peft_model(model, config)


def count_parameters(config: Any, settings: TrainSettings) -> int:
    """The parameters of a model of this configuration, without making room for them."""
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(
            config, trust_remote_code=settings.trust_remote_code
        )
    return int(model.num_parameters())


def export(
    model: Any, tokenizer: Any, out: Path, dtype: torch.dtype | None, end: int | None, merge: bool
) -> None:
    """Write the student to `out`, in the dtype that it was stored in.

    `end` is the token that ends its turns: generation stops there. LoRA adapters are exported as
    such, or merged, with the adapter in `out/adapter`.
    """
    adapter = hasattr(model, "peft_config")
    if adapter and merge:
        model.save_pretrained(out / "adapter")
        model = model.merge_and_unload()
    if not adapter or merge:
        stop_at(model.generation_config, end)
        if dtype is not None:
            model = model.to(dtype)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def stop_at(generation: Any, end: int | None) -> None:
    """Let generation end at the token `end`, too."""
    own = generation.eos_token_id
    ids = [i for i in (own if isinstance(own, list) else [own]) if i is not None]
    if end is not None and end not in ids:
        generation.eos_token_id = [*ids, end] if ids else end
