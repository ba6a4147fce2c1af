"""Self-RAG (Asai et al., ICLR 2024, arXiv 2310.11511): q → segments that retrieve and judge.

Each statement of the trajectory is a segment over a passage that its step's search found, or an
earlier one: `[Retrieval]<paragraph>P</paragraph>[Relevant] r_s[Fully supported]`. One that only
concludes, or says nothing new and stands on no passage, continues without:
`[Continue to Use Evidence] r_s`. The answer comes last, with `[Utility:5]`, or `[Utility:1]` where
it is wrong (wrong trajectories are kept with `--correct none`). The text of a passage is shown, not
learnt. A second example has an irrelevant passage in each segment and learns `[Irrelevant]` there.

Differs from the authors' code: labels come from `labels`, not from a critic model; in the second
example, their negative set, statements are shown and not learnt, since nothing in front of them
says them. Two slips of theirs are mended: what stands between several paragraphs is learnt (theirs
masks from the first opening tag to the last closing one), and an irrelevant passage is drawn from
the irrelevant ones (theirs draws a place among those and looks it up among all). A statement for
which no passage is drawn continues, where theirs leaves it out: later ones go on from it. Rows
without retrieval are all kept, where theirs keep 40 %: a loop's trajectory hardly ever is one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from steper.evaluation.official_scores import score_answer
from steper.grounding import Support, says_anew
from steper.prompt.render import Turn
from steper.prompt.segments import Segment
from steper.recipes.base import Context, Draft, Inference, Recipe, learn
from steper.recipes.whole_text import PROMPT, check, stands_on_none, supervised, told
from steper.records import Passage, Step
from steper.strategy.replay import Replay
from steper.strategy.self_rag.reflection import (
    CONTINUE,
    FULL,
    IRRELEVANT,
    NO_RETRIEVAL,
    NONE,
    PARTIAL,
    RELEVANT,
    TOKENS,
    UTILITY,
    with_paragraph,
)
from steper.strategy.statements import Statement

PARTIAL_TAKEN, UNSUPPORTED_TAKEN = 0.7, 0.25
"""How often a passage that supports in part, or is only relevant, is taken where none is better."""

_SUPPORT: dict[Support, str] = {"full": FULL, "partial": PARTIAL, "none": NONE}


def segments(replay: Replay, context: Context) -> Iterator[Draft]:
    """An example with all statements, answer and utility, and one of irrelevant passages."""
    if not replay.steps:
        return
    known, kept = told(replay, context), set[str]()
    target: list[Segment] = []
    wrong: list[Segment] = []
    for n, statement in enumerate(known.statements):
        found = _found(replay, statement.step, kept)
        labelled = _labelled(statement, known.said(n), found, context)
        read = choose(labelled, context.rng)
        kept |= {read.passage.id} if read else set()
        target += _segment(statement.text, read, context, begun=bool(target))
        if negative := _irrelevant(labelled, context.rng):
            wrong += _negative(statement.text, negative.passage, context)
    target += [learn(CONTINUE if target else NO_RETRIEVAL, "agg")]
    target += [learn(f" {text}", "agg") for text in (known.closing, known.answer)]
    target += [learn(UTILITY[-1 if _right(replay, context) else 0], "agg")]
    prompt = context.student.render(replay.trajectory.question, [Turn()])
    step, indices = replay.steps[-1], tuple(supervised(replay))
    yield Draft(step, prompt, tuple(target), indices)
    if wrong:
        yield Draft(step, prompt, tuple(wrong[:-1]), indices, "irrelevant")


def _segment(
    statement: str, read: Labelled | None, context: Context, begun: bool
) -> Iterator[Segment]:
    """A statement over the passage that it is written over, or over none."""
    if read is None:
        yield learn(CONTINUE if begun else NO_RETRIEVAL, "agg")
        yield learn(f" {statement}", "agg")
        return
    tag, text, end = with_paragraph(read.passage, context.student.prompt.passage_words)
    said = f"{RELEVANT} {statement}{_SUPPORT[read.support]}"
    yield learn(tag, "agg")
    yield learn(text, "agg", 0.0)
    yield learn(end, "agg")
    yield learn(said if read.relevant else f"{IRRELEVANT} {statement}", "agg")


def _negative(statement: str, passage: Passage, context: Context) -> Iterator[Segment]:
    """A statement after an irrelevant passage, of which only the judgement is learnt."""
    for piece in with_paragraph(passage, context.student.prompt.passage_words):
        yield learn(piece, "agg", 0.0)
    yield learn(IRRELEVANT, "agg", ends=False)
    yield learn(f" {statement}", "agg", 0.0)


@dataclass(frozen=True)
class Labelled:
    """A passage, whether it is relevant, and whether it supports a statement."""

    passage: Passage
    relevant: bool
    support: Support


def _labelled(
    statement: Statement, before: Sequence[str], found: Sequence[Passage], context: Context
) -> list[Labelled]:
    """The passages that a statement may be written over; none for one that goes on without.

    It only concludes, or no passage supports it and it names nothing that was not said before.
    """
    if stands_on_none(statement):
        return []
    label, tells = context.labeller, statement.tells
    labelled = []
    for passage in found:
        support = label.support(passage, tells, before)
        relevant = support != "none" or label.relevant(passage, [*before, tells])
        labelled.append(Labelled(passage, relevant, support))
    anew = says_anew(tells, (context.question.text, *before))
    return labelled if anew or any(each.support != "none" for each in labelled) else []


def choose(labelled: Sequence[Labelled], rng: Random) -> Labelled | None:
    """The passage that a statement is written over.

    The first that supports it fully; else, mostly, the first in part; else, sometimes, the first
    that is relevant; else one of the irrelevant ones. None where nothing is left to choose from.
    """
    ways: tuple[tuple[Support, float], ...]
    ways = ("full", 1.0), ("partial", PARTIAL_TAKEN), ("none", UNSUPPORTED_TAKEN)
    for wanted, share in ways:
        best = next((each for each in labelled if each.relevant and each.support == wanted), None)
        if best is not None and rng.random() < share:
            return best
    return _irrelevant(labelled, rng)


def _irrelevant(labelled: Sequence[Labelled], rng: Random) -> Labelled | None:
    passages = [each for each in labelled if not each.relevant]
    return rng.choice(passages) if passages else None


def _found(replay: Replay, step: Step, kept: set[str]) -> list[Passage]:
    """What a statement's step found, then what earlier ones found.

    Of the earlier ones without those that a segment is written over, as at inference.
    """
    earlier = replay.steps[: step.index - 1]
    before = [hit.passage_id for past in earlier for hit in past.hits]
    own = [hit.passage_id for hit in step.hits]
    ids = dict.fromkeys((*own, *(i for i in before if i not in kept)))
    return [replay.passages[i] for i in ids]


def _right(replay: Replay, context: Context) -> bool:
    """Whether the answer is right; one without a gold answer was let through by other filters."""
    answers, benchmark = context.question.answers, context.question.benchmark
    if not answers:
        return True
    return score_answer(replay.trajectory.answer, answers, benchmark).acc_token >= 1


SELF_RAG = Recipe(
    "self_rag",
    segments,
    "uniform",
    "Self-RAG: a segment a statement, each over one passage, with reflection tokens",
    inference=Inference("self_rag", {}, PROMPT),
    check=check,
    labels=True,
    tokens=TOKENS,
)
