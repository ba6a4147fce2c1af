"""A prompt is a list of segments: who says it, the text, and whether training supervises it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from steper.records import StepKind

Role = Literal["system", "user", "assistant"]
Form = Literal["chat", "plain"]


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of prompt text.

    `kind` is None where nothing is learnt (prompts, retrieved passages), else the kind of the step
    whose loss L_kind the text's tokens count to; `weight` multiplies the loss of each token. `ends`
    says whether a target that closes with this text learns to end its turn there.
    """

    role: Role
    text: str
    kind: StepKind | None = None
    weight: float = 1.0
    ends: bool = True


@dataclass(frozen=True, slots=True)
class Prompt:
    """Segments in order, for a chat model (`chat`) or one that continues text (`plain`).

    At inference the last segment is the user's and the model writes the assistant's next; for
    training the supervised target follows as an assistant segment.
    """

    form: Form
    segments: tuple[Segment, ...]

    def messages(self) -> list[dict[str, str]]:
        """Chat messages: neighbouring segments of one role are one message."""
        out: list[dict[str, str]] = []
        for segment in self.segments:
            if out and out[-1]["role"] == segment.role:
                out[-1]["content"] += segment.text
            else:
                out.append({"role": segment.role, "content": segment.text})
        return out

    @property
    def begun(self) -> bool:
        """Whether the model goes on with a turn of its own."""
        return self.segments[-1].role == "assistant"

    def text(self) -> str:
        """Plain text: all segments in a row (their separators are part of them)."""
        return "".join(segment.text for segment in self.segments)
