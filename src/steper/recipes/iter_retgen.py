"""Vanilla-KD's examples, for students that are asked as Iter-RetGen asks (Shao et al., 2023)."""

from __future__ import annotations

from collections.abc import Iterator

from steper.recipes.base import Context, Draft, Inference, Recipe
from steper.recipes.whole_text import PROMPT, check, read_whole, told
from steper.strategy.replay import Replay


def written_whole(replay: Replay, context: Context) -> Iterator[Draft]:
    """All passages, then the whole chain, in the words of the reader that the student is asked as.

    Of IRCoT's trajectories it is Vanilla-KD's text, in pieces that end where a forced answer goes
    on; of Self-Ask's the chain is, and the answer is led over to as the reader does.
    """
    if not replay.steps:
        return
    known = told(replay, context, own_words=True)
    yield read_whole(replay, context, known, known.passages)


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
