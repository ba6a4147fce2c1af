"""Which questions are learnt from, where they are not all: some, in an order by a seed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from steper.errors import InputError
from steper.examples.example_settings import ExampleSettings


def taken_questions(every: set[str], settings: ExampleSettings, run: Path) -> set[str]:
    """The questions that are learnt from, by id; InputError where a run has not so many."""
    wanted = settings.questions
    if wanted is None:
        return every
    if wanted > len(every):
        raise InputError(
            f"{run} holds {len(every)} questions, but {wanted} are to be learnt from "
            "(questions); a larger run was expected, or a smaller number"
        )
    return set(seeded_order(every, settings.seed)[:wanted])


def seeded_order(ids: Iterable[str], seed: int) -> list[str]:
    """Ids in an order by `seed` that depends on each id alone: more questions change no place."""
    return sorted(ids, key=lambda i: (hashlib.sha256(f"{seed}/{i}".encode()).digest(), i))
