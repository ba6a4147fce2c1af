"""Chain-of-Note (Yu et al., EMNLP 2024, arXiv 2311.09210): q, P≤S → a note per passage, then a.

A passage's note is what the trajectory says on its support, or that it is irrelevant; statements
that only conclude, or stand on no passage, follow the notes. Half of the loss is on the answer:

    L = ½ mean over all tokens + ½ mean over the answer's tokens

The authors take one or the other by turns. Here both are in every optimizer step: the text is two
examples, one learnt whole as of kind `exp`, one whose answer alone is learnt as of kind `agg`, and
`uniform` weights give each kind half. They share all tokens, so they cost one forward pass.

Differs from the authors: notes come from the trajectory and the passages' labels, not from a prompt
of their own to a GPT model; there is no note set "unknown", since trajectories with a wrong or no
answer are not learnt from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from steper.prompt.render import Turn
from steper.prompt.segments import Segment
from steper.recipes.base import Context, Draft, Inference, Recipe
from steper.recipes.whole_text import (
    PROMPT,
    Told,
    answered,
    check,
    retold,
    stands_on_none,
    supervised,
    told,
)
from steper.records import Passage
from steper.strategy.con.notes import IRRELEVANT, numbered, on_topic
from steper.strategy.replay import Replay


def notes_and_answer(replay: Replay, context: Context) -> Iterator[Draft]:
    """Two examples a trajectory, of the same text: learnt whole, and its answer alone."""
    if not replay.steps:
        return
    known, step = told(replay, context), replay.steps[-1]
    prompt = context.student.render(replay.trajectory.question, [Turn(known.passages)])
    notes, rest = _notes(known, context)
    pieces = (f"{numbered(notes)} {known.between.join(rest)}".strip(),)
    target = tuple(answered(context, pieces, known))
    for name, learnt in (("whole", retold(target, "exp")), ("answer", _answer(target))):
        yield Draft(step, prompt, learnt, tuple(supervised(replay)), name)


def _answer(target: Sequence[Segment]) -> tuple[Segment, ...]:
    """The target with its closing and answer alone learnt."""
    return (*retold(target[:-2], "agg", 0.0), *retold(target[-2:], "agg"))


def _notes(known: Told, context: Context) -> tuple[list[str], list[str]]:
    """(a note on each passage, statements that are no note)."""
    noted: dict[str, list[str]] = {}
    rest: list[str] = []
    for n, statement in enumerate(known.statements):
        passage = None
        if not stands_on_none(statement):
            passage = _supporting(statement.tells, known.said(n), known.passages, context)
        if passage is None:
            rest.append(statement.text)
        else:
            noted.setdefault(passage.id, []).append(statement.text)
    notes = []
    for passage in known.passages:
        said = known.between.join(noted.get(passage.id, ()))
        relevant = said or context.labeller.relevant(passage, known.said())
        notes.append(said or (on_topic(passage.title) if relevant else IRRELEVANT))
    return notes, rest


def _supporting(
    statement: str, before: Sequence[str], passages: Sequence[Passage], context: Context
) -> Passage | None:
    """The first passage that supports all of a statement, else the first that does in part."""
    partial = None
    for passage in passages:
        support = context.labeller.support(passage, statement, before)
        if support == "full":
            return passage
        if support == "partial":
            partial = partial or passage
    return partial


CON = Recipe(
    "con",
    notes_and_answer,
    "uniform",
    "Chain-of-Note: a note on each passage, then the answer, which is half of the loss",
    inference=Inference("con", {}, PROMPT),
    check=check,
    labels=True,
)
