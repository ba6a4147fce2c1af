"""SAIL (Luo et al., 2023, arXiv 2305.15225): q and a few search results → verification, R a.

Some of the passages that the trajectory gathered, drawn at random and in random order, so that rank
tells nothing; the target says which of them inform and which distract, then the whole chain.
Verification and chain have equal weight.

Differs from the authors' code: labels come from `labels` (gold, names and numbers, …), not from an
NLI model that was asked whether a passage is entailed by the response; the pool are the
trajectory's passages, not the hits of one search.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

from steper.prompt.render import Turn
from steper.recipes.base import Context, Draft, Inference, Make, Recipe
from steper.recipes.whole_text import PROMPT, answered, check, supervised, told
from steper.strategy.replay import Replay
from steper.strategy.sail.verification import verification

LAW = (0.2, 0.1, 0.3, 0.4)
"""How probable it is that none, one, two or three results are shown."""


def verified(wide: bool) -> Make:
    """A recipe's function: one example a trajectory; `wide` draws thirds of all passages."""

    def make(replay: Replay, context: Context) -> Iterator[Draft]:
        if not replay.steps:
            return
        known = told(replay, context)
        pool = known.passages
        thirds = _drawn(context.rng.random())
        count = round(len(pool) * thirds / 3) if wide else min(thirds, len(pool))
        shown = context.rng.sample(pool, count)
        labels = [context.labeller.relevant(p, known.said()) for p in shown]
        text = " ".join(filter(None, (verification(labels), known.reasoning)))
        prompt = context.student.render(replay.trajectory.question, [Turn(tuple(shown))])
        target = tuple(answered(context, [text], known))
        yield Draft(replay.steps[-1], prompt, target, tuple(supervised(replay)))

    return make


def _drawn(uniform: float, law: Sequence[float] = LAW) -> int:
    """The number that a uniform draw from [0, 1) comes to."""
    return sum(uniform >= bound for bound in list(accumulate(law))[:-1])


SAIL = Recipe(
    "sail",
    verified(wide=False),
    "uniform",
    "SAIL: up to three passages, their verification, the whole chain",
    # The paper's: as many results as were seen in training, from one search.
    inference=Inference("sail", {"gather": "question", "max_passages": 3}, PROMPT),
    check=check,
    labels=True,
)
SAIL_WIDE = Recipe(
    "sail_wide",
    verified(wide=True),
    "uniform",
    "SAIL over none, a third, two thirds or all of the passages",
    inference=Inference("sail", {}, PROMPT),
    check=check,
    labels=True,
)
