"""What Self-Ask states: each follow-up question with its answer, which is the next step's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from steper.records import Step
from steper.strategy.self_ask.pieces import parse_piece
from steper.strategy.statements import Statement


def answered_follow_ups(told: Iterable[tuple[Step, str]]) -> Iterator[Statement]:
    """The lines of these steps' texts, an intermediate answer joined to the follow-up before.

    The two tell one thing ("Who directed Gold Rain? Ann Lee") over what the follow-up found: the
    passages of the step that answers. A follow-up without an answer tells nothing.
    """
    asked: Statement | None = None
    question = ""
    for step, text in told:
        for line in text.splitlines():
            piece = parse_piece(line)
            if asked is not None and piece.intermediate is not None:
                tells = f"{question} {piece.intermediate}" if piece.intermediate else ""
                yield Statement(f"{asked.text}\n{line}", tells, step)
                asked = None
                continue
            if asked is not None:
                yield asked
            asked, question = None, piece.follow_up or ""
            if piece.follow_up is not None:
                asked = Statement(line, "", step)
            elif line:
                yield Statement(line, line, step)
    if asked is not None:
        yield asked
