"""Disjoint test and dev samples of a question file, by seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

from steper.errors import InputError
from steper.records import Question
from steper.stored import choose


class Sample(NamedTuple):
    """Two disjoint sets of questions, each in the order of the file."""

    test: Sequence[Question]
    dev: Sequence[Question]


def sample_questions(
    questions: Sequence[Question], test: int = 500, dev: int = 100, seed: int = 0
) -> Sample:
    """`test` and `dev` questions at random; IRCoT's authors take 500 and 100 of each dev set.

    The choice depends on the ids and the seed alone, not on the file's order. Raises InputError
    when there are too few questions.
    """
    if min(test, dev) < 0:
        raise InputError(f"test ({test}) and dev ({dev}) must not be negative")
    if test + dev > len(questions):
        raise InputError(
            f"{test} test and {dev} dev questions were asked for, but there are "
            f"{len(questions)}; ask for fewer"
        )
    every = [q.id for q in questions]
    ids = sorted(every)
    random.Random(seed).shuffle(ids)
    # From both ends, so that neither set depends on the other's size.
    chosen, others = set(ids[:test]), set(ids[len(ids) - dev :])
    parts = ([n for n, i in enumerate(every) if i in part] for part in (chosen, others))
    return Sample(*(choose(questions, part) for part in parts))
