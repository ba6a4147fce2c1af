"""Strategies by name: how a multi-step retrieval-augmented LM goes about a question."""

from __future__ import annotations

from typing import Any

from steper.errors import SettingsError, unknown_name
from steper.strategy.ircot import IRCoT, IRCoTSettings
from steper.strategy.loop import Prompted
from steper.strategy.self_ask import SelfAsk, SelfAskSettings
from steper.strategy.single import ClosedBook, OneShot, SingleSettings

__all__ = [
    "STRATEGIES",
    "ClosedBook",
    "IRCoT",
    "IRCoTSettings",
    "OneShot",
    "SelfAsk",
    "SelfAskSettings",
    "SingleSettings",
    "strategy_type",
]

STRATEGIES: dict[str, type[Prompted[Any]]] = {
    "ircot": IRCoT,
    "self_ask": SelfAsk,
    "one_shot": OneShot,
    "closed_book": ClosedBook,
}


def strategy_type(name: str) -> type[Prompted[Any]]:
    """The strategy of that name; an unknown one is a SettingsError with the nearest names."""
    if name not in STRATEGIES:
        raise SettingsError(unknown_name("strategy", name, STRATEGIES))
    return STRATEGIES[name]
