"""What a generation of Self-Ask says, by its markers."""

from __future__ import annotations

import re
from dataclasses import dataclass

from steper.text import strip_full_stop

FINAL_CUE = "So the final answer is:"
INTERMEDIATE_CUE = "Intermediate answer:"

_MARKERS = re.compile(
    r"(?P<follow_up>follow[- ]?up(?: question)?\s*:)"
    r"|(?P<intermediate>intermediate answer\s*:)"
    r"|(?P<final>(?:so,?\s+)?the final answer is\s*:?)",
    re.IGNORECASE,
)

_NEXT_ON_THE_LINE = re.compile(
    r"(intermediate answer\s*:.*?)\s+(?=follow[- ]?up\s*:|so the final answer is\s*:)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Piece:
    """What a generation says, by its markers; their case varies between models."""

    intermediate: str | None = None
    follow_up: str | None = None
    final: str | None = None

    def text(self) -> str:
        """The piece as later prompts and training see it, with the original's markers."""
        lines = []
        if self.intermediate is not None:
            lines.append(f"{INTERMEDIATE_CUE} {self.intermediate}")
        if self.final is not None:
            lines.append(f"{FINAL_CUE} {self.final}")
        elif self.follow_up is not None:
            lines.append(f"Follow up: {self.follow_up}")
        return "\n".join(lines)


def parse_piece(text: str) -> Piece:
    """The first intermediate answer, and the first follow-up or final answer, of a generation.

    A marker's value is all that follows it on its line, colons included; but what comes next may
    stand on the intermediate answer's line. Markdown's `**` is taken off.
    """
    found: dict[str, str] = {}
    for line in _NEXT_ON_THE_LINE.sub(r"\1\n", text.replace("**", "")).splitlines():
        marker = _MARKERS.search(line)
        if marker is None or marker.lastgroup is None:
            continue
        value = line[marker.end() :].strip()
        name = marker.lastgroup
        if name in found or (name == "intermediate" and found):
            break
        found[name] = strip_full_stop(value) if name == "final" else value
        if name != "intermediate":
            break
    return Piece(found.get("intermediate"), found.get("follow_up"), found.get("final"))
