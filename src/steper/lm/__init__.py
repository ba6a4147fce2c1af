"""Language models: requests in, completions out. `open_model` opens one by its spec."""

from steper.lm.base import Completion, FatalModelError, LanguageModel, Request, TokenLogprob
from steper.lm.model_settings import GenerationSettings, HFSettings, OpenAISettings, VLLMSettings
from steper.lm.open import open_model

__all__ = [
    "Completion",
    "FatalModelError",
    "GenerationSettings",
    "HFSettings",
    "LanguageModel",
    "OpenAISettings",
    "Request",
    "TokenLogprob",
    "VLLMSettings",
    "open_model",
]
