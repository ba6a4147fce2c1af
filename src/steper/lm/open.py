"""From a model's spec on the command line, or an object, to the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steper.doors import is_path_to_code, load_object, opened, plugins
from steper.errors import ModelError
from steper.lm.base import LanguageModel
from steper.lm.function import FunctionModel
from steper.lm.model_settings import (
    GenerationSettings,
    HFSettings,
    OpenAISettings,
    VLLMSettings,
)
from steper.lm.model_source import check_source
from steper.lm.shipped import locate_model
from steper.records import Question

SPECS = {
    "gold": "the questions' own annotations, no LM; gold:plain never names the next sub-question",
    "scripted:FILE": "texts from a JSON-lines file",
    "hf:FOLDER_OR_NAME": "a transformers model, local or of the hub; a bare folder will do",
    "hf:FILE.gguf": "a model packed by llama.cpp, local or of the hub (OWNER/MODEL/FILE.gguf)",
    "vllm:FOLDER_OR_NAME": "the same, run by vLLM in this process (GPUs)",
    "shipped:NAME": "a small model that comes with the package: teacher, student-base, student",
    "openai:MODEL": "a model of an OpenAI-compatible server (see base_url)",
    "package.module:NAME": "a language model of your own, or a function that answers a request",
}

GROUP = "steper.models"

CODE = "code"
"""Stands for a scheme where a spec is `package.module:NAME`."""

OPENERS = {
    "gold": "steper.gold.teacher:open_gold",
    "scripted": "steper.lm.scripted:open_scripted",
    "hf": "steper.lm.hf:open_hf",
    "openai": "steper.lm.openai_server:open_openai",
    "vllm": "steper.lm.vllm_engine:open_vllm",
}
"""Scheme → function `(rest of the spec, how) -> LanguageModel`, imported when it is first needed. A
plug-in's entry point in `steper.models` is such a function, and its name is a scheme."""


@dataclass(frozen=True)
class How:
    """What an opener is given beside the spec; `questions` are needed for `gold` alone."""

    generation: GenerationSettings | None = None
    hf: HFSettings | None = None
    openai: OpenAISettings | None = None
    questions: Sequence[Question] | None = None
    vllm: VLLMSettings | None = None


def open_model(
    spec: str | Path,
    *,
    generation: GenerationSettings | None = None,
    hf: HFSettings | None = None,
    openai: OpenAISettings | None = None,
    vllm: VLLMSettings | None = None,
    questions: Sequence[Question] | None = None,
) -> LanguageModel:
    """The model that `spec` names: see `SPECS`; a bare hub name (`owner/model`) is `hf:` too.

    A scheme wins over a module of that name. Raises ModelError for an unknown spec or a model that
    cannot be opened, SettingsError where something it needs is not given.
    """
    scheme, rest = _scheme_of(locate_model(spec))
    if scheme == CODE:
        return as_model(load_object("model", rest))
    return _open(scheme, rest, How(generation, hf, openai, questions, vllm))


def check_model(spec: str | Path) -> None:
    """Look, opening nothing, whether what a spec names is there: a folder, a file of texts.

    Of the hub, of servers and of code nothing is asked. Raises ModelError as `open_model` does.
    """
    scheme, rest = _scheme_of(locate_model(spec))
    if scheme in ("hf", "vllm"):
        check_source(rest)
    elif scheme == "scripted" and not Path(rest).expanduser().is_file():
        raise ModelError(f"{rest}: no such file")


def _scheme_of(spec: str) -> tuple[str, str]:
    """(scheme, what it opens) of a spec; `CODE` for what is code of one's own."""
    kind, colon, rest = spec.partition(":")
    if (kind in OPENERS and (rest or spec == "gold")) or kind in plugins(GROUP):
        return kind, rest
    if is_path_to_code(spec) and kind not in OPENERS and not Path(spec).exists():
        return CODE, spec
    path_like = "/" in spec or spec.startswith((".", "~")) or spec.endswith(".gguf")
    looks_like_one = path_like or Path(spec).is_dir()
    if spec and looks_like_one and not (colon and kind in OPENERS):
        return "hf", spec
    forms = "; ".join(f"{form} ({what})" for form, what in SPECS.items())
    raise ModelError(f"unknown model {spec!r}; known forms: {forms}")


def as_model(part: Any) -> LanguageModel:
    """A language model as it is; a class of one opened; a function as a FunctionModel."""
    return opened(part, ("submit", "fingerprint"), FunctionModel, "language model")


def _open(scheme: str, rest: str, how: How) -> LanguageModel:
    opener = load_object("model", OPENERS.get(scheme) or plugins(GROUP)[scheme])
    model: LanguageModel = opener(rest, how)
    return model
