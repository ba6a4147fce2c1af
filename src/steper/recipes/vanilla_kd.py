"""Vanilla-KD: (q, P1..PS) → r1..rS a. The whole chain at once, from final-step data only."""

from __future__ import annotations

from collections.abc import Iterator

from steper.recipes.draft import Draft, Target, cumulative_draft
from steper.strategy.replay import Replay


def vanilla_kd(replay: Replay, target: Target) -> Iterator[Draft]:
    """One example: all passages in the prompt, all rationales and the answer in the target.

    It is L_agg of StepER's equations with the cumulative target, whatever `target` says. In
    `append_only` the first turn holds the question and all passages.
    """
    if replay.trajectory.steps:
        yield cumulative_draft(replay, replay.trajectory.steps[-1])
