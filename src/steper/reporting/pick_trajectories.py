"""Which trajectories a report shows: drawn by seed, half of them where the methods disagree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from steper.evaluation.methods import Method
from steper.records import Question

Verdict = Literal["disagree", "all_right", "none_right", "unscored"]


def verdicts(methods: Sequence[Method], ids: Sequence[str]) -> dict[str, Verdict]:
    """How the methods' first runs did on questions that all of them have, by exact match."""
    ems = np.array([method.values("em", ids)[0] for method in methods])
    scored, right = ~np.isnan(ems).any(axis=0), ems == 1
    kinds: list[tuple[Verdict, NDArray[np.bool_]]] = [
        ("disagree", scored & right.any(axis=0) & ~right.all(axis=0)),
        ("all_right", right.all(axis=0)),
        ("none_right", scored & ~right.any(axis=0)),
        ("unscored", ~scored),
    ]
    return {ids[at]: kind for kind, those in kinds for at in np.flatnonzero(those).tolist()}


def choose(
    questions: Mapping[str, Question], verdicts: Mapping[str, Verdict], count: int, seed: int
) -> list[str]:
    """Ids of at most `count` questions, in the questions' order.

    Half are questions on which the methods disagree, the rest such that all or none got right in
    turn; types take turns within each. Where a kind has too few, the others fill up.
    """
    random = Random(seed)
    by_type: dict[Verdict, dict[str, list[str]]] = {kind: {} for kind in get_args(Verdict)}
    for i, question in questions.items():
        by_type[verdicts[i]].setdefault(question.type or "", []).append(i)
    pools = {kind: _by_turns(types, random) for kind, types in by_type.items()}
    chosen = pools["disagree"][: (count + 1) // 2]
    rest = _interleave([pools["all_right"], pools["none_right"], pools["unscored"]])
    chosen += rest[: count - len(chosen)]
    chosen += pools["disagree"][(count + 1) // 2 :][: count - len(chosen)]
    wanted = set(chosen)
    return [i for i in questions if i in wanted]


def _by_turns(types: Mapping[str, list[str]], random: Random) -> list[str]:
    """Shuffled ids, one of each type in turn."""
    for ids in types.values():
        random.shuffle(ids)
    return _interleave([types[name] for name in sorted(types)])


def _interleave(lists: Sequence[Sequence[str]]) -> list[str]:
    """First of each, then second of each, …"""
    longest = max((len(ids) for ids in lists), default=0)
    return [ids[at] for at in range(longest) for ids in lists if at < len(ids)]
