"""Generation for one batch: prefill what no earlier prompt had, then decode until rows end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from steper.lm.hf_batch import BatchRow
from steper.lm.hf_kv import BatchKV, length_of, shape_like
from steper.lm.prefix_cache import PrefixCache

Choose = Callable[[Sequence[BatchRow], Any], list[int]]
"""Rows and their scores (B, V) → the next token of each."""


class Generator:
    """Runs a model whose prompts can share keys and values (`hf_kv.why_not`)."""

    def __init__(self, model: Any, cache_bytes: int, prefill_tokens: int) -> None:
        """`cache_bytes`: room for earlier prompts; `prefill_tokens`: most tokens, padding
        included, of a forward pass over prompts."""
        self._model = model
        self.prefixes = PrefixCache(cache_bytes)
        self._prefill_tokens = prefill_tokens
        with torch.inference_mode():
            self._like = shape_like(model)

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def generate(
        self,
        rows: Sequence[BatchRow],
        choose: Choose,
        extend: Callable[[BatchRow, int], None],
    ) -> None:
        """Generate for all rows until each is `done`; `extend` takes a row's next token in."""
        started: list[tuple[BatchRow, list[Any]]] = []
        for group in self._groups(rows):
            pieces, scores = self._prefill(group)
            for row, kept, token in zip(group, pieces, choose(group, scores), strict=True):
                extend(row, token)
                if not row.done:
                    started.append((row, kept))
        if started:
            self._decode(started, choose, extend)

    def _groups(self, rows: Sequence[BatchRow]) -> list[list[BatchRow]]:
        """Rows of like numbers of new tokens together, within the limit of tokens."""
        new = {row: len(row.prompt_ids) - length_of(self._known(row)) for row in rows}
        groups: list[list[BatchRow]] = []
        for row in sorted((row for row in rows if not row.done), key=lambda row: new[row]):
            if groups and (len(groups[-1]) + 1) * new[row] <= self._prefill_tokens:
                groups[-1].append(row)
            else:
                groups.append([row])
        return groups

    def _known(self, row: BatchRow) -> list[Any]:
        return self.prefixes.match(row.prompt_ids)

    def _prefill(self, rows: Sequence[BatchRow]) -> tuple[list[list[Any]], Any]:
        """Of each row all keys and values in pieces, and the scores (B, V) of its next token.

        Columns: known tokens, put at the right, then new ones, put at the right.
        """
        known = [self._known(row) for row in rows]
        past = [length_of(pieces) for pieces in known]
        new = [row.prompt_ids[n:] for row, n in zip(rows, past, strict=True)]
        width, left = max(map(len, new)), max(past)
        batch = BatchKV(known, self._like, width)
        ids = torch.zeros((len(rows), width), dtype=torch.long)
        positions = torch.zeros_like(ids)
        mask = torch.zeros((len(rows), left + width), dtype=torch.long)
        for n, row_ids in enumerate(new):
            at = width - len(row_ids)
            ids[n, at:] = torch.tensor(row_ids)
            positions[n, at:] = torch.arange(past[n], past[n] + len(row_ids))
            mask[n, left - past[n] : left] = 1
            mask[n, left + at :] = 1
        scores = self._forward(batch, ids, positions, mask)
        for n, row in enumerate(rows):
            piece = batch.buffer[:, n, :, left + width - len(new[n]) : left + width]
            known[n].append(piece)
            self.prefixes.add(row.prompt_ids, piece)
        return known, scores

    def _decode(
        self,
        started: Sequence[tuple[BatchRow, list[Any]]],
        choose: Choose,
        extend: Callable[[BatchRow, int], None],
    ) -> None:
        """One token at a time for all rows; those that ended leave the batch."""
        rows = [row for row, _ in started]
        room = min(max(row.limit for row in rows), 64)
        batch = BatchKV([pieces for _, pieces in started], self._like, room)
        width = batch.columns
        while rows:
            columns = batch.columns + 1
            ids = torch.tensor([[row.written[-1]] for row in rows])
            first = torch.tensor([[width - len(row.prompt_ids)] for row in rows])
            positions = columns - 1 - first
            mask = (torch.arange(columns) >= first).long()
            scores = self._forward(batch, ids, positions, mask)
            for row, token in zip(list(rows), choose(rows, scores), strict=True):
                extend(row, token)
            for n in range(len(rows) - 1, -1, -1):
                if rows[n].done:
                    batch.drop(n)
                    rows[n] = rows[-1]
                    rows.pop()

    def _forward(self, batch: BatchKV, ids: Any, positions: Any, mask: Any) -> Any:
        """Scores (B, V), float32, after the last column of `ids` (B, T)."""
        device = self._model.device
        logits = self._model(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            position_ids=positions.to(device),
            past_key_values=batch.cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits
        return logits[:, -1].float()
