"""From a model's spec on the command line to the model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from steper.errors import ModelError, SettingsError
from steper.lm.base import LanguageModel
from steper.lm.model_settings import GenerationSettings, HFSettings, OpenAISettings
from steper.lm.shipped import locate_model
from steper.records import Question

SPECS = {
    "gold": "the questions' own annotations, no LM; gold:plain never names the next sub-question",
    "scripted:FILE": "texts from a JSON-lines file",
    "hf:FOLDER_OR_NAME": "a transformers model, local or of the hub; a bare folder will do",
    "shipped:NAME": "a small model that comes with the package: teacher, student-base",
    "openai:MODEL": "a model of an OpenAI-compatible server (see base_url)",
}


def open_model(
    spec: str | Path,
    *,
    generation: GenerationSettings | None = None,
    hf: HFSettings | None = None,
    openai: OpenAISettings | None = None,
    questions: Sequence[Question] | None = None,
) -> LanguageModel:
    """The model that `spec` names: see `SPECS`; a bare hub name (`owner/model`) is `hf:` too.

    `questions` are needed for `gold` alone. Raises ModelError for an unknown spec or a model that
    cannot be opened, SettingsError where something it needs is not given.
    """
    spec = locate_model(spec)
    kind, colon, rest = spec.partition(":")
    if spec in ("gold", "gold:plain"):
        if questions is None:
            raise SettingsError("the model gold needs the questions with their annotations")
        from steper.gold.teacher import GoldTeacher

        return GoldTeacher(questions, look_ahead=spec == "gold")
    if kind == "scripted" and rest:
        from steper.lm.scripted import ScriptedModel

        return ScriptedModel.from_file(Path(rest))
    if kind == "openai" and rest:
        from steper.lm.openai_server import OpenAIModel

        return OpenAIModel(rest, generation=generation, settings=openai)
    if kind == "hf" and rest:
        return _hf(rest, generation, hf)
    looks_like_one = "/" in spec or spec.startswith((".", "~")) or Path(spec).is_dir()
    if spec and looks_like_one and not (colon and kind in ("scripted", "openai", "hf", "gold")):
        return _hf(spec, generation, hf)
    forms = "; ".join(f"{form} ({what})" for form, what in SPECS.items())
    raise ModelError(f"unknown model {spec!r}; known forms: {forms}")


def _hf(
    name: str, generation: GenerationSettings | None, settings: HFSettings | None
) -> LanguageModel:
    from steper.lm.hf import HFModel

    return HFModel(name, generation=generation, settings=settings)
