"""The answer that a text states: "So the answer is: X."."""

from __future__ import annotations

import re

from steper.strategy.reading import clean_answer, is_boxed, plain, says_something, search_within
from steper.text import ANSWER_HEADING

ANSWER_PATTERN = r"(?is)\banswer is\s*:?\s*(.*)"
"""The group is what follows "answer is:"."""

_OF_QUESTION = r"(?: to (?:this|the|your) question)?"

_MARKER = re.compile(
    rf"\banswer{_OF_QUESTION} is(?!\w)\s{{0,9}}[:：]?"
    # A label begins a line or a sentence: "Intermediate answer:" is none.
    r"|(?:^[#>\s]{0,9}|[.!?。]\s{1,3})(?:(?:so )?the )?"
    r"(?:final |short |correct |my )?answer\s?[:：]"
    r"|<answer>",
    re.IGNORECASE,
)
_AGAIN = re.compile(
    r"(?:[.,;!?。]|\b(?:and|so|thus|therefore|hence))\s{1,3}"
    r"(?:(?:so|and|thus|therefore|hence),?\s{1,3})?"
    rf"the (?:final |correct )?answer{_OF_QUESTION} is(?!\w)\s{{0,9}}[:：]?",
    re.IGNORECASE,
)
_AT_ONCE = re.compile(
    r"\s*(?:(?:"
    r"(?:[Ss]o,? )?(?:[Tt]he (?:final |correct )?answer is(?!\w)"
    # In other cases it may be a title ("The Answer Is Blowing") unless a colon follows.
    r"|(?i:the (?:final |correct )?answer is\s?[:：]))"
    r"|(?i:[#>\s]{0,9}(?:the )?(?:intermediate |final |short )?answer\s?[:：])"
    r")\s{0,9}[:：]?\s{0,9}){1,3}"
)
_HEADING = re.compile(ANSWER_HEADING, re.IGNORECASE)
# "The answer is:" and a list of one; "1. FC Köln" is a name.
_FIRST_ITEM = re.compile(r"\s*1[.)]\s(?!(?:F?FC|FSV)\b)")
_LEADING_LINES = re.compile(r"(?:.{0,200}[:：][*_]{0,2}\s{0,9}\n)*\s*")


def stated_answer(text: str, pattern: str = ANSWER_PATTERN) -> str | None:
    r"""What a text states as the answer, or None where it says no such thing.

    IRCoT stops at `.* answer is:? (.*)\\.?`: only the rest of the line counts, and where its
    sentences state an answer again, the last one. Differs from it, because of what chat models
    write: "Answer: X", `\boxed{X}` and `<answer>X</answer>` state one, too; an answer may begin on
    the next line, behind a heading ("### Final Answer"), too; marks, and sentences after the
    answer, do not belong to it. "The answer is not available" states none. "" where nothing
    follows. `pattern` may be another; its group is the answer.
    """
    if pattern != ANSWER_PATTERN:
        found = search_within(pattern, text)
        if not found:
            return None
        lines = (found.group(1) or "").strip().splitlines()
        return clean_answer(lines[0]) if lines else ""
    lines = [line for line in plain(text).splitlines() if line.strip()]
    empty = False
    for at, line in enumerate(lines):
        value = "" if is_heading(line) and at + 1 < len(lines) else _after_marker(line)
        if value is None:
            if not empty or not says_something(line):
                continue
            value = _FIRST_ITEM.sub("", line, count=1)
        empty = not value.strip(" \t*$:：")
        if not empty and (answer := clean_answer(value)):
            return answer
    return "" if empty else None


def is_heading(line: str) -> bool:
    """Whether a line only announces the answer: "### Final Answer"."""
    return bool(_HEADING.fullmatch(line.strip()))


def without_label(text: str) -> str:
    """What a model wrote after "So the answer is:", without another such marker in front.

    Nor with lines that lead up to the answer, which end with a colon.
    """
    text = _LEADING_LINES.sub("", text, count=1)
    once = _AT_ONCE.match(text)
    return text[once.end() :].lstrip() if once else text


def _after_marker(line: str) -> str | None:
    r"""What follows the marker that counts in a line; a line with a `\boxed{…}` needs none."""
    found = next(
        (m for m in _MARKER.finditer(line) if not m.group().rstrip().endswith("Answer Is")), None
    )
    if found is None:
        return line if is_boxed(line) else None
    end, length = found.end(), len(line.rstrip())
    for again in _AGAIN.finditer(line, end):
        if again.end() < length:
            end = again.end()
    if once := _AT_ONCE.match(line, end):
        end = once.end()
    return line[end:].lstrip(" \t:：")
