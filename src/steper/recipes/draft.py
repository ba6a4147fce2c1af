"""An example in the making: its prompt, its target, and the steps whose text it supervises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from steper.prompt.segments import Prompt
from steper.records import Step
from steper.strategy.replay import Replay

Target = Literal["current", "cumulative"]
"""`current`: r_s, with R<s in the prompt. `cumulative`: R≤s, without R<s in the prompt (StepER's
equations as they are written)."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What a recipe makes of a step; `target` is None where the step cannot be written.

    `supervises` are the indices of the steps whose text is in the target: where a filter objects to
    one of them, the example goes.
    """

    step: Step
    prompt: Prompt
    target: str | None
    supervises: tuple[int, ...]


def current_draft(replay: Replay, step: Step) -> Draft:
    """(q, P≤s, R<s) → r_s: what a student is asked for at inference."""
    return Draft(step, replay.prompt(step), replay.written(step), (step.index,))


def cumulative_draft(replay: Replay, step: Step) -> Draft:
    """(q, P≤s) → R≤s."""
    prompt = replay.prompt_without_reasoning(replay.gathered(step))
    return Draft(step, prompt, replay.written_up_to(step), tuple(range(1, step.index + 1)))
