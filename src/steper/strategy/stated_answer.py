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
    r"(?:[.,;!?。]|\b(?:and|so|thus|therefore|hence|believe|think|conclude|that))\s{1,3}"
    r"(?:(?:so|and|thus|therefore|hence),?\s{1,3})?"
    rf"the (?:final |correct )?answer{_OF_QUESTION} is(?!\w)\s{{0,9}}[:：]?",
    re.IGNORECASE,
)
# "The answer is based on the first passage": said of an answer, no answer.
_REMARK = re.compile(
    r"\s*(?:based on|derived from|found in|taken from|as follows|correct|consistent|clear|because"
    r"|(?:in|from|according to) (?:the|this)|(?:given|stated|supported|confirmed) (?:in|by))\b"
)
_AT_ONCE = re.compile(
    r"\s*(?:(?:"
    r"(?:[Ss]o,? )?(?:[Tt]he (?:final |correct )?answer is(?!\w)"
    # In other cases it may be a title ("The Answer Is Blowing") unless a colon follows.
    r"|(?i:the (?:final |correct )?answer is\s?[:：]))"
    r"|(?i:[#>\s]{0,9}(?:the )?(?:intermediate |final |short )?answer\s?[:：])"
    r")\s{0,9}[:：]?\s{0,9}){1,3}"
)
_LEADS_OVER = re.compile(
    r"(?:(?<=[\s,;:])|^)"
    r"(?:(?:and|so|thus|therefore|hence|then|finally|in conclusion|which means(?: that)?)\b"
    r",?\s{0,3}"
    r"|(?:based on|according to|given) [^\n,.]{1,80},\s{0,3}){0,3}"
    r"(?:(?:the|my|our)\s{1,3})?(?:(?:final|short|correct)\s{1,3})?\Z",
    re.IGNORECASE,
)
"""What stands between a statement and "answer is": "…, so the final"."""
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
    stated = _stated(text)
    return None if stated is None else stated[1]


def told_before_answer(text: str) -> str | None:
    """What a text tells before it states its answer; None where it states none.

    "Ann was born first, so the final answer is Ann." -> "Ann was born first.". Cut where the first
    "answer is" begins, so that what is left states no answer; what leads over to it goes, too.
    """
    found = _stated(text)
    if found is None:
        return None
    told, over = found[0], _LEADS_OVER.search(found[0])
    told = (told[: over.start()] if over else told).rstrip(" \t\n,;:–—-")
    if not says_something(told):
        return ""
    return told if told.endswith((".", "!", "?", "。", '"', "”")) else f"{told}."


def _stated(text: str) -> tuple[str, str] | None:
    """(what stands in front of the answer's marker, the answer), as `stated_answer` reads it."""
    lines = [line for line in plain(text).splitlines() if line.strip()]
    empty, at, before = False, 0, ""
    for number, line in enumerate(lines):
        heading = is_heading(line) and number + 1 < len(lines)
        found = ("", "") if heading else _after_marker(line)
        if found is None:
            if not empty or not says_something(line):
                continue
            value = _FIRST_ITEM.sub("", line, count=1)
        else:
            at, (before, value) = number, found
        empty = not value.strip(" \t*$:：")
        if not empty and (answer := clean_answer(value)):
            return "\n".join((*lines[:at], before)), answer
    return ("\n".join((*lines[:at], before)), "") if empty else None


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


def _after_marker(line: str) -> tuple[str, str] | None:
    r"""What stands in front of a line's first marker, and what follows the one that counts.

    A line with a `\boxed{…}` needs none: what it says without the box stands in front.
    """
    found = next(
        (m for m in _MARKER.finditer(line) if not m.group().rstrip().endswith("Answer Is")), None
    )
    if found is None:
        return (_unboxed_line(line), line) if is_boxed(line) else None
    end, length = found.end(), len(line.rstrip())
    for again in _AGAIN.finditer(line, end):
        if again.end() < length and not _REMARK.match(line, again.end()):
            end = again.end()
    if once := _AT_ONCE.match(line, end):
        end = once.end()
    # A label's marker begins with the full stop of the sentence in front.
    start = found.start() + found.group().startswith((".", "!", "?", "。"))
    return line[:start], line[end:].lstrip(" \t:：")


def _unboxed_line(line: str) -> str:
    """A line with the answer in the place of its box; "" where there is no more than a box."""
    head, _, rest = line.partition(r"\boxed{")
    tail = rest.rpartition("}")[2]
    if not says_something(head + tail):
        return ""
    return f"{head.rstrip('$')}{clean_answer(line)}{tail.lstrip('$')}"
