"""The training loop of the small models: Muon and AdamW, warm-up, plateau, linear decay."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tiny.batches import Batch, Encoder, Mixture, batches
from tiny.circuits import Pins, install
from tiny.grow import grow
from tiny.tokenizer import MAX_LENGTH

WARM_UP = 30
EMBEDDING_STD = 0.25
"""Large, so that a name's own direction outlives what all names of a type share."""
LAST_NORM = 0.4
ROPE_THETA = 1e8
"""So large that most of a head's dimensions compare contents at any distance."""
COPYING = 0.5
"""At first each attention head copies what it attends to, times this."""
HAS_AMX = torch.cpu._is_amx_tile_supported()
"""With AMX bfloat16 is 4–10 times as fast as float32 on a CPU, without it half as fast."""
SHORT = 160 if HAS_AMX else 0
"""Up to this length eager attention is the faster one."""
MARKS = {"lookup": 1, "answer": 2}
EVAL_MIX_SEED = 77
"""Seed of the held-out chunk on which look-ups are scored during training."""


@dataclass(frozen=True)
class Recipe:
    """Size and training of one model.

    `pinned`: steps for which the look-up circuit is held; `sources`: for a model that another one
    is grown into, which layer of that one each layer starts as (none: a fresh start). From step
    `answers_from` on, final answers weigh `answers` times as much as other tokens.
    """

    hidden: int
    layers: int
    heads: int
    head_dim: int
    ffn: int
    tied: bool
    mixture: Mixture
    steps: int
    decay: int
    muon_lr: float = 0.015
    adam_lr: float = 5e-3
    seed: int = 1
    pinned: int = 0
    sources: tuple[int | None, ...] = ()
    answers: float = 1.0
    answers_from: int = 0


