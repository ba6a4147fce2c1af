"""One batch of generations: which requests share it, when each row ends, how a token is sampled."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from random import Random
from typing import Any

from steper.lm.base import Completion, Request, truncate_at_stop
from steper.lm.futures import settle
from steper.lm.hf_logprobs import RowLogprobs
from steper.lm.model_settings import GenerationSettings
from steper.lm.thinking import opens_thoughts, spoken
from steper.records import Finish, Usage

CONTEXT_TOKENS = 4
"""Prompt tokens decoded with the completion, so that a leading space survives (SentencePiece)."""

MARK_TOKENS = 16
"""Prompt tokens that hold `<think>` and a line break, were each character a token."""


@dataclass(eq=False)
class BatchRow:
    """A request on its way through the model; `limit` is the most tokens it may write.

    `begun`: whether its prompt opened a block of thoughts; None until somebody looked. `logprobs`:
    of the tokens written, where the request asked for them. `forced`: the tokens that it is made to
    write, where its text is given.
    """

    request: Request
    future: Future[Completion]
    prompt_ids: list[int] = field(default_factory=list)
    limit: int = 0
    written: list[int] = field(default_factory=list)
    done: bool = False
    begun: bool | None = None
    logprobs: RowLogprobs | None = None
    forced: list[int] = field(default_factory=list)

    @property
    def length(self) -> int:
        """Most tokens that the row can come to occupy."""
        return len(self.prompt_ids) + self.limit


def pick_batch(pending: Sequence[BatchRow], batch_size: int, batch_tokens: int) -> list[BatchRow]:
    """The oldest pending row and those nearest to it in prompt length, within both limits.

    `pending` is in order of arrival; so no row starves, and little is padded.
    """
    oldest = pending[0]
    centre = len(oldest.prompt_ids)
    near = sorted(pending, key=lambda row: (row is not oldest, abs(len(row.prompt_ids) - centre)))
    batch: list[BatchRow] = []
    longest_prompt = longest_limit = 0
    for row in near[:batch_size]:
        longest_prompt = max(longest_prompt, len(row.prompt_ids))
        longest_limit = max(longest_limit, row.limit)
        if batch and (len(batch) + 1) * (longest_prompt + longest_limit) > batch_tokens:
            break
        batch.append(row)
    return batch


def see_all(rows: Sequence[BatchRow], scores: Any) -> Any:
    """Show raw scores (B, V) of the rows' next tokens to those that ask for log-probabilities.

    Returns the scores; of rows whose text is given, the next token of it alone has a finite one.
    """
    for n, row in enumerate(rows):
        if row.logprobs and not row.done:
            row.logprobs.see(scores[n])
    forced = [n for n, row in enumerate(rows) if row.forced and not row.done]
    if forced:
        scores = scores.clone()
        scores[forced] = float("-inf")
        scores[forced, [rows[n].forced[len(rows[n].written)] for n in forced]] = 0.0
    return scores


class RowEnds:
    """A stopping criterion that ends rows one by one and settles each the moment it ends.

    A row ends at an end-of-sequence token, at the first of its own stop strings *in what is said*
    (neither in the prompt nor in thoughts), at its token limit, when its future is cancelled, and
    when `closed()`. (transformers' `stop_strings` are one set for the whole batch, also match
    across the end of the prompt, and index the whole vocabulary for each new set.)
    """

    def __init__(
        self,
        rows: Sequence[BatchRow],
        decode: Callable[[list[int]], str],
        eos: frozenset[int],
        closed: Callable[[], bool],
        pieces: dict[int, str],
    ) -> None:
        """`pieces` is the caller's cache of each token's text by itself; it is filled here."""
        self._rows = rows
        self._decode = decode
        self._pieces = pieces
        self._eos = eos
        self._closed = closed

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        """`input_ids` (B, T) with the new tokens in the last column → rows at an end, (B,) bool."""
        import torch

        for row, token in zip(self._rows, input_ids[:, -1].tolist(), strict=True):
            self.extend(row, token)
        return torch.tensor([row.done for row in self._rows], device=input_ids.device)

    def extend(self, row: BatchRow, token: int) -> None:
        """Take in a row's next token, and settle its future if it ends there."""
        if not row.done:
            self._write(row, token)
            row.done = row.done or self._closed() or row.future.cancelled()

    def _write(self, row: BatchRow, token: int) -> None:
        row.written.append(token)
        if row.logprobs:
            row.logprobs.take(token)
        ended = token in self._eos
        if ended or len(row.written) >= row.limit or self._may_have_stopped(row):
            asked, text = row.request, self._text(row, ended)
            found = spoken(text, asked.stop, self._begun(row), asked.may_lead_up)
            if not (ended or found.stopped or len(row.written) >= row.limit):
                return
            row.done = True
            usage = Usage(prompt_tokens=len(row.prompt_ids), completion_tokens=len(row.written))
            logprobs = row.logprobs.written if row.logprobs else ()
            finish: Finish = "stop" if ended or row.forced else "length"
            settle(row.future, found.completion(usage, finish, token_logprobs=logprobs))

    def _may_have_stopped(self, row: BatchRow) -> bool:
        """Whether the last tokens hold a stop string: a token has at least one byte of text.

        Most tokens are ruled out without decoding: a stop string ends with a token that holds its
        last character, unless the token is part of a character or its space is lost when it is
        decoded by itself (SentencePiece).
        """
        stop = row.request.stop
        if not stop:
            return False
        token = row.written[-1]
        piece = self._pieces.get(token)
        if piece is None:
            piece = self._pieces[token] = self._decode([token])
        if (
            piece
            and "\ufffd" not in piece
            and not any(s and (s[-1] == " " or s[-1] in piece) for s in stop)
        ):
            return False
        tail = row.written[-(max(len(s.encode()) for s in stop) + CONTEXT_TOKENS) :]
        return truncate_at_stop(self._decode(tail), stop)[1]

    def _begun(self, row: BatchRow) -> bool:
        """Whether the prompt opened a block of thoughts."""
        if row.begun is None:
            row.begun = opens_thoughts(self._decode(row.prompt_ids[-MARK_TOKENS:]))
        return row.begun

    def _text(self, row: BatchRow, ended: bool) -> str:
        before = row.prompt_ids[-CONTEXT_TOKENS:]
        written = row.written[:-1] if ended else row.written
        prefix, whole = self._decode(before), self._decode(before + written)
        return whole[len(prefix) :] if whole.startswith(prefix) else self._decode(written)


