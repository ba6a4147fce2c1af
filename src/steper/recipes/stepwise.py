"""StepER's step-wise examples (Lee et al., EMNLP 2025, §3), and its ablations' subsets of them."""

from __future__ import annotations

from collections.abc import Iterator

from steper.recipes.draft import Draft, Target, cumulative_draft, current_draft
from steper.records import StepKind
from steper.strategy.replay import Replay


def every_step(replay: Replay, target: Target) -> Iterator[Draft]:
    """One example a step: one `init`, S−2 `exp` and one `agg` of a trajectory of S steps.

    A trajectory of a single step has its `agg` alone.
    """
    return _steps(replay, target, ("init", "exp", "agg"))


def first_and_final(replay: Replay, target: Target) -> Iterator[Draft]:
    """The ablation without middle steps: L_init and L_agg."""
    return _steps(replay, target, ("init", "agg"))


def middle_and_final(replay: Replay, target: Target) -> Iterator[Draft]:
    """The ablation without first steps: L_exp and L_agg."""
    return _steps(replay, target, ("exp", "agg"))


def _steps(replay: Replay, target: Target, kinds: tuple[StepKind, ...]) -> Iterator[Draft]:
    for step in replay.trajectory.steps:
        if step.kind in kinds:
            # A separate reader's prompt holds no earlier reasoning, so it has none to accumulate.
            whole = target == "cumulative" and step.role == "reason"
            yield cumulative_draft(replay, step) if whole else current_draft(replay, step)
