"""What a recipe makes of a trajectory: training examples as segments of text with weights."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from steper.prompt.render import Layout
from steper.prompt.segments import Form, Segment
from steper.records import Record, StepKind


class StepExample(Record):
    """One training example.

    `segments` are the prompt (kind None) and the supervised target: assistant segments with a kind.
    The prompt is what `build_prompt` makes at inference, segment by segment, so the target begins
    where the student begins to write. Examples of one `trajectory` may share a forward pass.
    """

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

    @model_validator(mode="after")
    def _supervised(self) -> StepExample:
        if not any(s.kind is not None and s.text and s.weight > 0 for s in self.segments):
            raise ValueError("no segment is supervised")
        return self
