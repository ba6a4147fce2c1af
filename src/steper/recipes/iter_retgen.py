"""Vanilla-KD's examples, for students that are asked as Iter-RetGen asks (Shao et al., 2023)."""

from __future__ import annotations

from collections.abc import Iterator

from steper.prompt.render import Turn
from steper.recipes.base import Context, Draft, Inference, Recipe
from steper.recipes.whole_text import PROMPT, answered, check, supervised, told
from steper.strategy.replay import Replay


def written_whole(replay: Replay, context: Context) -> Iterator[Draft]:
    """All passages, then the whole chain, in the words of the reader that the student is asked as.

    Of IRCoT's trajectories it is Vanilla-KD's, token by token; of Self-Ask's the chain is, and the
    answer is led over to as the reader does.
    """
    if not replay.steps:
        return
    known = told(replay, context)
    prompt = context.student.render(replay.trajectory.question, [Turn(known.passages)])
    target = tuple(answered(context, [known.reasoning], known))
    yield Draft(replay.steps[-1], prompt, target, tuple(supervised(replay)))


VANILLA_KD_ITER = Recipe(
    "vanilla_kd_iter",
    written_whole,
    "uniform",
    "Vanilla-KD, asked to write the whole chain anew after each search (Iter-RetGen)",
    inference=Inference("iter_retgen", {}, PROMPT),
    check=check,
)
"""The form that suits it best where nothing cuts its steps: left to itself it answers from the
first passages, once; so asked it finds the later ones (docs/results.md)."""
