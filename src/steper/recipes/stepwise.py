"""StepER's step-wise examples (Lee et al., EMNLP 2025, §3), and its ablations' subsets of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from steper.errors import SettingsError
from steper.recipes.base import (
    Context,
    Draft,
    EndOfTurn,
    Inference,
    Make,
    Recipe,
    Target,
    Weights,
    check_whole_text,
    cumulative_draft,
    current_draft,
)
from steper.records import Step, StepKind, StopReason
from steper.strategy.base import Strategy
from steper.strategy.replay import Replay
from steper.strategy.single import SingleStep


def of_kinds(*kinds: StepKind) -> Make:
    """A recipe's function: an example for each step of these kinds.

    Of a trajectory of S steps they are one `init`, S−2 `exp` and one `agg`; one of a single step
    has its `agg` alone.
    """

    def make(replay: Replay, context: Context) -> Iterator[Draft]:
        for step in replay.steps[replay.trajectory.begun or 0 :]:
            if step.kind in kinds:
                # A separate reader's prompt holds no earlier reasoning: it has none to accumulate.
                whole = context.target == "cumulative" and step.role == "reason"
                make_draft = cumulative_draft if whole else current_draft
                yield make_draft(replay, step, ends_turn(replay, step, context))

    return make


def ends_turn(replay: Replay, step: Step, context: Context) -> bool:
    """Whether the end of the turn after a step is learnt; see `recipes.base.EndOfTurn`."""
    later = replay.steps[step.index :]
    more = replay.trajectory.stop_reason is StopReason.ONE_STEP
    if step.role == "read" or not (more or any(other.role == "reason" for other in later)):
        return True
    return context.end_of_turn == "every_step" and not replay.goes_on(step)


def check(target: Target, end_of_turn: EndOfTurn, strategy: Strategy[Any]) -> None:
    """Refuse what the student's prompts or its inference contradict; docs/design.md has the table.

    A strategy of a single step has no middle ones whose ends could be left out.
    """
    in_steps = not isinstance(strategy, SingleStep)
    if end_of_turn == "last_step" and strategy.step_end == "model" and in_steps:
        raise SettingsError(
            "end_of_turn=last_step teaches no end of a middle step, and nothing else would end "
            "one: the student's strategy keeps all that it writes; use end_of_turn=every_step, or "
            "let the strategy cut steps (IRCoT: keep=first_new_sentence)"
        )
    if target == "current":
        if strategy.prompt.written_anew:
            raise SettingsError(
                "reasoning=anew asks for all of the reasoning at each step, and target=current "
                "teaches a step's own; use target=cumulative"
            )
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
    check_whole_text(strategy)


def check_on_policy(target: Target, end_of_turn: EndOfTurn, strategy: Strategy[Any]) -> None:
    """Refuse R≤s as a target: at the student's states it holds steps that the student wrote."""
    if target == "cumulative":
        raise SettingsError(
            "target=cumulative teaches all reasoning so far, which at a student's own states is "
            "partly its own; use target=current"
        )
    check(target, end_of_turn, strategy)


def _stepwise(name: str, weights: Weights, about: str, *kinds: StepKind) -> Recipe:
    return Recipe(
        name,
        of_kinds(*kinds),
        weights,
        about,
        inference=Inference(prompt={"reasoning": "user"}),
        cumulative=Inference(prompt={"reasoning": "anew"}),
        check=check,
    )


STEPER = _stepwise(
    "steper", "learned", "every step, weighed by learned difficulty", "init", "exp", "agg"
)
UNIFORM = _stepwise("steper_uniform", "uniform", "every step, weighed alike", "init", "exp", "agg")
INIT_AGG = _stepwise(
    "steper_init_agg", "learned", "first and final steps (ablation)", "init", "agg"
)
EXP_AGG = _stepwise("steper_exp_agg", "learned", "middle and final steps (ablation)", "exp", "agg")
AGG = _stepwise("steper_agg", "learned", "final steps alone (ablation)", "agg")
ON_POLICY = replace(
    STEPER,
    name="steper_onpolicy",
    about="every step of the teacher's, and those that it wrote at the student's own states",
    cumulative=None,
    check=check_on_policy,
)
VERIFIED = replace(
    STEPER,
    name="steper_verified",
    about="every step up to the first that is not verified, of wrong trajectories, too",
    filters={"correct": "none", "on_bad_step": "step"},
    more_filters=("verified",),
)
GKD = replace(
    STEPER,
    name="steper_gkd",
    about="every step of the student's own, right or wrong, for training with a divergence",
    filters={"correct": "none", "repeats": True, "truncated": True},
    learns="own",
)
