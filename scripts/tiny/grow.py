"""Growing a small Llama into a wider and deeper one that computes (almost) the same function.

The teacher starts as the student base that can already read a passage, so that its training time
goes into reasoning over several. New dimensions start near zero, new layers as identities.
"""

from __future__ import annotations

import torch
from transformers import LlamaForCausalLM

NOISE = 0.005


@torch.no_grad()
def grow(small: LlamaForCausalLM, large: LlamaForCausalLM, sources: list[int | None]) -> None:
    """Write `small` into `large`; `sources[i]` is the small layer that layer i starts as.

    Heads have the same size in both, and `large` has at least as many and untied embeddings;
    `None` marks a new layer.
    """
    narrow, wide = small.config.hidden_size, large.config.hidden_size
    shrink = (narrow / wide) ** 0.5
    for target, source in (
        (large.model.embed_tokens.weight, small.model.embed_tokens.weight),
        (large.lm_head.weight, small.lm_head.weight),
    ):
        target.zero_()
        target[:, :narrow] = source
    _norm(large.model.norm, small.model.norm, narrow, shrink)
    for layer, index in zip(large.model.layers, sources, strict=True):
        attention, mlp = layer.self_attn, layer.mlp
        readers = {name: getattr(attention, f"{name}_proj").weight for name in ("q", "k", "v")} | {
            name: getattr(mlp, f"{name}_proj").weight for name in ("gate", "up")
        }
        for weight in readers.values():
            weight.copy_(torch.randn_like(weight) * NOISE)
        attention.o_proj.weight.zero_()
        mlp.down_proj.weight.zero_()
        if index is None:
            continue
        origin = small.model.layers[index]
        _norm(layer.input_layernorm, origin.input_layernorm, narrow, shrink)
        _norm(layer.post_attention_layernorm, origin.post_attention_layernorm, narrow, shrink)
        for name, weight in readers.items():
            module = origin.mlp if name in ("gate", "up") else origin.self_attn
            _corner(weight, getattr(module, f"{name}_proj").weight)
        _corner(attention.o_proj.weight, origin.self_attn.o_proj.weight)
        _corner(mlp.down_proj.weight, origin.mlp.down_proj.weight)
        for weight in (attention.o_proj.weight, mlp.down_proj.weight):
            weight[narrow:] = torch.randn_like(weight[narrow:]) * NOISE


def _corner(target: torch.Tensor, source: torch.Tensor) -> None:
    """The old weights stand in the first rows and columns."""
    target[: source.shape[0], : source.shape[1]] = source


def _norm(target: torch.nn.Module, source: torch.nn.Module, narrow: int, shrink: float) -> None:
    target.weight.fill_(1.0)
    target.weight[:narrow] = source.weight * shrink
