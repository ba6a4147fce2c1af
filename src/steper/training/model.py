"""The student before and after: loaded for training, exported as a plain save_pretrained folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers

from steper.errors import SettingsError, missing_extra
from steper.lm.hf_load import SMALL_PARAMETERS, multiplies_bfloat16_fast
from steper.lm.model_source import (
    ADAPTER_CONFIG,
    GENERATION_CONFIG,
    ModelSource,
    find_source,
    make_room,
    merge_adapter,
    one_line,
    quiet_peft,
)
from steper.prompt.segments import Form
from steper.training.train_settings import TrainSettings

ADAPTER = "default"
"""peft's name for the only adapter of a model."""


@dataclass(frozen=True)
class Base:
    """The model that a training begins with: a folder, hub name, GGUF file or LoRA student."""

    source: ModelSource
    settings: TrainSettings

    @classmethod
    def find(cls, name: str, settings: TrainSettings) -> Base:
        """Raises ModelError where there is none, SettingsError for an adapter over an adapter."""
        source = find_source(name)
        if source.adapter is not None and settings.lora_rank:
            raise SettingsError(
                f"{name} is a LoRA adapter, and lora_rank would lay another over it, whose base "
                "would be nowhere; merge it first (the command that trained it, with --merge)"
            )
        return cls(source, settings)

    def load(self, what: Callable[..., Any], **options: Any) -> Any:
        """What a method of the source gives; ModelError, of one line, if it cannot be loaded."""
        with one_line(self.source, "a student"):
            return what(
                revision=self.settings.revision,
                trust_remote_code=self.settings.trust_remote_code,
                **options,
            )


def load_tokenizer(base: Base, form: Form, tokens: Sequence[str] = ()) -> Any:
    """The student's tokenizer; SettingsError where examples of this form do not fit it.

    A student trained on plain text loses its chat template, so that inference prompts it alike.
    `tokens` are added to it: as plain ones, so that they stand in what the student writes.
    """
    tokenizer, name = base.load(base.source.tokenizer), base.source.name
    if form == "chat" and not getattr(tokenizer, "chat_template", None):
        raise SettingsError(
            f"the examples are chats, but the tokenizer of {name} has no chat template; build them "
            f"again for this student (steper build … --student {name}) or with --form plain"
        )
    if form == "plain":
        tokenizer.chat_template = None
    tokenizer.add_tokens([transformers.AddedToken(t, normalized=False) for t in tokens])
    return tokenizer


def uses_bfloat16(settings: TrainSettings, on_gpu: bool, parameters: int) -> bool:
    """Whether to train a model of so many parameters under bfloat16 autocast."""
    if settings.dtype != "auto":
        return settings.dtype == "bfloat16"
    if on_gpu:
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # A small model's matrices gain nothing by it, even with AMX (docs/log.md).
    return parameters >= SMALL_PARAMETERS and multiplies_bfloat16_fast()


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
    base: Base, attention: str, trees: bool, added: Sequence[int] = ()
) -> transformers.PreTrainedModel:
    """The model to train, in float32, or bfloat16 where the optimizer wants it so.

    With LoRA the frozen base is in its own dtype. `trees`: some sequence branches. `added`: the ids
    of tokens that its tokenizer was given. Raises ModelError, SettingsError or MissingExtraError.
    """
    frozen = bool(base.settings.lora_rank)
    whole = torch.bfloat16 if base.settings.optimizer == "adamw_bf16" else torch.float32
    dtype = "auto" if frozen else whole
    model = base.load(base.source.model, dtype=dtype, attn_implementation=attention)
    check_branching(model.config, trees)
    make_room(model, added)
    if frozen:
        return with_lora(model, base.settings, added)
    if base.settings.freeze_embeddings:
        freeze_embeddings(model, added)
    return model


def freeze_embeddings(model: Any, added: Sequence[int] = ()) -> None:
    """Let the embeddings of tokens, and the output's, learn nothing but the rows of `added`.

    Adam moves a parameter by its learning rate however small the gradient is; and the softmax of
    every learnt token has one for every token that the training never shows.
    """
    both = model.get_input_embeddings(), model.get_output_embeddings()
    # A tied output has the same parameter.
    found = {id(p): p for module in both if module is not None for p in module.parameters()}
    for parameter in found.values():
        if not added:
            parameter.requires_grad_(False)
            continue
        rows = torch.zeros(len(parameter), *[1] * (parameter.ndim - 1))
        rows[list(added)] = 1
        parameter.register_hook(partial(_of_rows, rows))


