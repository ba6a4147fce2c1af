"""The answer that a text states: "So the answer is: X."."""

from __future__ import annotations

import re

from steper.text import strip_full_stop

ANSWER_PATTERN = r"(?is)\banswer is\s*:?\s*(.*)"
"""The group is what follows "answer is:"."""

_STATED_AGAIN = re.compile(
    r"(?:the (?:final )?answer is\s*:"
    r"|.*(?:[.,;!?]|\band|\bso)\s+(?:so,? |and )?the (?:final )?answer is\s*:?)\s*(.+)",
    re.IGNORECASE,
)


def stated_answer(text: str, pattern: str = ANSWER_PATTERN) -> str | None:
    """What follows "answer is:" in a rationale, or None where it says no such thing.

    IRCoT stops at `.* answer is:? (.*)\\.?`: only the rest of the line counts, and where its
    sentences state an answer again, the last one. A Markdown emphasis around the answer is taken
    off. `pattern` may be another; its group is the answer.
    """
    found = re.search(pattern, text)
    if not found:
        return None
    lines = found.group(1).strip().splitlines()
    if lines and pattern == ANSWER_PATTERN and (again := _STATED_AGAIN.match(lines[0])):
        lines = [again.group(1)]
    return strip_full_stop(strip_full_stop(lines[0]).strip("* ")) if lines else ""
