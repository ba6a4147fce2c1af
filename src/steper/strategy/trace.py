"""The state of one question: the steps taken and the passages gathered, as a strategy writes it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from steper.lm.base import Completion
from steper.records import (
    Hit,
    Instead,
    Passage,
    Status,
    Step,
    StepKind,
    StepRole,
    StopReason,
    Trajectory,
    Usage,
)
from steper.retrieve.base import Found

_STATUS: dict[StopReason, Status] = {
    StopReason.ANSWERED: "answered",
    StopReason.FORCED: "answered",
    StopReason.FAILED: "failed",
    StopReason.DROPPED: "dropped",
}


@dataclass(frozen=True, slots=True)
class Ending:
    """How a strategy ended: its answer (empty where there is none) and why it stopped."""

    answer: str
    reason: StopReason

    @property
    def status(self) -> Status:
        """A guard that ended the loop with an answer in hand leaves it answered."""
        return _STATUS.get(self.reason, "answered" if self.answer else "capped")


@dataclass
class Trace:
    """Steps so far of one question; the strategy appends, the engine turns it into a record.

    `begun` and `instead_of` are those of the record.
    """

    question: str
    steps: list[Step] = field(default_factory=list)
    passages: dict[str, Passage] = field(default_factory=dict)
    begun: int | None = None
    instead_of: Instead | None = None

    def recorded(self) -> frozenset[str] | None:
        """The passages that the next step's prompt shows where a record says so: see `replay`."""
        return None

    def add(
        self,
        completion: Completion | None,
        rationale: str,
        *,
        role: StepRole = "reason",
        query: str | None = None,
        found: Sequence[Found] = (),
        context: Sequence[Passage] = (),
        dropped: Sequence[Passage] = (),
        shortened: Sequence[Passage] = (),
        cue: str = "",
    ) -> None:
        """Append a step; `completion` is None where nothing was written for it.

        Its kind is set when the trajectory is over.
        """
        for passage in (*(f.passage for f in found), *context, *dropped):
            self.passages.setdefault(passage.id, passage)
        hits = tuple(
            Hit(passage_id=f.passage.id, score=f.score, rank=rank)
            for rank, f in enumerate(found, start=1)
        )
        self.steps.append(
            Step(
                index=len(self.steps) + 1,
                kind="exp",
                role=role,
                query=query,
                hits=hits,
                context=tuple(p.id for p in context),
                dropped=tuple(p.id for p in dropped),
                shortened=tuple(p.id for p in shortened),
                cue=cue,
                raw=completion.text if completion else "",
                rationale=rationale,
                generated=completion is not None,
                finish=completion.finish if completion else "stop",
                thoughts=completion.thoughts if completion else "",
                usage=completion.usage if completion else Usage(),
            )
        )

    def discard(self, steps: Iterable[Step]) -> None:
        """Mark steps without which the reasoning goes on."""
        for step in steps:
            self.steps[step.index - 1] = step.model_copy(update={"discarded": True})

    def trajectory(
        self,
        question_id: str,
        strategy: str,
        layout: str,
        model: str,
        settings: str,
        ending: Ending,
        error: str | None = None,
        sample: int = 0,
    ) -> Trajectory:
        """The record of the finished attempt, each step with its kind."""
        # After a single step that was asked for, more would have come.
        last = len(self.steps) + (ending.reason is StopReason.ONE_STEP)
        steps = tuple(
            step.model_copy(update={"kind": step_kind(step.index, last)}) for step in self.steps
        )
        return Trajectory(
            question_id=question_id,
            sample=sample,
            question=self.question,
            strategy=strategy,
            layout=layout,
            model=model,
            settings=settings,
            steps=steps,
            passages=tuple(self.passages.values()),
            answer=ending.answer,
            status=ending.status,
            stop_reason=ending.reason,
            error=error,
            begun=self.begun,
            instead_of=self.instead_of,
        )


def step_kind(index: int, last: int) -> StepKind:
    """Kind of step `index` (from 1) of `last`: the last one aggregates, the first initializes.

    A trajectory of a single step has only its aggregation.
    """
    if index == last:
        return "agg"
    return "init" if index == 1 else "exp"
