"""Strategies: how a multi-step retrieval-augmented LM goes about a question.

Each is a folder of its own beside this file, found by looking: a new one needs no edit elsewhere.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any, get_args

from pydantic import ValidationError

from steper.doors import CODE, SPEC, Door, check_allowed, parts_in, place_of
from steper.strategy.actions import Actions, Generate, Search
from steper.strategy.base import StepEnd, StepSettings, Strategy
from steper.strategy.trace import Ending, Trace

__all__ = [
    "DEFAULT",
    "STRATEGIES",
    "Actions",
    "Ending",
    "Generate",
    "Search",
    "StepSettings",
    "Strategy",
    "Trace",
    "load_strategy",
    "step_end",
]

DEFAULT = "ircot"
"""The strategy where none is named."""


@cache
def _ours() -> Mapping[str, type[Strategy[Any]]]:
    """Each folder's strategy: the class whose name is the folder's."""
    parts = parts_in(__name__, folders=True)
    return {name: part for name, part in parts if _checked(part) and part.name == name}


def _checked(part: Any) -> type[Strategy[Any]] | None:
    right = inspect.isclass(part) and issubclass(part, Strategy) and hasattr(part, "name")
    return part if right else None


STRATEGIES: Door[type[Strategy[Any]]] = Door(
    "strategy", "steper.strategies", _ours, _checked, "a subclass of steper.Strategy with a name"
)


def load_strategy(
    recorded: Mapping[str, Any],
    kind: type[Strategy[Any]] | None = None,
    *,
    allow_code: bool,
    place: str,
) -> tuple[type[Strategy[Any]], dict[str, Any]]:
    """(class, settings) of a strategy's fingerprint, as a run's or a student's folder records it.

    `kind` is the class where the caller has it. Else it is loaded by its short name, or by its
    `package.module:Name`: code that the *folder* names, so only where `allow_code` is set. Raises
    SettingsError, naming `place`, where it is not.
    """
    settings = {k: v for k, v in recorded.items() if k not in ("name", SPEC, CODE)}
    if kind is not None:
        return kind, settings
    name, spec = str(recorded["name"]), recorded.get(SPEC)
    if spec is None:
        return STRATEGIES.find(name), settings
    if name in STRATEGIES.names() and place_of(STRATEGIES.find(name)) == spec:
        return STRATEGIES.find(name), settings  # of an installed plug-in
    check_allowed("strategy", str(spec), place, allow_code)
    return STRATEGIES.find(str(spec)), settings


def step_end(manifest: Mapping[str, Any]) -> str:
    """Who ended a step in a run, by its manifest; of runs that did not say so yet by its strategy.

    "" where the strategy is none of ours, or its settings are unknown.
    """
    if (stated := manifest.get("step_end")) in get_args(StepEnd):
        return str(stated)
    recorded = (manifest.get("settings") or {}).get("strategy") or {}
    kind = STRATEGIES.ours().get(str(recorded.get("name")))
    if kind is None or SPEC in recorded:
        return ""
    try:
        settings = kind.settings_type(**{k: v for k, v in recorded.items() if k != "name"})
    except ValidationError:
        return ""
    return kind(settings).step_end
