"""A trajectory handed over at one of its states to another model, which writes the next step.

What DAgger asks of an expert (Ross, Gordon, Bagnell; AISTATS 2011): act with the student, have each
state that it came to labelled. A state is (q, P≤s, R<s) as the student had it, its own mistakes
included. The strategy's generator lives through the recorded steps up to there, so the other model
is asked in its own words and form for exactly what the student was asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from steper.errors import QuestionDropped
from steper.records import Step, StopReason, Trajectory
from steper.strategy.actions import Actions, Generate
from steper.strategy.base import Strategy
from steper.strategy.replay import RecordedTrace, recorded_reply
from steper.strategy.trace import Ending, Trace

NOT_REACHED = "state_not_reached"
"""The reason of a state that the strategy does not come to: it keeps other texts, or shows other
passages, than the student's did (other settings, or a smaller window)."""


class State(NamedTuple):
    """(q, P≤s, R<s): a trajectory up to where its step `step`, from 1, was asked for."""

    trajectory: Trajectory
    step: int

    @property
    def reached(self) -> tuple[Step, ...]:
        """The steps before it."""
        return self.trajectory.steps[: self.step - 1]


def states(trajectory: Trajectory) -> Iterator[State]:
    """Each state at which something was written, in order."""
    for step in trajectory.steps:
        if step.generated:
            yield State(trajectory, step.index)


def hand_over(strategy: Strategy[Any], state: State) -> tuple[Trace, Actions]:
    """The trace at a state, and a generator that asks for the one step that follows.

    It ends as the strategy does where that step ends the loop (an answer, nothing written), else
    with ONE_STEP. Raises QuestionDropped where the strategy does not come to the state.
    """
    question, past = state.trajectory.question, state.trajectory.steps
    own = state.trajectory.instead(state.step)
    trace = RecordedTrace(question, past=past, begun=state.step - 1, instead_of=own)
    return trace, _one_step(strategy, trace, state)


def _one_step(strategy: Strategy[Any], trace: RecordedTrace, state: State) -> Actions:
    passages = {p.id: p for p in state.trajectory.passages}
    actions = strategy.run(trace)
    reply: Any = None
    try:
        while True:
            action = actions.send(reply)
            done = len(trace.steps)
            if done == state.step:
                actions.close()
                return Ending("", StopReason.ONE_STEP)
            if done == state.step - 1 and isinstance(action, Generate):
                _check(action, trace, state)
                reply = yield action
            else:
                reply = recorded_reply(action, trace.past[done], passages)
    except StopIteration as stop:
        if len(trace.steps) < state.step:
            raise QuestionDropped(NOT_REACHED, f"step {state.step}") from None
        ending: Ending = stop.value
        return ending


def _check(action: Generate, trace: RecordedTrace, state: State) -> None:
    """Raise QuestionDropped where what is asked is not what the student was asked at the state."""
    shown = tuple(passage.id for passage in action.passages)
    told = [step.rationale for step in trace.steps]
    asked = state.trajectory.steps[state.step - 1]
    if (
        shown != asked.context
        or action.role != asked.role
        or told != [step.rationale for step in state.reached]
    ):
        raise QuestionDropped(NOT_REACHED, f"step {state.step}")
