"""A double of vLLM's offline engine: its documented names, run by transformers a token a step.

What stands here is what `steper.lm.vllm_engine` uses and nothing else: an argument or a method that
vLLM does not document fails. Written from the documentation of EngineArgs, SamplingParams,
LLMEngine and RequestOutput, of versions 0.11 to 0.16.
"""

from __future__ import annotations

import sys
import types
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar


class RequestOutputKind(Enum):
    CUMULATIVE = 0
    DELTA = 1
    FINAL_ONLY = 2


@dataclass
class EngineArgs:
    model: str
    dtype: str = "auto"
    max_model_len: int | None = None
    tensor_parallel_size: int = 1
    gpu_memory_utilization: float = 0.9
    enable_prefix_caching: bool | None = None
    max_logprobs: int = 20
    generation_config: str = "auto"
    seed: int = 0
    disable_log_stats: bool = False
    revision: str | None = None
    trust_remote_code: bool = False
    quantization: str | None = None


@dataclass
class SamplingParams:
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    max_tokens: int | None = 16
    stop_token_ids: list[int] | None = None
    logprobs: int | None = None
    detokenize: bool = True
    output_kind: RequestOutputKind = RequestOutputKind.CUMULATIVE


@dataclass
class Logprob:
    logprob: float
    rank: int | None = None
    decoded_token: str | None = None


@dataclass
class CompletionOutput:
    index: int
    text: str
    token_ids: list[int]
    logprobs: list[dict[int, Logprob]] | None
    finish_reason: str | None = None
    stop_reason: int | str | None = None


@dataclass
class RequestOutput:
    request_id: str
    prompt_token_ids: list[int]
    outputs: list[CompletionOutput]
    finished: bool


@dataclass
class _Running:
    prompt: list[int]
    params: SamplingParams
    written: list[int] = field(default_factory=list)


class LLMEngine:
    """Steps all requests together; `aborted` has the ids that were given up, `made` all engines."""

    made: ClassVar[list[LLMEngine]] = []

    def __init__(self, arguments: EngineArgs) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        self.arguments = arguments
        self.model = AutoModelForCausalLM.from_pretrained(arguments.model)
        self.model_config = types.SimpleNamespace(
            dtype=torch.float32, max_model_len=arguments.max_model_len
        )
        self.requests: dict[str, _Running] = {}
        self.aborted: list[str] = []
        self.added: list[tuple[list[int], SamplingParams]] = []
        self.most = 0
        self.breaks: BaseException | None = None
        self.made.append(self)

    @classmethod
    def from_engine_args(cls, engine_args: EngineArgs) -> LLMEngine:
        return cls(engine_args)

    def add_request(self, request_id: str, prompt: dict[str, Any], params: SamplingParams) -> None:
        assert request_id not in self.requests
        assert params.output_kind is RequestOutputKind.DELTA
        assert params.logprobs is None or params.logprobs <= self.arguments.max_logprobs
        self.requests[request_id] = _Running(list(prompt["prompt_token_ids"]), params)
        self.added.append((list(prompt["prompt_token_ids"]), params))

    def abort_request(self, request_ids: list[str]) -> None:
        for request_id in request_ids:
            self.requests.pop(request_id, None)
            self.aborted.append(request_id)

    def has_unfinished_requests(self) -> bool:
        return bool(self.requests)

    def step(self) -> list[RequestOutput]:
        if self.breaks:
            raise self.breaks
        self.most = max(self.most, len(self.requests))
        return [self._step(key, run) for key, run in list(self.requests.items())]

    def _step(self, key: str, run: _Running) -> RequestOutput:
        import torch

        params = run.params
        with torch.no_grad():
            scores = self.model(torch.tensor([run.prompt + run.written])).logits[0, -1].float()
        if params.temperature:
            assert params.seed is not None
            random = torch.Generator().manual_seed(params.seed + len(run.written))
            probs = (scores / params.temperature).softmax(-1)
            token = int(torch.multinomial(probs, 1, generator=random))
        else:
            token = int(scores.argmax())
        run.written.append(token)
        told = None
        if params.logprobs is not None:
            values = scores.log_softmax(-1)
            likeliest = values.topk(params.logprobs).indices.tolist()
            told = [{t: Logprob(float(values[t])) for t in [*likeliest, token]}]
        reason = None
        if token in (params.stop_token_ids or ()):
            reason = "stop"
        elif len(run.written) >= (params.max_tokens or 16):
            reason = "length"
        if reason:
            del self.requests[key]
        output = CompletionOutput(0, "", [token], told, reason)
        return RequestOutput(key, run.prompt, [output], finished=reason is not None)


def install(monkeypatch: Any) -> type[LLMEngine]:
    """Put the double where `import vllm` finds it; returns the engine's class, with none made."""
    module = types.ModuleType("vllm")
    parameters = types.ModuleType("vllm.sampling_params")
    for name in (EngineArgs, LLMEngine, SamplingParams):
        setattr(module, name.__name__, name)
    parameters.RequestOutputKind = RequestOutputKind  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setitem(sys.modules, "vllm.sampling_params", parameters)
    monkeypatch.setattr(LLMEngine, "made", [])
    return LLMEngine
