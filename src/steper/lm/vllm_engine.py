"""A local model run by vLLM in this process, without a server.

Written against vLLM's documented interface (`LLMEngine`: `add_request`, `step`, `abort_request`;
`EngineArgs`, `SamplingParams`, `RequestOutput`), which its `LLM` class is made of. `LLM.generate`
itself would hand back a batch only when its slowest text is finished; stepping the engine gives
each text as it ends, and takes new prompts in between. Not yet run with vLLM itself: the tests use
a double of that interface.

vLLM is given our token ids, and no stop strings: what it writes is read token by token as with
`hf:`, so that stop strings count in what is said alone, not in thoughts.
"""

from __future__ import annotations

import logging
from typing import Any

from steper.errors import ModelError, missing_extra
from steper.lm.futures import settle
from steper.lm.hf_batch import BatchRow, RowEnds
from steper.lm.hf_load import window
from steper.lm.hf_logprobs import ToldLogprobs
from steper.lm.local_text import LocalText
from steper.lm.model_settings import GenerationSettings, VLLMSettings
from steper.lm.model_source import ModelSource, find_source, one_line
from steper.lm.open import How
from steper.lm.worker_model import WorkerModel
from steper.text import brief

log = logging.getLogger(__name__)


class VLLMModel(WorkerModel):
    """Greedy or sampled completions of a model folder or hub name, by vLLM's offline engine.

    A request goes to the engine as soon as it comes; how many run at once is the engine's affair.
    Prefix caching is on. A completion that would pass the context window ends there, with finish
    "length"; a prompt that leaves no room for one token fails with ModelError.

    Log-probabilities are of the raw scores (vLLM's default); of tokens that were asked for those
    are given that are among the `top_logprobs` likeliest in their place.
    """

    def __init__(
        self,
        name: str,
        *,
        generation: GenerationSettings | None = None,
        settings: VLLMSettings | None = None,
    ) -> None:
        """Load the model. Raises ModelError, or MissingExtraError without vLLM."""
        try:
            import vllm
        except ImportError as error:
            raise missing_extra(error.name or "vllm", "vllm", error) from None
        self.name = f"vllm:{name}"
        self._path = name
        self._generation = generation or GenerationSettings()
        self._settings = settings or VLLMSettings()
        source = _whole(find_source(name))
        hub = {
            "revision": self._settings.revision,
            "trust_remote_code": self._settings.trust_remote_code,
        }
        with one_line(source, "a causal LM"):
            config, tokenizer = source.config(**hub), source.tokenizer(**hub)
        self._text = LocalText(
            self.name, tokenizer, self._settings.form, self._settings.chat_template_kwargs
        )
        self.form = self._text.form
        self._ends = self._text.ends(_eos(source, tokenizer, hub))
        self.context_window = self._settings.context_window or window(config, tokenizer)
        arguments = {**self._arguments(source.weights), **hub, **self._settings.engine}
        with one_line(source, "a model of vLLM"):
            self._engine = vllm.LLMEngine.from_engine_args(vllm.EngineArgs(**arguments))
        self._dtype = str(self._engine.model_config.dtype).removeprefix("torch.")
        self._digest = source.digest(self._settings.revision)
        self._rows: dict[str, BatchRow] = {}  # the worker's own, by the engine's request id
        self._counted = 0
        self._row_ends = RowEnds((), self._text.decode, self._ends, lambda: self._closed, {})
        self._begin("steper-vllm")

    def __repr__(self) -> str:
        return brief("VLLMModel", repr(self.name), self.form)

    def fingerprint(self) -> dict[str, Any]:
        """Name, digest of the files, dtype in force, form, template, sampling; not the hardware."""
        generation = self._generation.model_dump(mode="json")
        return {
            "kind": "vllm",
            "model": self._path,
            "digest": self._digest,
            "dtype": self._dtype,
            "context_window": self.context_window,
            "generation": {"temperature": 0.0} if self.greedy else generation,
            **({"engine": self._settings.engine} if self._settings.engine else {}),
            **self._text.fingerprint(),
        }

    def close(self) -> None:
        """Cancel what is pending, and let go of the engine after the step under way."""
        super().close()
        if not self._worker.is_alive():
            self.__dict__.pop("_engine", None)  # its memory goes with it

    def _rows_under_way(self) -> list[BatchRow]:
        return list(self._rows.values())

    def _arguments(self, weights: str) -> dict[str, Any]:
        """vLLM's engine arguments."""
        settings = self._settings
        return {
            "model": weights,
            "dtype": settings.dtype,
            "max_model_len": self.context_window,
            "tensor_parallel_size": settings.tensor_parallel_size,
            "gpu_memory_utilization": settings.gpu_memory_utilization,
            "enable_prefix_caching": True,
            "max_logprobs": settings.top_logprobs,
            # Only our settings decide how tokens are chosen, not the model's own defaults.
            "generation_config": "vllm",
            "seed": self._generation.seed,
            "disable_log_stats": True,
        }

    def _parameters(self, row: BatchRow) -> Any:
        """vLLM's sampling parameters of a request."""
        import vllm
        from vllm.sampling_params import RequestOutputKind

        generation, asked = self._generation, row.request
        sampled = {} if self.greedy else {"seed": asked.seed(generation.seed)}
        return vllm.SamplingParams(
            temperature=generation.temperature,
            top_p=1.0 if self.greedy else generation.top_p,
            max_tokens=row.limit,
            stop_token_ids=sorted(self._ends),
            logprobs=self._settings.top_logprobs if row.logprobs else None,
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
            **sampled,
        )

    def _run(self) -> None:
        """The worker thread; whatever ends it is told to all futures."""
        try:
            while self._take_in():
                for output in self._engine.step():
                    self._read(output)
                self._drop_cancelled()
        except BaseException as error:
            log.exception("%s: the worker ended", self.name)
            self._shut(ModelError(f"{self.name}: vLLM ended: {type(error).__name__}: {error}"))

    def _take_in(self) -> bool:
        """Give the engine what has come, waiting where it has nothing to do; False once closed."""
        with self._changed:
            while not (self._inbox or self._rows or self._closed):
                self._changed.wait()
            if self._closed:
                return False
            arrived, self._inbox = self._inbox, []
        for request, future in arrived:
            row = BatchRow(request, future)
            try:
                self._add(row)
            except Exception as error:  # noqa: BLE001 - it belongs to the request's future
                settle(future, error)
        return True

    def _add(self, row: BatchRow) -> None:
        """Give the engine one request. Raises ModelError where it cannot be asked."""
        request = row.request
        if request.target:
            raise ModelError(f"{self.name} cannot score a given text; load the model with hf:")
        row.prompt_ids = self._text.encode(request)
        row.limit = self._text.room(request, row.prompt_ids, self.context_window)
        if request.logprobs is not None:
            row.logprobs = ToldLogprobs(self._text.asked(request.logprobs), self._text.token_text)
        key = str(self._counted)
        self._counted += 1
        self._engine.add_request(key, {"prompt_token_ids": row.prompt_ids}, self._parameters(row))
        self._rows[key] = row

    def _read(self, output: Any) -> None:
        """Take in the tokens that a step wrote for a request."""
        row = self._rows.get(output.request_id)
        if row is None:  # cancelled meanwhile
            return
        (written,) = output.outputs
        told = written.logprobs or [None] * len(written.token_ids)
        for token, logprobs in zip(written.token_ids, told, strict=True):
            if row.done:
                break
            if row.logprobs:
                row.logprobs.see(logprobs)
            self._row_ends.extend(row, token)
        if not row.done and not output.finished:
            return
        del self._rows[output.request_id]
        if not output.finished:
            self._engine.abort_request([output.request_id])
        if not row.done:
            why = f"finish_reason {written.finish_reason}"
            settle(row.future, ModelError(f"{self.name}: vLLM ended the text by itself ({why})"))

    def _drop_cancelled(self) -> None:
        gone = [key for key, row in self._rows.items() if row.future.done()]
        for key in gone:
            del self._rows[key]
        if gone:
            self._engine.abort_request(gone)


def _whole(source: ModelSource) -> ModelSource:
    """The source, where it is a whole model in a folder or on the hub. Raises ModelError."""
    if source.adapter is not None or source.gguf is not None:
        what = "a LoRA adapter" if source.adapter is not None else "a GGUF file"
        raise ModelError(
            f"{source.name}: {what} is not run by vllm: here; load it with hf:, which merges and "
            "unpacks, or name a folder of the whole model"
        )
    return source


def _eos(source: ModelSource, tokenizer: Any, hub: dict[str, Any]) -> frozenset[int]:
    """The ids that end a text: those of the model's generation settings, and the tokenizer's."""
    from transformers import GenerationConfig

    try:
        own = GenerationConfig.from_pretrained(source.weights, revision=hub["revision"])
    except OSError:  # it has none
        own = source.config(**hub)
    ids = own.eos_token_id if isinstance(own.eos_token_id, list) else [own.eos_token_id]
    return frozenset(i for i in (*ids, tokenizer.eos_token_id) if i is not None)


def open_vllm(rest: str, how: How) -> VLLMModel:
    """The model of that folder or hub name, run by vLLM."""
    return VLLMModel(rest, generation=how.generation, settings=how.vllm)
