"""A share of a run's questions, so that several machines make one run together.

Which shard a question is in follows from its id alone: the file's order, and what else is in it,
change nothing. The shards of a run have its settings, with the hash of all questions; `merging`
puts them together again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from steper.errors import InputError, SettingsError, writing_to
from steper.journal import IDS
from steper.records import Question
from steper.store import read_json_lines, write_jsonl


@dataclass(frozen=True)
class Shard:
    """Shard `number`, from 1, `of` so many."""

    number: int
    of: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise _no_shard(str(self))

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @classmethod
    def parse(cls, text: str) -> Shard:
        """The shard that is written `3/8`. Raises SettingsError for anything else."""
        number, slash, of = text.partition("/")
        if not (slash and text.isascii() and number.isdecimal() and of.isdecimal()):
            raise _no_shard(text)
        return cls(int(number), int(of))

    def holds(self, question_id: str) -> bool:
        """Whether a question of that id is in this shard."""
        digest = hashlib.sha256(question_id.encode()).digest()
        return int.from_bytes(digest[:8], "big") % self.of == self.number - 1

    def choose(self, questions: Iterable[Question]) -> Iterator[Question]:
        """Its questions, in their order."""
        return (question for question in questions if self.holds(question.id))


def _no_shard(text: str) -> SettingsError:
    return SettingsError(
        f"shard is {text!r}; NUMBER/OF was expected, such as 3/8: the third of eight"
    )


def write_ids(run: Path, questions: Sequence[Question]) -> None:
    """Write the ids of all questions of which a shard has some: their order, and who is missing."""
    with writing_to(run):
        write_jsonl(run / IDS, ({"id": question.id} for question in questions))


def read_ids(run: Path) -> list[str]:
    """The ids of the whole run's questions, in order. Raises InputError for a damaged file."""
    ids = []
    for number, row in read_json_lines(run / IDS):
        if not isinstance(row.get("id"), str):
            raise InputError(f"{run / IDS}, line {number}: id is {row.get('id')!r}, not a text")
        ids.append(row["id"])
    return ids
