"""How hard a world is for a lexical retriever.

Recall of *all* gold passages of a question, with the question alone and with the gold rationale
sentences as further queries, in the way of the IRCoT loop: BM25 with English stop words and
stemming over title and text, K passages a query, first come first kept, at most `cap` in all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from steper.data.world.generate import World
from steper.data.world.world_questions import WorldQuestion

K1 = 1.2
B = 0.75


class WorldIndex:
    """BM25 over the articles of a world (needs `bm25s` and `PyStemmer`)."""

    def __init__(self, world: World) -> None:
        import bm25s
        import Stemmer

        self._tokenize = bm25s.tokenize
        self._stemmer = Stemmer.Stemmer("english")
        self._titles = list(world.passages)
        texts = [f"{p.title} {p.text}" for p in world.passages.values()]
        self._index = bm25s.BM25(method="lucene", k1=K1, b=B)
        self._index.index(self._tokens(texts), show_progress=False)

    def _tokens(self, texts: Sequence[str]) -> object:
        return self._tokenize(
            list(texts), stopwords="en", stemmer=self._stemmer, show_progress=False
        )

    def search(self, queries: Sequence[str], k: int) -> list[list[str]]:
        """The `k` best titles for each query."""
        found, _ = self._index.retrieve(self._tokens(queries), k=k, show_progress=False)
        return [[self._titles[i] for i in row] for row in found.tolist()]


@dataclass(frozen=True)
class Recall:
    """Share of questions whose gold passages were all retrieved, for one number of hops."""

    hops: int
    questions: int
    question_alone: float
    question_alone_all_passages: float
    with_gold_rationales: float
    followable: float


def gold_retrieval(
    index: WorldIndex,
    question: WorldQuestion,
    query: Callable[[str], str],
    k: int = 4,
    cap: int = 15,
) -> list[list[str]]:
    """Titles that each step of the gold IRCoT loop adds (step 1: by the question)."""
    queries = [question.question, *(query(hop.rationale) for hop in question.hops)]
    steps: list[list[str]] = []
    kept: list[str] = []
    for titles in index.search(queries, k):
        new = [title for title in titles if title not in kept][: cap - len(kept)]
        kept += new
        steps.append(new)
    return steps


def is_followable(question: WorldQuestion, steps: list[list[str]]) -> bool:
    """Whether each hop's gold passage is there by the step that needs it."""
    seen: set[str] = set()
    for hop, new in zip(question.hops, steps, strict=False):
        seen.update(new)
        if hop.title not in seen:
            return False
    return True


def measure_recall(
    world: World, query: Callable[[str], str], part: str = "test", k: int = 4, cap: int = 15
) -> list[Recall]:
    """Recall by number of hops on the questions of `part`; `query` makes one of a rationale.

    `question_alone`: the first K passages; `question_alone_all_passages`: as many passages from
    the question alone as the loop may hold (`cap`); `with_gold_rationales`: after the last step;
    `followable`: every hop's passage was there in time.
    """
    index = WorldIndex(world)
    groups: dict[int, list[tuple[bool, bool, bool, bool]]] = {}
    for question in world.questions[part]:
        gold = set(question.gold_titles)
        steps = gold_retrieval(index, question, query, k, cap)
        wide = index.search([question.question], cap)[0]
        loop = {title for step in steps for title in step}
        groups.setdefault(len(question.hops), []).append(
            (
                gold <= set(wide[:k]),
                gold <= set(wide),
                gold <= loop,
                is_followable(question, steps),
            )
        )
    return [
        Recall(hops, len(rows), *(sum(row[i] for row in rows) / len(rows) for i in range(4)))
        for hops, rows in sorted(groups.items())
    ]
