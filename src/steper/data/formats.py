"""What a question format is: how a file of it is recognised, and how one of its rows is read.

Each format of ours stands in its module beside this file, and is found by looking there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from steper.data.items import Item
from steper.doors import Door, parts_in, place_of
from steper.records import Question
from steper.text import says_nothing

Read = Callable[[Item, "Counter[str]"], "Question | None"]
"""The question of an item; None, and a reason counted, for one that is left out."""


def given_answers(answers: str | Iterable[str] | None, counts: Counter[str]) -> tuple[str, ...]:
    """The answers of a row, one or several, without repetition; blank ones are counted as none."""
    given = tuple(dict.fromkeys([answers] if isinstance(answers, str) else answers or ()))
    said = tuple(answer for answer in given if not says_nothing(answer))
    counts["blank_answer"] += len(given) - len(said)
    return said


@dataclass(frozen=True)
class QuestionFormat:
    """A format of question files.

    `fields` says in words what its rows have; `matches` recognises it by a row's fields, formats of
    a lower `order` first. `open` formats carry no benchmark of their own: naming one says by which
    rules answers are scored. `with_aliases` reads with 2Wiki's `id_aliases` file.
    """

    name: str
    fields: str
    read: Read
    matches: Callable[[Collection[str]], bool] = lambda fields: False
    order: int = 100
    open: bool = False
    with_aliases: Callable[[Path], Read] | None = None


@cache
def _ours() -> Mapping[str, QuestionFormat]:
    found = [part for _, part in parts_in(__package__) if isinstance(part, QuestionFormat)]
    return {each.name: each for each in sorted(found, key=lambda each: each.order)}


def as_format(part: Any) -> QuestionFormat | None:
    """A QuestionFormat as it is; a function `row -> Question | None` as a format of that name."""
    if isinstance(part, QuestionFormat):
        return part
    if not callable(part):
        return None
    name = place_of(part)

    def read(item: Item, counts: Counter[str]) -> Question | None:
        try:
            question: Question | None = part(item.value)
        except (KeyError, TypeError, ValueError) as error:
            raise item.error(f"{name} cannot read it ({type(error).__name__}: {error})") from error
        counts["left_out_by_reader"] += question is None
        return question

    return QuestionFormat(name, "as that function wants them", read)


BENCHMARKS: Door[QuestionFormat] = Door(
    "benchmark",
    "steper.benchmarks",
    _ours,
    as_format,
    "a QuestionFormat, or a function: row -> Question or None",
)
