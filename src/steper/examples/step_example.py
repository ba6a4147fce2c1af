"""What a recipe makes of a trajectory: training examples as segments of text with weights."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from steper.prompt.render import Layout
from steper.prompt.segments import Form, Segment
from steper.records import GrownRecord, StepKind, Trajectory
from steper.text import strip_full_stop


class StepExample(GrownRecord):
    """One training example.

    `segments` are the prompt (kind None) and the supervised target: assistant segments with a kind.
    The prompt is what `build_prompt` makes at inference, segment by segment, so the target begins
    where the student begins to write. Examples of one `trajectory` may share a forward pass.

    `rejected`, of a preference pair: another target after the same prompt, to be made less likely
    than the one in `segments`.
    """

    later: ClassVar[tuple[str, ...]] = ("rejected",)

    schema_version: Literal[1] = 1
    id: str
    trajectory: str
    question_id: str
    recipe: str
    strategy: str
    step: int = Field(ge=1)
    steps: int = Field(ge=1)
    kind: StepKind
    form: Form
    layout: Layout
    segments: tuple[Segment, ...]
    rejected: tuple[Segment, ...] = ()

    @field_validator("rejected")
    @classmethod
    def _a_target(cls, segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
        if any(s.kind is None or s.role != "assistant" or not s.text for s in segments):
            raise ValueError("text that the assistant writes was expected, with its step's kind")
        return segments

    @property
    def prompt(self) -> tuple[Segment, ...]:
        """The segments in front of the target."""
        end = next(i for i, s in enumerate(self.segments) if s.kind is not None)
        return self.segments[:end]

    @property
    def learnt(self) -> tuple[object, ...]:
        """What a student learns of it: equal for examples that train alike.

        How a text is cut into segments does not count, nor a full stop at its end, which a forced
        answer may lack.
        """
        targets = (tuple(_joined(target)) for target in (self.segments, self.rejected))
        return self.id, self.kind, self.form, *targets

    @property
    def worse(self) -> StepExample:
        """The same with the rejected target in place of its own."""
        segments = (*self.prompt, *self.rejected)
        return self.model_copy(update={"segments": segments, "rejected": ()})

    @model_validator(mode="after")
    def _supervised(self) -> StepExample:
        if not any(s.kind is not None and s.text and s.weight > 0 for s in self.segments):
            raise ValueError("no segment is supervised")
        return self


def _joined(segments: tuple[Segment, ...]) -> Iterator[tuple[object, ...]]:
    """Neighbours that are learnt alike as one: how, the whole text, whether it may end a turn."""
    for alike, run in groupby(segments, lambda s: (s.role, s.kind, s.weight)):
        together = list(run)
        yield alike, strip_full_stop("".join(s.text for s in together)), together[-1].ends


def name_of(trajectory: Trajectory) -> str:
    """What no other trajectory is called, of this run or another."""
    sample = f"@{trajectory.sample}" if trajectory.sample else ""
    return f"{trajectory.settings}/{trajectory.question_id}{sample}"


def batch_of(trajectory: Trajectory) -> str:
    """What its examples are batched as: the states of a student's trajectory are one, as it was."""
    if trajectory.begun is None:
        return name_of(trajectory)
    return f"{trajectory.settings}/{trajectory.question_id}"
