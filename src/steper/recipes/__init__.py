"""Recipes: what a distillation method trains on, as a function of one trajectory.

Each module beside this file holds recipes, found by looking: a new one needs no edit elsewhere.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Any

from steper.doors import Door
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
    found: dict[str, Recipe] = {}
    for module in pkgutil.iter_modules(__path__):
        parts = vars(import_module(f"{__name__}.{module.name}")).values()
        found |= {part.name: part for part in parts if isinstance(part, Recipe)}
    return found


def _checked(part: Any) -> Recipe | None:
    return part if isinstance(part, Recipe) else None


RECIPES: Door[Recipe] = Door("recipe", "steper.recipes", _ours, _checked, "a steper.Recipe")
