"""What a retriever is to the rest of the package."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from steper.records import Passage
from steper.text import brief


@dataclass(frozen=True, slots=True)
class Found:
    """A passage and its score for one query; a higher score is better."""

    passage: Passage
    score: float

    def __repr__(self) -> str:
        return brief("Found", f"{self.score:.2f}", repr(self.passage))


class Retriever(Protocol):
    """Batched search over one corpus. `search` is thread-safe."""

    def search(self, queries: Sequence[str], k: int) -> list[list[Found]]:
        """For each query at most `k` passages, best first; passages that share nothing are absent.

        Raises RetrievalError when the index or server cannot answer.
        """
        ...

    def fingerprint(self) -> dict[str, Any]:
        """All that decides what is found (JSON values); recorded, and compared on resume."""
        ...

    def close(self) -> None:
        """Give back files and connections."""
        ...