class Sampler:
    """A logits processor that samples each row with its own random numbers.

    The numbers of a row come from (seed, request) alone: what a request samples depends neither on
    the batch it fell into nor on when it was asked (but for float rounding, which differs between
    batch shapes and can tip a token whose cumulative probability lies within about 1e-6 of the
    number drawn). The chosen token alone keeps a finite score, so greedy search takes it.
    """

    def __init__(self, rows: Sequence[BatchRow], settings: GenerationSettings) -> None:
        self._rows = rows
        self._settings = settings
        self._numbers = {row: Random(_sampling_key(row.request, settings.seed)) for row in rows}

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Scores (B, V) of all rows → the same shape, 0 at the sampled token and -inf elsewhere."""
        import torch

        chosen = self.sample(self._rows, scores)[:, None]
        return torch.full_like(scores, float("-inf")).scatter(1, chosen, 0.0)

    def sample(self, rows: Sequence[BatchRow], scores: Any) -> Any:
        """Scores (B, V) of some of the rows → a token of each, (B,)."""
        import torch

        drawn = [[self._numbers[row].random()] for row in rows]
        wide = scores.cpu().double() if scores.device.type == "mps" else scores.double()
        probs = torch.softmax(wide / self._settings.temperature, dim=-1)
        if self._settings.top_p < 1:
            probs = keep_top_p(probs, self._settings.top_p)
        # Inverse CDF in vocabulary order: sorted order would flip with rounding.
        cumulative = probs.cumsum(-1)
        point = torch.tensor(drawn, dtype=cumulative.dtype, device=cumulative.device)
        chosen = torch.searchsorted(cumulative, point * cumulative[:, -1:], right=True)
        return chosen.clamp(max=scores.shape[-1] - 1).to(scores.device)[:, 0]


def keep_top_p(probs: Any, top_p: float) -> Any:
    """(B, V) probabilities with all but the smallest set of total ≥ `top_p` set to zero."""
    ordered, order = probs.sort(dim=-1, descending=True)
    before = ordered.cumsum(-1) - ordered
    return probs.masked_fill((before >= top_p).scatter(1, order, before >= top_p), 0.0)


def _sampling_key(request: Request, seed: int) -> bytes:
    seed = request.seed(seed)
    parts = (str(seed), request.question_id, str(request.step), request.role, request.prompt.text())
    return hashlib.sha256("\0".join(parts).encode()).digest()
