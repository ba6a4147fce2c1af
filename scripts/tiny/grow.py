"""Growing a small Llama into a wider and deeper one that computes (almost) the same function.

The teacher starts as the student base that can already read a passage, so that its training time
goes into reasoning over several. New dimensions start near zero, new layers as identities.
"""

from __future__ import annotations

import torch
from transformers import LlamaForCausalLM

NOISE = 0.005


def _fresh(like: torch.Tensor, scale: float = NOISE) -> torch.Tensor:
    return torch.randn_like(like) * scale


def _rope_rows(heads: int, old: int, new: int) -> torch.Tensor:
    """Row of the wide head that turns at the same frequency as each row of the narrow one."""
    ratio, half = new // old, old // 2
    rows = []
    for head in range(heads):
        base = head * new
        rows += [base + ratio * i for i in range(half)]
        rows += [base + ratio * i + new // 2 for i in range(half)]
    return torch.tensor(rows)


def _plain_rows(heads: int, old: int, new: int) -> torch.Tensor:
    return torch.tensor([head * new + i for head in range(heads) for i in range(old)])


@torch.no_grad()
def grow(small: LlamaForCausalLM, large: LlamaForCausalLM, sources: list[int | None]) -> None:
    """Write `small` into `large`; `sources[i]` is the small layer that layer i starts as.

    Both have the same number of heads; `None` marks a new layer. `large` is untied.
    """
    narrow, wide = small.config.hidden_size, large.config.hidden_size
    heads = small.config.num_attention_heads
    shrink = (narrow / wide) ** 0.5
    for target, source in (
        (large.model.embed_tokens.weight, small.model.embed_tokens.weight),
        (large.lm_head.weight, small.lm_head.weight),
    ):
        target.zero_()
        target[:, :narrow] = source
    _norm(large.model.norm, small.model.norm, narrow, shrink)
    old, new = narrow // heads, wide // heads
    rope, plain = _rope_rows(heads, old, new), _plain_rows(heads, old, new)
    for layer, index in zip(large.model.layers, sources, strict=True):
        attention, mlp = layer.self_attn, layer.mlp
        for module in (attention.q_proj, attention.k_proj, attention.v_proj, mlp.gate_proj):
            module.weight.copy_(_fresh(module.weight))
        mlp.up_proj.weight.copy_(_fresh(mlp.up_proj.weight))
        attention.o_proj.weight.zero_()
        mlp.down_proj.weight.zero_()
        if index is None:
            continue
        origin = small.model.layers[index]
        _norm(layer.input_layernorm, origin.input_layernorm, narrow, shrink)
        _norm(layer.post_attention_layernorm, origin.post_attention_layernorm, narrow, shrink)
        theirs = origin.self_attn
        scale = (new / old) ** 0.5  # undoes the smaller softmax scale of the wider head
        _rows(attention.q_proj.weight, theirs.q_proj.weight * scale, rope)
        _rows(attention.k_proj.weight, theirs.k_proj.weight, rope)
        _rows(attention.v_proj.weight, theirs.v_proj.weight, plain)
        attention.o_proj.weight[:narrow, plain] = theirs.o_proj.weight
        units = origin.mlp.gate_proj.out_features
        mlp.gate_proj.weight[:units, :narrow] = origin.mlp.gate_proj.weight
        mlp.up_proj.weight[:units, :narrow] = origin.mlp.up_proj.weight
        mlp.down_proj.weight[:narrow, :units] = origin.mlp.down_proj.weight
        attention.o_proj.weight[narrow:] = _fresh(attention.o_proj.weight[narrow:])
        mlp.down_proj.weight[narrow:] = _fresh(mlp.down_proj.weight[narrow:])


def _rows(target: torch.Tensor, source: torch.Tensor, rows: torch.Tensor) -> None:
    """Old rows at `rows`; they read the old dimensions as before and the new ones a little."""
    target[rows, : source.shape[1]] = source


def _norm(target: torch.nn.Module, source: torch.nn.Module, narrow: int, shrink: float) -> None:
    target.weight.fill_(1.0)
    target.weight[:narrow] = source.weight * shrink