def _of_rows(rows: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    # Only now is it known where the model trains, and in what dtype.
    return gradient * rows.to(gradient)


def check_branching(config: Any, trees: bool) -> None:
    """SettingsError where a model would not heed an ancestor mask."""
    config = config.get_text_config()
    layers = set(getattr(config, "layer_types", None) or ["full_attention"])
    if trees and layers != {"full_attention"}:
        raise SettingsError(
            f"{config.model_type} has layers of type {', '.join(sorted(layers))}, which cannot "
            "branch inside a sequence; use --pack none"
        )


def sliding_window(config: Any) -> int | None:
    """How many tokens, itself included, a token sees in every layer; None if all before it.

    Models with `layer_types` mix layers of several kinds, see `check_branching`; others (Mistral,
    Phi-3, Starcoder2) have one window for all, which they do not lay over a mask that they are
    given.
    """
    config = config.get_text_config()
    if getattr(config, "layer_types", None):
        return None
    return getattr(config, "sliding_window", None)


def with_lora(model: Any, settings: TrainSettings, added: Sequence[int] = ()) -> Any:
    """The model with fresh LoRA adapters on all linear layers but the output.

    Of the embeddings, and of the output's where that has its own, the rows of `added` are learnt.
    """
    try:
        import peft
    except ImportError as error:
        raise missing_extra("peft", "train", error) from None
    if settings.gradient_checkpointing:
        model.enable_input_require_grads()
    rows = {name: list(added) for name in _embeddings(model)} if added else None
    config = peft.LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha or 2 * settings.lora_rank,
        lora_dropout=settings.lora_dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
        trainable_token_indices=rows,
    )
    with quiet_peft():
        adapted: Any = peft.get_peft_model(model, config)
    # Whole embeddings are the base's. To find that out, each checkpoint would look for its files.
    adapted.save_pretrained = partial(adapted.save_pretrained, save_embedding_layers=False)
    return adapted


def _embeddings(model: Any) -> list[str]:
    """The names of what embeds tokens and of what scores them; peft sees whether they are tied."""
    both = model.get_input_embeddings(), model.get_output_embeddings()
    return [name for name, module in model.named_modules() if any(module is one for one in both)]


def name_base(model: Any, base: Base) -> None:
    """Let a LoRA model's configuration say what lies under it, from wherever it is loaded."""
    path = Path(base.source.name).expanduser()
    name = str(path.resolve()) if path.exists() else base.source.name
    model.peft_config[ADAPTER].base_model_name_or_path = name


def count_parameters(config: Any, settings: TrainSettings) -> int:
    """The parameters of a model of this configuration, without making room for them.

    Raises ModelError where no model can be made of it.
    """
    name = getattr(config, "name_or_path", "") or "the student"
    with one_line(f"{name}/config.json", "a student"), torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(
            config, trust_remote_code=settings.trust_remote_code
        )
    return int(model.num_parameters())


def export(
    model: Any, tokenizer: Any, out: Path, dtype: torch.dtype | None, end: int | None, merge: bool
) -> None:
    """Write the student to `out`, in the dtype that it was stored in.

    `end` is the token that ends its turns: generation stops there. LoRA adapters are exported as
    such, with their generation settings, or merged, with the adapter in `out/adapter`.
    """
    if not hasattr(model, "peft_config"):
        stop_at(model.generation_config, end)
        write_weights(model, out, dtype)
    else:
        stop_at(model.get_base_model().generation_config, end)
        write_adapter(model, out / "adapter" if merge else out)
        if merge:
            write_weights(model.merge_and_unload(), out, dtype)
    tokenizer.save_pretrained(out)


def write_weights(model: Any, out: Path, dtype: torch.dtype | None) -> None:
    """Write a whole model, in the dtype that it was stored in (None: as it is)."""
    (model if dtype is None else model.to(dtype)).save_pretrained(out)


def restore_dtype(folder: Path, before: Any, trust_remote_code: bool) -> None:
    """Write a folder's weights anew in the dtype of the configuration `before` the training.

    Shards are gathered and written as they were trained. By one process, once DeepSpeed is let go
    of: it would share out the model that is loaded here among processes that do not load it.
    """
    dtype, code = stored_dtype(before), {"trust_remote_code": trust_remote_code}
    now = stored_dtype(transformers.AutoConfig.from_pretrained(folder, **code))
    if dtype is not None and now != dtype:
        load = transformers.AutoModelForCausalLM.from_pretrained
        write_weights(load(folder, dtype=dtype, **code), folder, dtype)


def write_adapter(model: Any, out: Path) -> None:
    """Write a LoRA model's adapter and, for those who ask it, where its texts end."""
    model.save_pretrained(out)
    (out / "README.md").unlink(missing_ok=True)  # peft's form, with nothing filled in
    model.get_base_model().generation_config.save_pretrained(out)


def merge_finished(base: Base, out: Path) -> bool:
    """Merge the adapter that a training left in `out`, as `merge` would have; False without one.

    Until the last file is removed the folder still is the adapter's: killed, it is merged again.
    """
    if not (out / ADAPTER_CONFIG).is_file():
        return False
    adapter = out / "adapter"
    adapter.mkdir(exist_ok=True)
    files = [*out.glob("adapter_*"), *out.glob("README.md")]
    for path in (*files, *out.glob(GENERATION_CONFIG)):
        shutil.copy2(path, adapter)
    config = base.load(base.source.config)
    model = merge_adapter(base.load(base.source.model, dtype="auto"), adapter)
    write_weights(model, out, stored_dtype(config))
    for path in sorted(files, key=lambda path: path.name == ADAPTER_CONFIG):
        path.unlink()
    return True


def stored_dtype(config: Any) -> torch.dtype | None:
    """The dtype that a model's files say they have; None where they do not."""
    dtype = getattr(config, "dtype", None)
    return dtype if isinstance(dtype, torch.dtype) else None


def stop_at(generation: Any, end: int | None) -> None:
    """Let generation end at the token `end`, too."""
    own = generation.eos_token_id
    ids = [i for i in (own if isinstance(own, list) else [own]) if i is not None]
    if end is not None and end not in ids:
        generation.eos_token_id = [*ids, end] if ids else end
