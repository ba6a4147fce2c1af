"""StepER's step-wise examples (Lee et al., EMNLP 2025, §3), and its ablations' subsets of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from steper.errors import SettingsError
from steper.recipes.base import (
    Context,
    Draft,
    Make,
    Recipe,
    Target,
    cumulative_draft,
    current_draft,
)
from steper.records import StepKind
from steper.strategy.base import Strategy
from steper.strategy.replay import Replay


def of_kinds(*kinds: StepKind) -> Make:
    """A recipe's function: an example for each step of these kinds.

    Of a trajectory of S steps they are one `init`, S−2 `exp` and one `agg`; one of a single step
    has its `agg` alone.
    """

    def make(replay: Replay, context: Context) -> Iterator[Draft]:
        for step in replay.steps:
            if step.kind in kinds:
                # A separate reader's prompt holds no earlier reasoning: it has none to accumulate.
                whole = context.target == "cumulative" and step.role == "reason"
                make_draft = cumulative_draft if whole else current_draft
                ends = context.end_of_turn == "every_step" or step is replay.steps[-1]
                yield make_draft(replay, step, ends)

    return make


def check_target(target: Target, strategy: Strategy[Any]) -> None:
    """Refuse cumulative targets where a prompt or the record holds them otherwise."""
    if target == "current":
        return
    if strategy.prompt.layout == "append_only":
        raise SettingsError(
            "target=cumulative leaves earlier reasoning out of the prompt, and append_only has it "
            "there as turns; use target=current, or layout=passages_first"
        )
    if strategy.reads_apart:
        raise SettingsError(
            "target=cumulative would train on what the separate reader wrote: the run has "
            "one; use target=current"
        )


_EVERY = of_kinds("init", "exp", "agg")

STEPER = Recipe(
    "steper", _EVERY, "learned", "every step, weighed by learned difficulty", check=check_target
)
UNIFORM = Recipe(
    "steper_uniform", _EVERY, "uniform", "every step, weighed alike", check=check_target
)
INIT_AGG = Recipe(
    "steper_init_agg",
    of_kinds("init", "agg"),
    "learned",
    "first and final steps (ablation)",
    check=check_target,
)
EXP_AGG = Recipe(
    "steper_exp_agg",
    of_kinds("exp", "agg"),
    "learned",
    "middle and final steps (ablation)",
    check=check_target,
)
