"""Recipes by name: what a distillation method trains on, as a function of one trajectory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from steper.errors import SettingsError, unknown_name
from steper.recipes.draft import Draft, Target
from steper.recipes.stepwise import every_step, first_and_final, middle_and_final
from steper.recipes.vanilla_kd import vanilla_kd
from steper.strategy.replay import Replay

__all__ = ["RECIPES", "Draft", "Recipe", "Replay", "Target", "Weights", "find_recipe"]

Weights = Literal["learned", "uniform"]
"""How the three losses are weighed: by learned σ (StepER's reasoning difficulty), or alike."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe: the examples of one trajectory, and the weights that training defaults to."""

    name: str
    make: Callable[[Replay, Target], Iterator[Draft]]
    weights: Weights
    about: str


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("steper", every_step, "learned", "every step, weighed by learned difficulty"),
        Recipe("steper_uniform", every_step, "uniform", "every step, weighed alike"),
        Recipe("steper_init_agg", first_and_final, "learned", "first and final steps (ablation)"),
        Recipe("steper_exp_agg", middle_and_final, "learned", "middle and final steps (ablation)"),
        Recipe("vanilla_kd", vanilla_kd, "uniform", "the whole chain from the final passages"),
    )
}


def find_recipe(name: str) -> Recipe:
    """The recipe of that name; an unknown one is a SettingsError with the nearest names."""
    if name not in RECIPES:
        raise SettingsError(unknown_name("recipe", name, RECIPES))
    return RECIPES[name]