def new_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> tuple[LlamaForCausalLM, Pins]:
    """An untrained model of the recipe's size, and the parts that stay for the first steps."""
    torch.manual_seed(recipe.seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden,
        intermediate_size=recipe.ffn,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        head_dim=recipe.head_dim,
        max_position_embeddings=MAX_LENGTH,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
        tie_word_embeddings=recipe.tied,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        attn_implementation="sdpa",
        use_cache=False,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.model.embed_tokens.weight.normal_(0, EMBEDDING_STD)
        model.model.norm.weight.fill_(LAST_NORM)
        for layer in model.model.layers:
            attention = layer.self_attn
            torch.nn.init.orthogonal_(attention.v_proj.weight)
            attention.o_proj.weight.copy_(attention.v_proj.weight.T * COPYING)
    pins = install(model, tokenizer, EMBEDDING_STD)
    if not recipe.tied:
        with torch.no_grad():
            model.lm_head.weight.copy_(model.model.embed_tokens.weight)
    return model, pins


def optimizers(model: LlamaForCausalLM, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices, AdamW for embeddings, head and norms."""
    matrices, rest = [], []
    for name, parameter in model.named_parameters():
        inside = parameter.ndim == 2 and "layers." in name
        (matrices if inside else rest).append(parameter)
    return [
        torch.optim.Muon(matrices, lr=recipe.muon_lr, weight_decay=0.01),
        torch.optim.AdamW(rest, lr=recipe.adam_lr, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def rate(step: int, recipe: Recipe) -> float:
    """Learning-rate factor: warm-up, plateau, linear decay over the last `decay` steps."""
    left = recipe.steps - step
    return min(1.0, (step + 1) / WARM_UP, max(left, 0) / max(recipe.decay, 1))


class _Stream(IterableDataset[Batch]):
    def __init__(self, mix: Mixture, encoder: Encoder, chunk: int) -> None:
        self.mix, self.encoder, self.chunk = mix, encoder, chunk

    def __iter__(self) -> Iterator[Batch]:
        torch.set_num_threads(1)
        return batches(self.mix, self.encoder, self.chunk)


@dataclass(frozen=True)
class Losses:
    """Losses of the tokens that were scored, with their marks."""

    values: torch.Tensor
    marks: torch.Tensor

    def of(self, mark: int) -> torch.Tensor:
        """Losses of the looked-up tokens (1) or of the final answers (2)."""
        return self.values[self.marks == mark]


def token_losses(model: LlamaForCausalLM, batch: Batch, keep: torch.Tensor) -> Losses:
    """Cross-entropy of the next tokens chosen by `keep` (B, T-1), the only ones with logits."""
    ids = torch.from_numpy(batch.ids)
    model.set_attn_implementation("eager" if ids.shape[1] <= SHORT else "sdpa")
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=HAS_AMX):
        hidden = model.model(input_ids=ids).last_hidden_state
        logits = model.lm_head(hidden[:, :-1][keep])
    values = functional.cross_entropy(logits.float(), ids[:, 1:][keep], reduction="none")
    return Losses(values, torch.from_numpy(batch.marks[:, 1:])[keep])


def sampled(batch: Batch, step: int) -> torch.Tensor:
    """Each token with a probability equal to its weight: far fewer logits, the same gradient."""
    weights = torch.from_numpy(batch.weights[:, 1:])
    generator = torch.Generator().manual_seed(step)
    return torch.rand(weights.shape, generator=generator) < weights


@torch.no_grad()
def held_out(model: LlamaForCausalLM, held: list[Batch]) -> dict[str, float]:
    """Mean loss and share of near-certain tokens (p > 0.5) among look-ups and answers."""
    model.eval()
    found: dict[str, list[torch.Tensor]] = {name: [] for name in MARKS}
    for batch in held:
        losses = token_losses(model, batch, torch.from_numpy(batch.marks[:, 1:] > 0))
        for name, mark in MARKS.items():
            found[name].append(losses.of(mark))
    model.train()
    scores = {}
    for name, parts in found.items():
        values = torch.cat(parts)
        scores[f"{name}_loss"] = values.mean().item()
        scores[f"{name}_right"] = (values < 0.693).float().mean().item()
    return scores


def save(
    path: Path, model: LlamaForCausalLM, opts: list[torch.optim.Optimizer], **state: object
) -> None:
    """Write a checkpoint in one piece."""
    states = [o.state_dict() for o in opts]
    torch.save(
        {"model": model.state_dict(), "optimizers": states, **state}, path.with_suffix(".tmp")
    )
    path.with_suffix(".tmp").replace(path)


def train(
    recipe: Recipe,
    tokenizer: PreTrainedTokenizerFast,
    out: Path,
    origin: LlamaForCausalLM | None = None,
    threads: int = 1,
) -> None:
    """Train until `recipe.steps`, going on from `out/last.pt` if it is there.

    A fresh run starts as `origin`, grown to the recipe's size, where that is given.
    """
    torch.set_num_threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    (model, pins), encoder = new_model(recipe, tokenizer), Encoder(tokenizer)
    opts = optimizers(model, recipe)
    step, chunk, tokens = 0, 0, 0
    if (out / "last.pt").exists():
        state = torch.load(out / "last.pt", weights_only=True)
        model.load_state_dict(state["model"])
        for opt, values in zip(opts, state["optimizers"], strict=True):
            opt.load_state_dict(values)
        step, chunk, tokens = state["step"], state["chunk"], state["tokens"]
    elif origin is not None:
        grow(origin, model, list(recipe.sources))
    (out / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1) + "\n", encoding="utf-8")
    log = Log(out / "log.jsonl", _held_out_batches(recipe.mixture, encoder), tokens)
    loader = DataLoader(
        _Stream(recipe.mixture, encoder, chunk), batch_size=None, num_workers=1, prefetch_factor=8
    )
    model.train()
    for batch in loader:
        if batch.chunk != chunk:
            chunk = batch.chunk
            save(out / "last.pt", model, opts, step=step, chunk=chunk, tokens=log.tokens)
        if step >= recipe.steps:
            break
        losses = update(model, opts, recipe, batch, step)
        if step < recipe.pinned:
            pins.restore()
        step += 1
        log.add(model, step, batch, losses)
    export(out / "final", model, tokenizer)


def update(
    model: LlamaForCausalLM,
    opts: list[torch.optim.Optimizer],
    recipe: Recipe,
    batch: Batch,
    step: int,
) -> Losses:
    """One optimizer step."""
    for opt, base in zip(opts, (recipe.muon_lr, recipe.adam_lr), strict=True):
        for group in opt.param_groups:
            group["lr"] = base * rate(step, recipe)
    losses = token_losses(model, batch, sampled(batch, step))
    weigh(losses, recipe, step).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for opt in opts:
        opt.step()
        opt.zero_grad(set_to_none=True)
    return Losses(losses.values.detach(), losses.marks)


def weigh(losses: Losses, recipe: Recipe, step: int) -> torch.Tensor:
    """The mean loss, final answers counted `answers` times."""
    more = recipe.answers if step >= recipe.answers_from else 1.0
    weights = torch.where(losses.marks == MARKS["answer"], more, 1.0)
    return (losses.values * weights).sum() / weights.sum()


class Log:
    """The course of a run, a line every 50 steps, with held-out look-ups every 200."""

    def __init__(self, path: Path, held: list[Batch], tokens: int) -> None:
        self.path, self.held, self.tokens = path, held, tokens
        self.began, self.seen, self.means = time.monotonic(), 0, []

    def add(self, model: LlamaForCausalLM, step: int, batch: Batch, losses: Losses) -> None:
        """Count one step; write a line when it is time."""
        self.tokens += batch.ids.size
        self.seen += batch.ids.size
        parts = (losses.values, *(losses.of(mark) for mark in MARKS.values()))
        self.means.append([v.mean().item() if len(v) else float("nan") for v in parts])
        if step % 25:
            return
        means = torch.tensor(self.means).nanmean(0).tolist()
        seconds = time.monotonic() - self.began
        line: dict[str, object] = {
            "step": step,
            "chunk": batch.chunk,
            "tokens": self.tokens,
            "seconds": round(seconds),
            "tokens_per_second": round(self.seen / seconds),
            **{k: round(v, 4) for k, v in zip(("loss", *MARKS), means, strict=True)},
            "chunk_sha256": batch.sha[:16],
        }
        if step % 200 == 0:
            line |= {k: round(v, 4) for k, v in held_out(model, self.held).items()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self.means = []


def export(path: Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    """Write the model in plain transformers format, bf16."""
    model.config.use_cache = True
    copy = LlamaForCausalLM(model.config)
    copy.load_state_dict(model.state_dict())
    copy.bfloat16().save_pretrained(path)
    tokenizer.save_pretrained(path)
    model.config.use_cache = False


def _held_out_batches(mix: Mixture, encoder: Encoder) -> list[Batch]:
    held = replace(mix, seed=EVAL_MIX_SEED, pool=60, dense_chunks=0)
    found = []
    for batch in batches(held, encoder, 0):
        if batch.chunk:
            return found
        found.append(batch)
    return found
