"""Recipes: what a distillation method trains on, as a function of one trajectory.

Each module beside this file holds recipes, found by looking: a new one needs no edit elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from steper.doors import Door, parts_in
from steper.recipes.base import (
    Context,
    Draft,
    EndOfTurn,
    Inference,
    Recipe,
    Target,
    Weights,
    cumulative_draft,
    current_draft,
    learn,
)
from steper.strategy.replay import Replay

__all__ = [
    "RECIPES",
    "Context",
    "Draft",
    "EndOfTurn",
    "Inference",
    "Recipe",
    "Replay",
    "Target",
    "Weights",
    "cumulative_draft",
    "current_draft",
    "learn",
]


@cache
def _ours() -> Mapping[str, Recipe]:
    return {part.name: part for _, part in parts_in(__name__) if isinstance(part, Recipe)}


def _checked(part: Any) -> Recipe | None:
    return part if isinstance(part, Recipe) else None


RECIPES: Door[Recipe] = Door("recipe", "steper.recipes", _ours, _checked, "a steper.Recipe")
