"""What of a model's settings decides what it writes: the rest may change without new runs."""

from __future__ import annotations

from typing import Any

from steper.pipeline.config import StudentSettings, TeacherSettings

HF_KEYS = {"dtype", "form", "context_window", "revision"}
OPENAI_KEYS = {"api", "extra_body", "context_window"}
"""Settings that decide what a model writes; the others decide how fast it does."""
LATER_OPENAI_KEYS = {"send_temperature", "continuation", "tokenizer", "top_logprobs"}
"""Such settings, too; at their defaults they are left out, as in the keys made before them."""
VLLM_HARDWARE = {"tensor_parallel_size", "gpu_memory_utilization"}
"""Settings of vLLM that decide where it runs, not what it writes."""

Key = dict[str, Any]


def settings_key(spec: str, settings: TeacherSettings | StudentSettings) -> Key:
    """The settings that decide what the model of a spec writes, beside its files."""
    if spec.startswith("openai:") and isinstance(settings, TeacherSettings):
        openai = settings.openai.model_dump(mode="json", include=OPENAI_KEYS)
        openai |= settings.openai.model_dump(include=LATER_OPENAI_KEYS, exclude_defaults=True)
        return {"generation": sampling_key(settings), "openai": openai}
    if spec.startswith("vllm:") and isinstance(settings, TeacherSettings):
        vllm = settings.vllm.model_dump(mode="json", exclude=VLLM_HARDWARE)
        return {"generation": sampling_key(settings), "vllm": vllm}
    return local_key(settings)


def sampling_key(settings: TeacherSettings | StudentSettings) -> Key:
    """How tokens are chosen; a seed says nothing where the likeliest is taken."""
    generation = settings.generation
    return generation.model_dump(mode="json") if generation.temperature else {"temperature": 0.0}


def local_key(settings: TeacherSettings | StudentSettings) -> Key:
    """What decides what a local model writes, beside its weights."""
    hf = settings.hf.model_dump(mode="json", include=HF_KEYS)
    if settings.hf.chat_template_kwargs:
        hf["chat_template_kwargs"] = settings.hf.chat_template_kwargs
    return {"generation": sampling_key(settings), "hf": hf}
