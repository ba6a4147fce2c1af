"""The package's own BM25 over the articles of a world."""

from __future__ import annotations

from collections.abc import Sequence

from steper.data.world.generate import World
from steper.records import Passage
from steper.retrieve.bm25 import BM25Index


def world_passages(world: World) -> dict[str, Passage]:
    """The articles of a world as records, by title."""
    return {t: Passage(id=t, title=t, text=p.text) for t, p in world.passages.items()}


class TitleIndex:
    """Searches that return titles."""

    def __init__(self, passages: dict[str, Passage]) -> None:
        self._index = BM25Index.build(passages.values())

    def search(self, queries: Sequence[str], k: int) -> list[list[str]]:
        """The `k` best titles for each query."""
        return [[f.passage.title for f in row] for row in self._index.search(queries, k)]

    def close(self) -> None:
        """Give the index's temporary file back."""
        self._index.close()
