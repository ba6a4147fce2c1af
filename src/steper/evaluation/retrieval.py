"""Paragraph recall: how many of a question's gold passages its trajectory has found, step by step.

In: a Question with gold passages and its Trajectory. Out: `Coverage`, counts per step. "Retrieved"
are the hits of all searches up to a step; "shown" is what the prompts up to that step held, after
caps and context budget.
"""

from __future__ import annotations

import html
import unicodedata

from rapidfuzz import fuzz

from steper.records import Benchmark, Passage, Question, Record, Trajectory

UNIQUE_TITLES: frozenset[Benchmark] = frozenset({"hotpotqa", "2wikimultihopqa"})
"""Benchmarks in whose corpora a title names one passage."""

SAME_TEXT = 90.0
"""Texts at least this alike (rapidfuzz ratio, 0..100) are one passage, as in IRCoT's code."""


class Coverage(Record):
    """Counts of one question's passages after each of its steps; all tuples have one entry a step.

    `gold`: how many gold passages there are. `retrieved`, `shown`: how many of them were retrieved
    or shown up to the step. `passages`: distinct passages retrieved up to the step. `relevant`: how
    many of those are gold.
    """

    gold: int
    retrieved: tuple[int, ...] = ()
    shown: tuple[int, ...] = ()
    passages: tuple[int, ...] = ()
    relevant: tuple[int, ...] = ()


def normalize_text(text: str) -> str:
    """A text without what corpora differ in: case, spaces, NFKC."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def normalize_title(title: str) -> str:
    """A title without what corpora differ in: HTML entities, underscores, case, spaces, NFKC."""
    return normalize_text(html.unescape(title).replace("_", " "))


def same_passage(gold: Passage, found: Passage, benchmark: Benchmark) -> bool:
    """Whether a retrieved passage is the gold one.

    It is when the ids are equal, or the normalised titles are; where titles are not unique
    (MuSiQue, generic corpora) or empty, the texts must also be at least 90 % alike.
    """
    if gold.id == found.id:
        return True
    title = normalize_title(gold.title)
    if title != normalize_title(found.title):
        return False
    if title and benchmark in UNIQUE_TITLES:
        return True
    return (
        fuzz.ratio(normalize_text(gold.text), normalize_text(found.text), score_cutoff=SAME_TEXT)
        >= SAME_TEXT
    )


def coverage(question: Question, trajectory: Trajectory) -> Coverage | None:
    """The trajectory's Coverage of the question's gold passages; None if the question has none."""
    if not question.gold:
        return None
    matches = {
        passage.id: frozenset(
            i
            for i, gold in enumerate(question.gold)
            if same_passage(gold, passage, question.benchmark)
        )
        for passage in trajectory.passages
    }
    found: set[str] = set()
    seen: set[str] = set()
    rows: list[tuple[int, int, int, int]] = []
    for step in trajectory.steps:
        found.update(hit.passage_id for hit in step.hits)
        seen.update(step.context)
        rows.append(
            (
                len(frozenset().union(*(matches[pid] for pid in found))),
                len(frozenset().union(*(matches[pid] for pid in seen))),
                len(found),
                sum(1 for pid in found if matches[pid]),
            )
        )
    retrieved, shown, passages, relevant = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Coverage(
        gold=len(question.gold),
        retrieved=retrieved,
        shown=shown,
        passages=passages,
        relevant=relevant,
    )
