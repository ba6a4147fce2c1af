"""What a generation of Self-Ask says, by its markers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from steper.strategy.reading import plain
from steper.strategy.stated_answer import is_heading, stated_answer
from steper.text import bare

FINAL_CUE = "So the final answer is:"
INTERMEDIATE_CUE = "Intermediate answer:"

_FOLLOW_UP = r"follow[- ]?up(?: question)?(?: \d{1,2})?\s{0,9}[:：]"
_INTERMEDIATE = r"intermediate answer(?: \d{1,2})?\s{0,9}[:：]"
_FINAL = r"(?:(?:so|thus|therefore|hence),?\s{1,9})?the (?:final |correct )?answer is(?!\w)"

_MARKERS = re.compile(
    rf"(?P<follow_up>{_FOLLOW_UP})|(?P<intermediate>{_INTERMEDIATE})|(?P<final>{_FINAL})",
    re.IGNORECASE,
)

_NEXT_ON_THE_LINE = re.compile(
    rf"\s(?={_FOLLOW_UP}|(?:(?:so|thus|therefore|hence),?\s{{1,9}}the (?:final )?"
    r"|the final )answer is\s{0,9}[:：])",
    re.IGNORECASE,
)
_NEXT_AFTER_A_QUESTION = re.compile(
    rf"(?<=\?)\s(?={_FOLLOW_UP}|{_INTERMEDIATE}|{_FINAL})", re.IGNORECASE
)
_MAY_SAY = re.compile(r"follow[- ]?up|answer|\\boxed\{", re.IGNORECASE)
_CERTAIN = re.compile(rf"{_FOLLOW_UP}|{_INTERMEDIATE}|the final answer is", re.IGNORECASE)


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
    r"""The first intermediate answer, and the first follow-up or final answer, of a generation.

    A marker's value is all that follows it on its line, colons included; but what comes next may
    stand on the intermediate answer's line, or after a follow-up's question mark, and a value on
    the line after its marker. A final answer
    is read as `stated_answer` does, so "The answer is: X", "Answer: X" and `\boxed{X}` are one,
    unless the markers go on after them; one that says there is none is left out.
    """
    found: dict[str, str] = {}
    if not _MAY_SAY.search(text):
        return Piece()
    lines = list(_with_values(_under_headings([line for line in _lines(text) if line.strip()])))
    certain = max((i for i, line in enumerate(lines) if _CERTAIN.search(line)), default=-1)
    for number, line in enumerate(lines):
        name, value = _read(line, lines[number + 1 : number + 2], goes_on=number < certain)
        if value is None:
            continue
        if name in found or (name == "intermediate" and found):
            break
        found[name] = value
        if name != "intermediate":
            break
    return Piece(found.get("intermediate"), found.get("follow_up"), found.get("final"))


def without_told(text: str, told: Sequence[str]) -> str:
    """`text` without the lines of the pieces `told`, where it begins with the first of them.

    Each goes as often as it was told: two people may be born in one year.
    """
    before = [bare(line) for piece in told for line in piece.splitlines()]
    lines = [line for line in _lines(text) if line.strip()]
    if not before or not lines or bare(lines[0]) != before[0]:
        return text
    left, new = Counter(before), []
    for line in lines:
        if left[bare(line)]:
            left[bare(line)] -= 1
        else:
            new.append(line)
    return "\n".join(new)


def _lines(text: str) -> Iterator[str]:
    """Lines of one marker each."""
    for line in plain(text).splitlines():
        marker = _MARKERS.search(line)
        cut = None
        if marker and marker.lastgroup == "intermediate":
            cut = _NEXT_ON_THE_LINE.search(line, marker.end())
        elif marker and marker.lastgroup == "follow_up":
            cut = _NEXT_AFTER_A_QUESTION.search(line, marker.end())
        yield from (line[: cut.start()], line[cut.end() :]) if cut else (line,)


def _under_headings(lines: Sequence[str]) -> list[str]:
    """The lines, with "### Final Answer" and the line below it in one."""
    joined: list[str] = []
    for line in lines:
        if joined and is_heading(joined[-1]):
            joined[-1] += f": {line.strip()}"
        else:
            joined.append(line)
    return joined


def _with_values(lines: Sequence[str]) -> Iterator[str]:
    """The lines, with those joined to a marker that has its value on the next one.

    "Here is the follow-up question:" in front of another marker says nothing and is left out.
    """
    rest = iter([*lines, ""])
    line = next(rest)
    for following in rest:
        marker = _MARKERS.search(line)
        open_ended = marker and marker.lastgroup != "final" and not line[marker.end() :].strip()
        if marker and open_ended and following and not _MARKERS.search(following):
            line = f"{line} {following.strip()}"
            continue
        if not (marker and open_ended and following and marker.lastgroup == "follow_up"):
            yield line
        line = following


def _read(line: str, following: Sequence[str], goes_on: bool) -> tuple[str, str | None]:
    """(kind, value) of a line; the value is None where it says nothing by a marker.

    `goes_on`: a marker of Self-Ask's own follows on a later line.
    """
    marker = _MARKERS.search(line)
    if marker is not None and marker.lastgroup == "final":
        # "So the final answer is: Follow up: …" asks.
        rest = line[marker.end() :].lstrip(" :：")
        asked = _MARKERS.match(rest)
        if asked is not None and asked.lastgroup == "follow_up":
            return "follow_up", rest[asked.end() :].strip()
        line = line[marker.start() :]
    elif marker is not None:
        return str(marker.lastgroup), line[marker.end() :].strip()
    answer = stated_answer(line)
    if answer is None:
        return "final", None
    certain = marker is not None and ("final" in marker.group().lower() or _has_colon(line, marker))
    if not certain and goes_on:
        # "Answer: X" before the next follow-up is an intermediate one; a remark is none.
        labelled = marker is None
        return "intermediate", answer if labelled else None
    if not answer and following and not _MARKERS.search(following[0]):
        answer = stated_answer(f"{line}\n{following[0]}") or ""
    return "final", answer


def _has_colon(line: str, marker: re.Match[str]) -> bool:
    return line[len(marker.group()) :].lstrip().startswith((":", "："))
