"""The keys and values of one batch, for forward passes of a transformers model."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from typing import Any

import torch
from transformers import Cache, DynamicCache, GenerationMixin
from transformers.cache_utils import DynamicLayer

CHUNK = 64
"""Columns by which a full batch grows."""


def length_of(pieces: Sequence[Any]) -> int:
    """How many tokens pieces (2L, H, t, D) have, one after another."""
    return sum(piece.shape[2] for piece in pieces)


class BatchKV:
    """Keys and values of up to B rows in one tensor (2L, B, H, columns, D), with free columns.

    transformers' own cache copies all of it for each new token; here a token is written in place,
    and a row that has ended gives its place to the last one.
    """

    def __init__(self, rows: Sequence[Sequence[Any]], like: Any, room: int) -> None:
        """`rows`: of each row, pieces (2L, H, t, D) one after another, put at the right; `like`:
        any such piece; `room`: how many free columns come after them."""
        lengths = [length_of(pieces) for pieces in rows]
        width = max(lengths)
        layers2, heads, _, size = like.shape
        # Zeros, not whatever was there: a masked NaN would still make its row NaN.
        self.buffer = like.new_zeros((layers2, len(rows), heads, width + room, size))
        for n, (pieces, length) in enumerate(zip(rows, lengths, strict=True)):
            at = width - length
            for piece in pieces:
                self.buffer[:, n, :, at : at + piece.shape[2]] = piece
                at += piece.shape[2]
        self.rows = len(rows)
        self.cache = Cache(layers=[_BatchLayer(self, n, width) for n in range(layers2 // 2)])

    @property
    def columns(self) -> int:
        """Columns in use."""
        return int(self.cache.get_seq_length())

    def reserve(self, columns: int) -> None:
        """Make sure that there are so many columns."""
        missing = columns - self.buffer.shape[3]
        if missing > 0:
            layers2, rows, heads, _, size = self.buffer.shape
            more = self.buffer.new_zeros((layers2, rows, heads, missing + CHUNK, size))
            self.buffer = torch.cat([self.buffer, more], dim=3)

    def drop(self, row: int) -> None:
        """Take a row out; the last one moves to its place."""
        self.rows -= 1
        if row != self.rows:
            self.buffer[:, row] = self.buffer[:, self.rows]


class _BatchLayer(DynamicLayer):  # type: ignore[misc]
    """One layer's view of a BatchKV."""

    def __init__(self, batch: BatchKV, index: int, width: int) -> None:
        super().__init__()
        self._batch, self._index = batch, index
        self._show(width)
        self.dtype, self.device = self.keys.dtype, self.keys.device
        self.is_initialized = True

    def update(
        self, key_states: Any, value_states: Any, *args: Any, **kwargs: Any
    ) -> tuple[Any, Any]:
        """Write new columns; all keys and values (B, H, columns, D) so far."""
        start = self.keys.shape[-2]
        end = start + key_states.shape[-2]
        self._batch.reserve(end)
        self._show(end)
        self.keys[:, :, start:] = key_states
        self.values[:, :, start:] = value_states
        return self.keys, self.values

    def _show(self, columns: int) -> None:
        buffer, rows = self._batch.buffer, self._batch.rows
        self.keys = buffer[2 * self._index, :rows, :, :columns]
        self.values = buffer[2 * self._index + 1, :rows, :, :columns]


def why_not(model: Any) -> str | None:
    """Why prompts cannot share this model's keys and values; None if they can.

    They can where a token's keys and values depend on the tokens before it alone, and lie in one
    plain tensor a layer: no window or state that forgets, no rotary embedding that changes with
    the length of the text, no inputs that the model's class makes for each call.
    """
    config = model.config.get_text_config()
    if config.is_encoder_decoder or not _prepares_plainly(model):
        return "its class prepares its inputs in a way of its own"
    layers = DynamicCache(config=model.config).layers
    if any(getattr(layer, "is_sliding", False) for layer in layers) or _window(config):
        return "its attention has a sliding window"
    if not layers or any(type(layer) is not DynamicLayer for layer in layers):
        return "it does not keep plain keys and values"
    if _rotary_kinds(config) - PLAIN_ROTARY:
        return "its rotary embedding is not a fixed one"
    if len({parameter.device for parameter in model.parameters()}) > 1:
        return "it lies on several devices"
    return None


PLAIN_ROTARY = {"default", "linear", "llama3", "yarn"}
"""Rotary embeddings in which a token's rotation depends on its position alone."""


def _prepares_plainly(model: Any) -> bool:
    known = signature(type(model).forward).parameters
    return type(
        model
    ).prepare_inputs_for_generation is GenerationMixin.prepare_inputs_for_generation and {
        "past_key_values",
        "position_ids",
        "attention_mask",
        "logits_to_keep",
    } <= set(known)


def _window(config: Any) -> bool:
    return bool(
        getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    )


def _rotary_kinds(config: Any) -> set[str]:
    """The kinds of rotary embedding that a configuration names, one or one a layer type."""
    rope = getattr(config, "rope_parameters", None) or {}
    nested = [value for value in rope.values() if isinstance(value, dict)]
    kinds = {str(part.get("rope_type", "default")) for part in nested or [rope]}
    return kinds | {"mrope" for part in nested or [rope] if "mrope_section" in part}


def shape_like(model: Any) -> Any:
    """An empty piece (2L, H, 0, D) of the model's keys and values, by asking it for one token.

    Raises ValueError if its layers differ in shape.
    """
    cache = DynamicCache(config=model.config)
    ids = torch.zeros((1, 1), dtype=torch.long, device=model.device)
    model(input_ids=ids, past_key_values=cache, use_cache=True)
    parts = [part for layer in cache.layers for part in (layer.keys[0], layer.values[0])]
    if len({(part.shape, part.dtype) for part in parts}) > 1:
        raise ValueError("the layers' keys and values differ in shape")
    return torch.stack(parts)[:, :, :0]
