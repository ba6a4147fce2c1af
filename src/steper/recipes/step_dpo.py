"""Step-level DPO: at one state, a step that is to be preferred to one that the student failed with.

Lai et al., "Step-DPO" (2024): the pair shares all that came before, so what differs is the step.
Where a teacher wrote the step at a student's state (`steper relabel`), the teacher's is preferred.
Among several samples of the student's own, it is that of a trajectory that ended right.

Differs from the paper: there the rejected step is the first wrong one, told by a judge. Here it is
the first one of a failed trajectory that the teacher would have written otherwise (`pairs_at`), so
that nobody has to judge but the answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from steper.evaluation.official_scores import normalize_answer
from steper.prompt.segments import Segment
from steper.recipes.base import Context, Draft, Inference, Recipe, current_draft, learn
from steper.recipes.stepwise import check_on_policy, ends_turn
from steper.records import Instead, Status, Step, Trajectory
from steper.strategy.replay import Replay

SAME, RIGHT, UNKNOWN, ALONE = "same_text", "not_failed", "no_known_failure", "no_pair"
LATER = "not_first"


def pairs(replay: Replay, context: Context) -> Iterator[Draft]:
    """A pair for each of the trajectory's own steps; one without a counterpart is left out."""
    for step in replay.steps[replay.trajectory.begun or 0 :]:
        draft = current_draft(replay, step, ends_turn(replay, step, context))
        others = _failed(replay, step, context)
        if isinstance(others, str):
            yield replace(draft, left_out=others)
        elif draft.target is None:
            yield draft
        else:
            yield _paired(replay, draft, others, context)


def _failed(replay: Replay, step: Step, context: Context) -> list[Instead] | str:
    """What was written in failed attempts at a step's state; why there is none."""
    own = replay.trajectory.instead_of
    if own is None:
        return _of_samples(replay.trajectory, step, context) or ALONE
    failed = has_failed(own.status, own.answer, context)
    return [own] if failed else UNKNOWN if failed is None else RIGHT


def has_failed(status: Status, answer: str, context: Context) -> bool | None:
    """Whether an attempt failed: without an answer, or with a wrong one; None: nobody knows.

    One that a model's or retriever's error ended says nothing of its steps.
    """
    if status in ("failed", "dropped"):
        return None
    right = context.is_right(answer) if status == "answered" else False
    return None if right is None else not right


def _of_samples(trajectory: Trajectory, step: Step, context: Context) -> list[Instead]:
    """What failed samples wrote at a state, less what one that ended right wrote there, too."""
    texts: dict[str, Instead] = {}
    sound = set[str]()
    for sample in context.samples:
        if not _at_state(sample, trajectory, step):
            continue
        own = sample.steps[step.index - 1]
        text = normalize_answer(own.rationale)
        failed = has_failed(sample.status, sample.answer, context)
        if failed:
            texts.setdefault(text, sample.instead(step.index))
        elif failed is False:
            sound.add(text)
    return [own for text, own in texts.items() if text not in sound]


def _at_state(sample: Trajectory, trajectory: Trajectory, step: Step) -> bool:
    """Whether a sample came to the state of a trajectory's step: (q, P≤s, R<s)."""
    index = step.index
    if sample is trajectory or len(sample.steps) < index or not sample.steps[index - 1].generated:
        return False

    def state(steps: tuple[Step, ...]) -> tuple[object, ...]:
        here = steps[index - 1]
        told = tuple(earlier.rationale for earlier in steps[: index - 1])
        return told, here.context, here.role, here.cue

    return state(sample.steps) == state(trajectory.steps)


def _stands_on_another(trajectory: Trajectory, context: Context) -> bool:
    """Whether the student had differed from the teacher before it came to a state."""
    begun = trajectory.begun or 0
    told = [step.rationale for step in trajectory.steps[:begun]]
    return any(
        label.instead_of is not None
        and label.begun is not None
        and label.begun < begun
        and [*(s.rationale for s in label.steps[: label.begun]), label.instead_of.rationale]
        == told[: label.begun + 1]
        and _differ(label.instead_of.rationale, label.steps[-1].rationale)
        for label in context.samples
        if len(label.steps) > (label.begun or 0)
    )


def _differ(one: str, other: str) -> bool:
    return normalize_answer(one) != normalize_answer(other)


def _paired(replay: Replay, draft: Draft, others: list[Instead], context: Context) -> Draft:
    """The draft with the first of these texts that is another one."""
    reason = SAME
    for own in others:
        rejected = _rejected(replay, draft, own)
        if rejected is None:
            reason = "cannot_be_written" if len(others) == 1 else reason
        elif not _differ(_text(rejected), _text(draft.target or ())):
            continue
        elif context.pairs_at == "first" and _stands_on_another(replay.trajectory, context):
            return replace(draft, left_out=LATER)
        else:
            return replace(draft, rejected=rejected)
    return replace(draft, left_out=reason)


def _rejected(replay: Replay, draft: Draft, own: Instead) -> tuple[Segment, ...] | None:
    """What is to be written after the draft's prompt to say what was said there instead."""
    assert draft.target is not None
    steps = replay.trajectory.steps
    at = draft.step.index - 1
    text = own.model_dump(include={"cue", "raw", "rationale", "finish"})
    other = Replay(
        replay.trajectory.model_copy(
            update={"steps": (*steps[:at], steps[at].model_copy(update=text))}
        ),
        replay.strategy,
    )
    if len(other.steps) <= at or other.prompt(other.steps[at]) != draft.prompt:
        return None
    written = other.written(other.steps[at])
    last = draft.target[-1]
    return (learn(written, draft.step.kind, ends=last.ends),) if written else None


def _text(target: tuple[Segment, ...]) -> str:
    return "".join(segment.text for segment in target)


STEP_DPO = Recipe(
    "steper_dpo",
    pairs,
    "uniform",
    "the teacher's step, or a successful one, preferred to the student's failed one",
    inference=Inference(prompt={"reasoning": "user"}),
    check=check_on_policy,
    learns="pairs",
)
