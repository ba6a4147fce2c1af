"""What a retriever is to the rest of the package."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from steper.errors import RetrievalError
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


def is_finite(score: Any) -> bool:
    """Whether a score is a number that JSON can hold: neither NaN nor infinite."""
    try:
        return not isinstance(score, (bool, str)) and math.isfinite(score)
    except (TypeError, ValueError, OverflowError):
        return False


def recordable(found: Sequence[Found]) -> list[Found] | RetrievalError:
    """What a retriever found for one query, with scores that a run's files can hold.

    Else the RetrievalError that says which passage it is: it concerns this query alone.
    """
    for number, one in enumerate(found, start=1):
        if not is_finite(one.score):
            return RetrievalError(
                f"the retriever gave passage {number} ({one.passage.id[:60]!r}) the score "
                f"{str(one.score)[:60]}; a finite number was expected"
            )
    return [Found(one.passage, float(one.score)) for one in found]
