"""Answer scores by each benchmark's own rules.

In: a predicted answer and the gold answers. Out: EM, F1, precision and recall, equal to those of
HotpotQA's `hotpot_evaluate_v1.py`, 2WikiMultiHopQA's `2wikimultihop_evaluate_v1.1.py` and MuSiQue's
`metrics/answer.py`, and the multi-step literature's Acc (cover-EM) beside them. All are fractions.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import get_args

from steper.errors import InputError, unknown_name
from steper.records import Benchmark, Record

BENCHMARKS: tuple[Benchmark, ...] = get_args(Benchmark)

_DELETE_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_SPECIAL = frozenset({"yes", "no", "noanswer"})


class AnswerScore(Record):
    """The scores of one answer, each in 0..1.

    `acc` (cover-EM): some normalised gold is a substring of the normalised prediction. `acc_token`:
    some gold's tokens stand in the prediction as whole tokens, in order and side by side. A gold of
    which normalisation leaves nothing ("The") is covered by an empty prediction alone.
    """

    em: float = 0.0
    f1: float = 0.0
    precision: float = 0.0
    recall: float = 0.0
    acc: float = 0.0
    acc_token: float = 0.0


ZERO = AnswerScore()
"""What a missing prediction counts in HotpotQA's and 2Wiki's scripts."""


def normalize_answer(text: str) -> str:
    """Lower-case, delete ASCII punctuation (no space in its place), drop articles, fix spaces.

    The same in all three official scripts, in this order: "An A.B., the c" is "ab c".
    """
    bare = text.lower().translate(_DELETE_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", bare).split())


def check_benchmark(name: str) -> Benchmark:
    """The benchmark of that name; InputError with the nearest known ones if there is none."""
    for known in BENCHMARKS:
        if name == known:
            return known
    raise InputError(unknown_name("benchmark", name, BENCHMARKS))


def overlap(prediction: str, gold: str) -> tuple[float, float, float]:
    """(F1, precision, recall) of the token multisets of two normalised texts; no overlap is 0."""
    predicted, wanted = prediction.split(), gold.split()
    same = sum((Counter(predicted) & Counter(wanted)).values())
    if same == 0:
        return 0.0, 0.0, 0.0
    precision, recall = same / len(predicted), same / len(wanted)
    return 2 * precision * recall / (precision + recall), precision, recall


def _hotpot_overlap(prediction: str, gold: str) -> tuple[float, float, float]:
    """HotpotQA and 2Wiki: yes/no/noanswer on either side must be met exactly; empty is 0."""
    if prediction != gold and not _SPECIAL.isdisjoint((prediction, gold)):
        return 0.0, 0.0, 0.0
    return overlap(prediction, gold)


def _musique_overlap(prediction: str, gold: str) -> tuple[float, float, float]:
    """MuSiQue (SQuAD 2.0): where one side is empty, all are 1 if both are, else 0."""
    if not prediction or not gold:
        agree = float(prediction == gold)
        return agree, agree, agree
    return overlap(prediction, gold)


def _covers_tokens(prediction: str, gold: str) -> bool:
    """Whether gold's tokens are in the prediction side by side; an empty gold needs an empty one.

    Differs from plain Acc on purpose: "no" is in "norway".
    """
    if not gold:
        return not prediction
    return f" {gold} " in f" {prediction} "


def score_answer(
    prediction: str, golds: Sequence[str], benchmark: Benchmark = "generic"
) -> AnswerScore:
    """Scores of one prediction against its gold answers, as the benchmark's own script has them.

    `golds[0]` is the official answer; HotpotQA knows only that one, so others are ignored there.
    Elsewhere each measure is the best over the golds *by itself* (F1 may come from one gold,
    recall from another). `generic` follows MuSiQue. MuSiQue's script gives no precision and recall:
    they are taken by the rules of its F1. Acc uses the same golds. Raises InputError on an unknown
    benchmark or no golds.
    """
    check_benchmark(benchmark)
    if not golds:
        raise InputError("no gold answer to score against; at least one was expected")
    hotpot_rules = benchmark in ("hotpotqa", "2wikimultihopqa")
    per_gold = _hotpot_overlap if hotpot_rules else _musique_overlap
    answer = normalize_answer(prediction)
    wanted = [normalize_answer(g) for g in (golds[:1] if benchmark == "hotpotqa" else golds)]
    overlaps = [per_gold(answer, gold) for gold in wanted]
    return AnswerScore(
        em=float(answer in wanted),
        f1=max(f1 for f1, _, _ in overlaps),
        precision=max(precision for _, precision, _ in overlaps),
        recall=max(recall for _, _, recall in overlaps),
        # Differs from plain cover-EM: the empty text is a substring of every prediction.
        acc=float(any(gold in answer if gold else not answer for gold in wanted)),
        acc_token=float(any(_covers_tokens(answer, gold) for gold in wanted)),
    )
