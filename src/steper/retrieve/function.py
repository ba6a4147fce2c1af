"""A Python function as a retriever: whatever finds passages for a query."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from steper.doors import CODE, SPEC, origin
from steper.errors import RetrievalError
from steper.records import Passage, passage_id
from steper.retrieve.base import Found

Find = Callable[[str, int], Iterable[Any]]


class FunctionRetriever:
    """A `Retriever` that calls `function(query, k)`, from one thread at a time.

    What it gives, best first: `Found`, `Passage`, (title, text), or mappings with `title`, `text`
    and perhaps `id` and `score`. Without a score the rank tells (1, 1/2, 1/3, …).
    """

    def __init__(self, function: Find) -> None:
        self._function = function
        self._origin = origin(function)
        self.name = str(self._origin.get(SPEC, getattr(function, "__name__", "function")))

    def search(self, queries: Sequence[str], k: int) -> list[list[Found]]:
        """For each query at most `k` passages, best first."""
        return [
            [
                self._found(each, rank)
                for rank, each in enumerate(self._function(query, k), start=1)
            ][:k]
            for query in queries
        ]

    def fingerprint(self) -> dict[str, Any]:
        """The function's place, and a hash of its code; not what it searches."""
        return {"kind": "function", "function": self.name, "code": self._origin.get(CODE)}

    def close(self) -> None:
        """Nothing to give back."""

    def _found(self, each: Any, rank: int) -> Found:
        score = 1 / rank
        if isinstance(each, Found):
            return each
        if isinstance(each, Passage):
            return Found(each, score)
        if isinstance(each, Mapping) and {"title", "text"} <= each.keys():
            title, text = str(each["title"]), str(each["text"])
            key = str(each["id"]) if "id" in each else passage_id(title, text)
            passage = Passage(id=key, title=title, text=text)
            given = each.get("score", score)
            with suppress(TypeError, ValueError, OverflowError):  # the engine says what is wrong
                given = float(given)
            return Found(passage, given)
        if isinstance(each, tuple) and len(each) == 2:
            return Found(Passage.make(str(each[0]), str(each[1])), score)
        raise RetrievalError(
            f"{self.name} gave {type(each).__name__}; a Passage, a Found, (title, text), or a "
            "mapping with title and text was expected"
        )
