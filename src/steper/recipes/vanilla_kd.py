"""Vanilla-KD: (q, P1..PS) → r1..rS a. The whole chain at once, from final-step data only."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from steper.recipes.base import (
    Context,
    Draft,
    EndOfTurn,
    Inference,
    Recipe,
    Target,
    check_whole_text,
    cumulative_draft,
)
from steper.strategy.base import Strategy
from steper.strategy.replay import Replay

log = logging.getLogger(__name__)


def whole_chain(replay: Replay, context: Context) -> Iterator[Draft]:
    """One example: all passages in the prompt, all rationales and the answer in the target.

    It is L_agg of StepER's equations with the cumulative target, whatever the context's target is.
    In `append_only` the first turn holds the question and all passages.
    """
    if replay.steps:
        yield cumulative_draft(replay, replay.steps[-1])


def check(target: Target, end_of_turn: EndOfTurn, strategy: Strategy[Any]) -> None:
    """Refuse to ask for the chain in a form that it is never seen in, or say so."""
    check_whole_text(strategy)
    if strategy.prompt.layout == "append_only" and strategy.step_end != "model":
        log.warning(
            "vanilla_kd in append_only, steps ended by a rule: each search begins a turn, and its "
            "students only ever see one that holds all passages; build them with the layout "
            "passages_first, or ask them anew after each search (eval --strategy iter_retgen)"
        )


VANILLA_KD = Recipe(
    "vanilla_kd",
    whole_chain,
    "uniform",
    "the whole chain from the final passages",
    # Its target is one turn of the assistant's: asked with its reasoning in the user's turn, a form
    # that it never saw, it lost more than half of its score (docs/log.md).
    inference=Inference(prompt={"reasoning": "assistant"}),
    check=check,
)
