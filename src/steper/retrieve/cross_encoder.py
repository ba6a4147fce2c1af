"""A cross-encoder: one score for a query and a passage read together (transformers).

`steper train` makes one of a recipe's rankings; any folder of a sequence classifier with one label
will do, such as sentence-transformers' CrossEncoders.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from steper.artifact import model_digest
from steper.errors import ModelError, brief_reason, missing_extra
from steper.records import Passage
from steper.retrieve.base import Found
from steper.text import limit_words

WORDS, TOKENS, BATCH = 350, 512, 64
"""Words of a passage that are read, tokens of a pair, and pairs in a batch."""


class CrossEncoder:
    """Scores pairs of query and passage with a model and its tokenizer."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model, self.tokenizer = model, tokenizer
        window = getattr(model.config, "max_position_embeddings", None) or TOKENS
        self._room = min(TOKENS, window)
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        model.config.pad_token_id = tokenizer.pad_token_id

    def scores(self, queries: Sequence[str], passages: Sequence[Passage]) -> Any:
        """(N,) scores of N pairs, as a tensor with its gradient."""
        texts = [f"{p.title}\n{limit_words(p.text, WORDS)[0]}" for p in passages]
        batch = self._encoded(queries, texts).to(self.model.device)
        return self.model(**batch).logits[:, 0].float()

    def _encoded(self, queries: Sequence[str], texts: Sequence[str]) -> Any:
        """Both as the tokenizer pairs texts; where it has no separator, the query comes last.

        A model that reads from left to right then knows the passage where it knows the query.
        """
        # What a single-pass reader wrote is its next query, and it may fill the window.
        queries = [self._short(query) for query in queries]
        how = {"max_length": self._room, "padding": True, "return_tensors": "pt"}
        if self.tokenizer.sep_token is not None:
            return self.tokenizer(list(queries), texts, truncation="only_second", **how)
        self.tokenizer.padding_side = "right"
        asked = [f"\n\nQ: {query}\nA:" for query in queries]
        return self.tokenizer(
            texts, asked, truncation="only_first", return_token_type_ids=False, **how
        )

    def _short(self, query: str) -> str:
        """A query of at most half the room, so that some of the passage is read."""
        ids = self.tokenizer(query, add_special_tokens=False).input_ids
        most = self._room // 2
        return query if len(ids) <= most else str(self.tokenizer.decode(ids[:most]))


class CrossEncoderReranker:
    """A `Reranker` with the cross-encoder in a folder; the model is loaded when it is needed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._encoder: CrossEncoder | None = None

    def rerank(self, query: str, found: Sequence[Found]) -> list[Found]:
        """The same passages, best first, with the cross-encoder's scores."""
        import torch

        encoder = self._encoder = self._encoder or load_cross_encoder(self._folder)
        scores: list[float] = []
        with torch.inference_mode():
            for start in range(0, len(found), BATCH):
                passages = [hit.passage for hit in found[start : start + BATCH]]
                scores += encoder.scores([query] * len(passages), passages).tolist()
        ranked = sorted(zip(scores, range(len(found)), strict=True), key=lambda s: (-s[0], s[1]))
        return [Found(found[at].passage, score) for score, at in ranked]

    def fingerprint(self) -> dict[str, Any]:
        """The digest of its files."""
        return {"kind": "cross-encoder", "digest": model_digest(self._folder)}


def load_cross_encoder(
    folder: Path | str, device: str | None = None, dtype: str = "auto"
) -> CrossEncoder:
    """The cross-encoder in a folder; ModelError where there is none.

    On a GPU where there is one, unless `device` says where; `dtype` is that of its files (auto), or
    the one to train in. Raises MissingExtraError without transformers.
    """
    try:
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer
    except ImportError as error:
        raise missing_extra(error.name or "transformers", "hf", error) from None
    try:
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, num_labels=1, dtype=dtype
        )
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"{folder}: no model to rerank with ({brief_reason(error, 200)})"
        ) from None
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return CrossEncoder(model.eval().to(device), tokenizer)
