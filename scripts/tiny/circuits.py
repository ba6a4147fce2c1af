"""A head start for look-ups: some attention heads begin as the parts of a look-up circuit.

What a small model learns last is to bind a fact to its subject: it takes several heads at once,
none of which helps alone. Here they start in place, everything else at random, and training
changes all of it:

- layer 1, head 0 looks at the token before, head 1 at the latest entity name;
- layer 2, head 0 looks at the latest passage title;
- layer 3, head 0 looks for tokens whose title is the query's latest name, and copies them.

Three embedding dimensions start as flags (constant, entity name, title colon), which serve as
queries and keys; the last is written by layer 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

CONSTANT, NAME, COLON, TITLE = range(4)
FLAGS = 4
CODE = 16
RESERVED = FLAGS + 2 * CODE
"""Dimensions that only the circuit writes: flags, the latest name's code, the latest title's."""
MATCHING = 4.0
"""How sharply the third layer compares codes."""
FLAG_SIZE = 3.0
"""Flags in units of the embedding's standard deviation."""


@dataclass(frozen=True)
class _Head:
    """The weights of one head, to be written row by row."""

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    o: torch.Tensor


def _head(model: LlamaForCausalLM, layer: int, head: int) -> _Head:
    attention, size = model.model.layers[layer].self_attn, model.config.head_dim
    rows = slice(head * size, (head + 1) * size)
    return _Head(
        attention.q_proj.weight[rows],
        attention.k_proj.weight[rows],
        attention.v_proj.weight[rows],
        attention.o_proj.weight[:, rows],
    )


def _orthogonal(rows: int, columns: int) -> torch.Tensor:
    """Orthonormal rows that leave the reserved dimensions alone."""
    free = torch.nn.init.orthogonal_(torch.empty(rows, columns - RESERVED))
    return torch.cat([torch.zeros(rows, RESERVED), free], 1)


def _frequencies(model: LlamaForCausalLM) -> torch.Tensor:
    size = model.config.head_dim
    theta = float(model.config.rope_parameters["rope_theta"])
    return theta ** (-torch.arange(0, size, 2) / size)


def _look(
    head: _Head, turns: torch.Tensor, key: int, first: int, last: int, back: int, strength: float
) -> None:
    """Attend to keys that carry the flag `key`, most at distance `back`, by pairs first..last."""
    half = len(turns)
    scale = strength**0.5
    for pair in range(first, last):
        angle = back * turns[pair]
        head.q[pair, CONSTANT] = scale
        head.k[pair, key] = scale * torch.cos(angle)
        head.k[pair + half, key] = scale * torch.sin(angle)


class Pins:
    """Parts of weights that are put back after every step while the rest catches up."""

    def __init__(self) -> None:
        self._kept: list[tuple[torch.Tensor, torch.Tensor]] = []

    def add(self, *parts: torch.Tensor) -> None:
        """Keep views of parameters as they are now."""
        self._kept += [(part, part.detach().clone()) for part in parts]

    @torch.no_grad()
    def restore(self) -> None:
        """Put everything back."""
        for part, value in self._kept:
            part.copy_(value)


@torch.no_grad()
def install(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, std: float) -> Pins:
    """Write the circuit into a fresh model whose embeddings have the standard deviation `std`."""
    embedding = model.model.embed_tokens.weight
    size, width = model.config.head_dim, model.config.hidden_size
    half = size // 2
    embedding[:, :RESERVED] = 0
    embedding[:, CONSTANT] = FLAG_SIZE * std
    added = [i for t, i in tokenizer.get_added_vocab().items() if not t.startswith("<|")]
    embedding[added, NAME] = FLAG_SIZE * std
    embedding[tokenizer.convert_tokens_to_ids(":Ġ"), COLON] = FLAG_SIZE * std
    pins = Pins()
    for layer in model.model.layers:
        writers = (layer.self_attn.o_proj.weight, layer.mlp.down_proj.weight)
        for weight in writers:
            weight[:RESERVED] = 0
            pins.add(weight[:RESERVED])
        for norm in (layer.input_layernorm, layer.post_attention_layernorm):
            pins.add(norm.weight[:RESERVED])
    turns = _frequencies(model)
    code = _orthogonal(size, width)
    for layer, number in ((0, 0), (0, 1), (1, 0), (2, 0)):
        head = _head(model, layer, number)
        for weight in (head.q, head.k, head.v, head.o):
            weight.mul_(0.05)
    flag = FLAG_SIZE**2 / size**0.5
    before = _head(model, 0, 0)
    _look(before, turns, CONSTANT, 0, 4, 1, 30 / flag)
    before.v.copy_(code)
    before.v[0] = 0
    before.v[0, COLON] = 1.0
    before.o.copy_(_orthogonal(size, width).T)
    before.o[:, 0] = 0
    before.o[TITLE, 0] = 6.0
    name = _head(model, 0, 1)
    _look(name, turns, NAME, 2, 11, 0, 6 / flag)
    name.v.copy_(code)
    name.o.zero_()
    name.o[FLAGS : FLAGS + CODE, :CODE] = 1.5 * torch.eye(CODE)
    title = _head(model, 1, 0)
    _look(title, turns, TITLE, 5, 11, 0, 10 / flag)
    title.v.copy_(code)
    title.o.zero_()
    title.o[FLAGS + CODE : RESERVED, :CODE] = 1.5 * torch.eye(CODE)
    match = _head(model, 2, 0)
    slow = [i for i in range(half) if turns[i] < 1.5e-3]
    rows = [*slow, *(i + half for i in slow)][:: len(slow) * 2 // CODE][:CODE]
    match.q.zero_()
    match.k.zero_()
    for number, row in enumerate(rows):
        match.q[row, FLAGS + number] = MATCHING
        match.k[row, FLAGS + CODE + number] = MATCHING
    match.v.copy_(code)
    match.o.copy_(code.T)
    pins.add(embedding[:, :RESERVED])
    for head in (before, name, title):
        pins.add(head.q, head.k, head.v, head.o)
    low, high = slice(slow[0], half), slice(slow[0] + half, size)
    pins.add(match.q[low], match.q[high], match.k[low], match.k[high])
    return pins
