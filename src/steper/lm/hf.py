"""A local transformers causal LM of any architecture, run in batches by one worker thread."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from steper.errors import ModelError
from steper.lm.base import Request
from steper.lm.futures import settle
from steper.lm.hf_batch import BatchRow, RowEnds, Sampler, pick_batch, see_all
from steper.lm.hf_load import SMALL_PARAMETERS, load
from steper.lm.hf_logprobs import RowLogprobs
from steper.lm.local_text import LocalText
from steper.lm.model_settings import GenerationSettings, HFSettings
from steper.lm.open import How
from steper.lm.worker_model import WorkerModel
from steper.prompt.segments import Form
from steper.text import brief

if TYPE_CHECKING:
    from steper.lm.hf_generate import Generator

log = logging.getLogger(__name__)

GATHER_SECONDS = 0.003
"""How long an idle worker lets requests arrive before it starts a batch with what is there."""


class HFModel(WorkerModel):
    """Greedy or sampled completions of the model in a folder or on the Hugging Face hub.

    A batch holds the oldest waiting request and those nearest to it in length, padded on the left;
    the worker never waits for a batch to fill. Each future is settled the moment its row ends.
    A completion that would pass the context window ends there, with finish "length"; a prompt that
    leaves no room for one token fails with ModelError.

    Log-probabilities are exact, of the raw scores, for any token of the vocabulary.

    Chat prompts go through the tokenizer's chat template; where the last message is the
    assistant's, the model continues it. Plain prompts are tokenized as they are, with the special
    tokens that the tokenizer adds (BOS).
    """

    def __init__(
        self,
        name: str,
        *,
        generation: GenerationSettings | None = None,
        settings: HFSettings | None = None,
    ) -> None:
        """Load the model. Raises ModelError, or MissingExtraError without the extra `hf`."""
        self.name = f"hf:{name}"
        self._path = name
        self._generation = generation or GenerationSettings()
        self._settings = settings or HFSettings()
        self._loaded = load(name, self._settings)
        self._text = LocalText(
            self.name,
            self._loaded.tokenizer,
            self._settings.form,
            self._settings.chat_template_kwargs,
        )
        self.form: Form = self._text.form
        self._eos = self._text.ends(self._loaded.eos)
        self._decode = self._text.decode
        self.context_window = self._loaded.window
        self._pieces: dict[int, str] = {}
        self._open: list[BatchRow] = []  # the worker's own: tokenized, not yet ended
        self._threads_before: int | None = None
        self._generator: Generator | None = None  # the worker's own
        self._begin("steper-hf")
        log.info("%s on %s in %s", self.name, self._loaded.device, self._loaded.dtype)

    def __repr__(self) -> str:
        return brief("HFModel", repr(self.name), self.form, f"on {self._loaded.device}")

    def fingerprint(self) -> dict[str, Any]:
        """Name, digest of the files, dtype, form, template and sampling; not device and batching.

        The template's arguments and the day that it is told are there where it has any. The digest
        is explained at `artifact.model_digest`.
        """
        generation = self._generation.model_dump(mode="json")
        return {
            "kind": "hf",
            "model": self._path,
            "digest": self._loaded.digest,
            "dtype": self._loaded.dtype,
            "context_window": self.context_window,
            "generation": generation if self._generation.temperature else {"temperature": 0.0},
            **self._text.fingerprint(),
        }

    def close(self) -> None:
        """Cancel what is pending, and end the worker after the forward pass under way."""
        super().close()
        if self._worker is not threading.current_thread() and self._worker.is_alive():
            log.warning("%s: a forward pass is still running", self.name)
        self._restore_threads()

    def _rows_under_way(self) -> list[BatchRow]:
        return list(self._open)

    def _set_threads(self) -> None:
        """In the worker: OpenMP keeps the number for each calling thread."""
        import torch

        small = self._loaded.model.num_parameters() < SMALL_PARAMETERS
        threads = self._settings.threads or (1 if small else None)
        if threads is not None and self._loaded.device == "cpu":
            self._threads_before = torch.get_num_threads()
            torch.set_num_threads(threads)

    def _make_generator(self) -> Generator | None:
        """The generator that reuses keys and values; None where the model does not allow it."""
        from steper.lm.hf_generate import Generator
        from steper.lm.hf_kv import why_not

        settings, loaded = self._settings, self._loaded
        prefill = settings.prefill_tokens or (1024 if loaded.device == "cpu" else 16384)
        reason = why_not(loaded.model)
        if reason is None:
            try:
                return Generator(loaded.model, settings.prefix_cache_mib << 20, prefill)
            except Exception as error:  # noqa: BLE001 - a model of a kind that we do not foresee
                reason = repr(error)
        log.info("%s: keys and values are not shared between prompts: %s", self.name, reason)
        return None

    def _restore_threads(self) -> None:
        import torch

        if self._threads_before is not None:
            torch.set_num_threads(self._threads_before)
            self._threads_before = None

    def _run(self) -> None:
        """The worker thread; whatever ends it is told to all futures."""
        try:
            self._set_threads()
            self._generator = self._make_generator()
            while self._take_in():
                if not self._open:
                    continue
                limits = self._settings.batch_size, self._settings.batch_tokens
                self._generate(pick_batch(self._open, *limits))
                self._open = [row for row in self._open if not row.future.done()]
        except BaseException as error:
            log.exception("%s: the worker ended", self.name)
            self._shut(error)

    def _take_in(self) -> bool:
        """Move the inbox to the open rows, waiting for a first one; False once closed."""
        with self._changed:
            idle = not self._open
            while not (self._inbox or self._open or self._closed):
                self._changed.wait()
        if idle:
            time.sleep(GATHER_SECONDS)
        with self._changed:
            if self._closed:
                return False
            arrived, self._inbox = self._inbox, []
            rows = [BatchRow(request, future) for request, future in arrived]
            self._open = [*self._open, *rows]
        for row in rows:
            self._tokenize(row)
        self._open = [row for row in self._open if not row.future.done()]
        return True

    def _tokenize(self, row: BatchRow) -> None:
        """Set the row's prompt ids and limit, or fail its future."""
        request, window = row.request, self.context_window
        try:
            row.prompt_ids = self._text.encode(request)
            row.forced = self._text.behind(request.target, row.prompt_ids)
            if row.forced:
                request = replace(request, max_tokens=len(row.forced))
            room = self._text.room(request, row.prompt_ids, window)
            if room < len(row.forced):
                raise ModelError(
                    f"{self.name}: the text to score, of question {request.question_id!r}, has "
                    f"{len(row.forced)} tokens, but the context window leaves {room}"
                )
            row.limit = room
            row.logprobs = self._logprobs(request)
        except Exception as error:  # noqa: BLE001 - it belongs to the request's future
            settle(row.future, error)

    def _logprobs(self, request: Request) -> RowLogprobs | None:
        """What follows the row's log-probabilities; None where the request asks for none."""
        if request.logprobs is None and not request.target:
            return None
        return RowLogprobs(self._text.asked(request.logprobs or ()), self._text.token_text)

    def _generate(self, batch: list[BatchRow]) -> None:
        """Run one batch to its end; its failure goes to its futures, out of memory is split."""
        import torch

        try:
            self._forward(batch)
        except torch.OutOfMemoryError as error:
            left = [row for row in batch if not row.future.done()]
            if self._generator:
                self._generator.prefixes.clear()
            torch.cuda.empty_cache()
            if len(left) > 1:
                log.warning("%s: out of memory with %d rows; halving", self.name, len(left))
                for half in (left[::2], left[1::2]):
                    self._generate(half)
                return
            for row in left:
                reason = f"{self.name}: out of memory on {self._loaded.device} with one request"
                settle(row.future, ModelError(f"{reason} ({str(error).splitlines()[0]})"))
        except Exception as error:  # noqa: BLE001 - it belongs to the requests' futures
            for row in batch:
                settle(row.future, error)
        if not self._closed:
            for row in batch:
                settle(row.future, RuntimeError(f"{self.name}: a row was left without an end"))

    def _forward(self, batch: list[BatchRow]) -> None:
        """Generate for all rows; RowEnds settles the futures."""
        for row in batch:
            row.written, row.done = [], row.future.done()
            if row.logprobs:
                row.logprobs.restart()
        ends = RowEnds(batch, self._decode, self._eos, lambda: self._closed, self._pieces)
        sampler = Sampler(batch, self._generation) if self._generation.temperature else None
        if self._generator is None:
            self._forward_apart(batch, ends, sampler)
            return

        def choose(rows: Sequence[BatchRow], scores: Any) -> list[int]:
            scores = see_all(rows, scores)
            tokens = sampler.sample(rows, scores) if sampler else scores.argmax(-1)
            return [int(token) for token in tokens.tolist()]

        self._generator.generate(batch, choose, ends.extend)

    def _forward_apart(self, batch: list[BatchRow], ends: RowEnds, sampler: Sampler | None) -> None:
        """Generate by transformers' own loop: ids (B, T), padded on the left."""
        import torch

        def see(ids: Any, scores: Any) -> Any:
            return see_all(batch, scores)

        width = max(len(row.prompt_ids) for row in batch)
        ids = torch.full((len(batch), width), self._loaded.pad)
        mask = torch.zeros_like(ids)
        for n, row in enumerate(batch):
            ids[n, width - len(row.prompt_ids) :] = torch.tensor(row.prompt_ids)
            mask[n, width - len(row.prompt_ids) :] = 1
        self._loaded.model.generate(
            ids.to(self._loaded.device),
            attention_mask=mask.to(self._loaded.device),
            max_new_tokens=max(row.limit for row in batch),
            do_sample=False,
            logits_processor=[see, *([sampler] if sampler else [])],
            stopping_criteria=[ends],
        )


def open_hf(rest: str, how: How) -> HFModel:
    """The transformers model of that folder or hub name."""
    return HFModel(rest, generation=how.generation, settings=how.hf)
