"""Requests made short, for the tests of language models."""

from __future__ import annotations

from typing import Any

from steper.lm.base import Request
from steper.prompt.segments import Prompt, Segment


def ask(text: str = "Who?", *, question_id: str = "q1", step: int = 1, **fields: Any) -> Request:
    """A request whose prompt is one user segment, for a plain model unless `form` says chat."""
    prompt = Prompt(fields.pop("form", "plain"), (Segment("user", text),))
    return Request(
        question_id=question_id,
        strategy="ircot",
        step=step,
        role=fields.pop("role", "reason"),
        prompt=prompt,
        **fields,
    )
