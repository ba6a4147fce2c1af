"""KARD (Kang et al., NeurIPS 2023, arXiv 2305.18395): q, BM25(R a) → R a; and a reranker.

The reader learns with the passages that the *rationale* finds, as many as the trajectory gathered.
At inference there is no rationale, so a reranker learns to order the question's candidates as BM25
orders them for the rationale.

Differs from the authors' code: where the corpus has a retriever of other scores than BM25's, the
candidates are scored by BM25 over what it found of question and rationale; the reranker is a
cross-encoder (`training.reranker`), not ColBERT over LinkBERT; greedy decoding of one text, not a
vote over five samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from steper.recipes.base import Context, Draft, Inference, Ranking, Recipe
from steper.recipes.whole_text import PROMPT, Told, check, read_whole, told
from steper.retrieve.rescoring import bm25_scores, scores_bm25
from steper.strategy.replay import Replay

CANDIDATES = 32
"""Passages that each of rationale and question finds for the reranker to learn from."""

DEPTH = 1000
"""Passages of which the rationale's scores are asked for; those beyond have the last one's."""


def with_silver_knowledge(replay: Replay, context: Context) -> Iterator[Draft]:
    """One example: the passages that the rationale finds, then rationale and answer."""
    if not replay.steps:
        return
    known = told(replay, context)
    # Differs from the authors: as many as the trajectory gathered, not K, because the student is
    # asked over all that its passes gathered, up to max_passages.
    found = context.search(_rationale(known), max(1, len(known.passages)))
    yield read_whole(replay, context, known, [hit.passage for hit in found])


def ranking(replay: Replay, context: Context) -> Ranking:
    """Candidates of rationale and question, all scored for the rationale."""
    question = replay.trajectory.question
    rationale = _rationale(told(replay, context))
    by_rationale = context.search(rationale, DEPTH)
    scores = {hit.passage.id: hit.score for hit in by_rationale}
    # A retriever that finds fewer has no word in common with the others.
    last = by_rationale[-1].score if len(by_rationale) == DEPTH else 0.0
    first = [hit.passage for hit in by_rationale[:CANDIDATES]]
    known = {passage.id for passage in first}
    by_question = context.search(question, CANDIDATES)
    if not scores_bm25(context.retriever):
        # The target is a softmax at temperature 5 to 1: of cosines, or of 1 / rank where a server
        # tells no scores, it would be all but uniform, and the reranker would learn nothing.
        gathered = {hit.passage.id: hit.passage for hit in (*by_rationale, *by_question)}
        scores, last = bm25_scores(rationale, [*gathered.values()]), 0.0
    others = [hit.passage for hit in by_question if hit.passage.id not in known]
    candidates = (*first, *others)
    place = {passage.id: at for at, passage in enumerate(candidates)}
    return Ranking(
        question_id=replay.trajectory.question_id,
        query=question,
        candidates=candidates,
        scores=tuple(scores.get(passage.id, last) for passage in candidates),
        first=len(first),
        asked=tuple(place[hit.passage.id] for hit in by_question),
    )


def _rationale(known: Told) -> str:
    """R with its answer, the authors' query."""
    return " ".join(filter(None, (known.reasoning, known.closing, known.answer)))


KARD = Recipe(
    "kard",
    with_silver_knowledge,
    "uniform",
    "KARD: passages found by the rationale, the whole chain; a reranker for inference",
    inference=Inference("kard", {}, PROMPT, reranker="reranker", candidates=100),
    check=check,
    searches=True,
    rank=ranking,
)

KARD_BM25 = replace(
    KARD,
    name="kard_bm25",
    about="KARD's reader without its reranker: what the corpus finds for its own texts",
    inference=Inference("kard", {}, PROMPT),
    rank=None,
)
"""Ours: a reranker that begins with a student far too small for it finds less than BM25."""
