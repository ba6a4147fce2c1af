"""How alike two texts are, by a sentence embedding model (sentence-transformers)."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from steper.errors import ModelError, brief_reason, missing_extra


def open_similarity(model: str) -> Callable[[str, str], float]:
    """The cosine of two texts' embeddings, by a model of sentence-transformers.

    `model` is a folder or hub name. Raises MissingExtraError without the package, ModelError where
    there is no such model.
    """
    try:
        from sentence_transformers import SentenceTransformer

        from steper.lm.hf_load import no_progress_bars
    except ImportError as error:
        raise missing_extra("sentence-transformers", "embedding", error) from None
    try:
        with no_progress_bars():
            encoder = SentenceTransformer(model, device="cpu")
    except (OSError, ValueError) as error:
        raise ModelError(f"{model}: no embedding model ({brief_reason(error, 200)})") from None

    @lru_cache(maxsize=4096)
    def embedded(text: str) -> Any:
        return encoder.encode(text, normalize_embeddings=True, show_progress_bar=False)

    def similarity(one: str, other: str) -> float:
        return float(embedded(one) @ embedded(other))

    return similarity
