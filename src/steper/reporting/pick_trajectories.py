"""Which trajectories a report shows: drawn by seed, half of them where the methods disagree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Literal

from steper.evaluation.methods import Method
from steper.records import Question

Verdict = Literal["disagree", "all_right", "none_right", "unscored"]


def is_right(method: Method, question_id: str) -> bool | None:
    """Whether the first run's answer is an exact match; None if the question has no gold answer."""
    score = method.scores[0][question_id].score
    return None if score is None else score.em == 1.0


def verdict(methods: Sequence[Method], question_id: str) -> Verdict:
    """How the methods' first runs did on a question that all of them have."""
    right = [is_right(method, question_id) for method in methods]
    if None in right:
        return "unscored"
    if all(right):
        return "all_right"
    return "disagree" if any(right) else "none_right"


def choose(
    questions: Mapping[str, Question], verdicts: Mapping[str, Verdict], count: int, seed: int
) -> list[str]:
    """Ids of at most `count` questions, in the questions' order.

    Half are questions on which the methods disagree, the rest such that all or none got right in
    turn; types take turns within each. Where a kind has too few, the others fill up.
    """
    random = Random(seed)
    pools = {
        kind: _by_turns([questions[i] for i in questions if verdicts[i] == kind], random)
        for kind in ("disagree", "all_right", "none_right", "unscored")
    }
    chosen = pools["disagree"][: (count + 1) // 2]
    rest = _interleave([pools["all_right"], pools["none_right"], pools["unscored"]])
    chosen += rest[: count - len(chosen)]
    chosen += pools["disagree"][(count + 1) // 2 :][: count - len(chosen)]
    wanted = set(chosen)
    return [i for i in questions if i in wanted]


def _by_turns(questions: Sequence[Question], random: Random) -> list[str]:
    """Shuffled ids, one of each type in turn."""
    types: dict[str, list[str]] = {}
    for question in questions:
        types.setdefault(question.type or "", []).append(question.id)
    for ids in types.values():
        random.shuffle(ids)
    return _interleave([types[name] for name in sorted(types)])


def _interleave(lists: Sequence[Sequence[str]]) -> list[str]:
    """First of each, then second of each, …"""
    longest = max((len(ids) for ids in lists), default=0)
    return [ids[at] for at in range(longest) for ids in lists if at < len(ids)]
