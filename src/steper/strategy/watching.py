"""A strategy that is watched: it asks the same, and each action and result is told on the way."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from functools import partial
from typing import Any

from steper.errors import ModelError, QuestionDropped, RetrievalError
from steper.strategy.actions import Action, Actions
from steper.strategy.base import Strategy
from steper.strategy.trace import Trace

Watch = Callable[[Trace, Any], None]
"""Told the steps so far, and an action, then its result, and None at the end."""


def watched(strategy: Strategy[Any], watch: Watch) -> Strategy[Any]:
    """A strategy that asks the same, with every action and result told on the way."""

    def run(trace: Trace) -> Actions:
        actions = strategy.run(trace)
        go_on: Callable[[], Action] = partial(next, actions)
        while True:
            try:
                action = go_on()
            except StopIteration as stop:
                watch(trace, None)
                return stop.value  # type: ignore[no-any-return]
            watch(trace, action)
            try:
                result = yield action
            except (ModelError, RetrievalError, QuestionDropped) as error:
                go_on = partial(actions.throw, error)  # it writes down what it had of the step
            else:
                watch(trace, result)
                go_on = partial(actions.send, result)

    telling = copy(strategy)
    telling.run = run  # type: ignore[method-assign]
    return telling
