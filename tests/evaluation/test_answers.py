"""Answer scores: our own cases worked out by hand, and the official scripts' on 600 more."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steper.errors import InputError
from steper.evaluation.official_scores import (
    BENCHMARKS,
    check_benchmark,
    normalize_answer,
    score_answer,
)

OFFICIAL = Path(__file__).parents[3] / "shared" / "data" / "official_scores.jsonl"
NAMES = ("em", "f1", "precision", "recall", "acc", "acc_token")

# benchmark, prediction, golds, (em, f1, precision, recall, acc, acc_token)
CASES = [
    # Plain overlap: 2 of 3 predicted tokens, 2 of 2 gold ones: F1 = 2·(2/3)·1/(5/3) = 4/5.
    ("hotpotqa", "New York City", ["New York"], (0, 4 / 5, 2 / 3, 1, 1, 1)),
    ("hotpotqa", "The  Berlin.", ["berlin"], (1, 1, 1, 1, 1, 1)),
    # Multisets: "a" is an article; {ha: 2} against {ha: 3} shares two.
    ("generic", "ha ha", ["ha a ha ha"], (0, 4 / 5, 1, 2 / 3, 0, 0)),
    # Punctuation leaves no space; a typographic quote is not ASCII and stays in its token.
    ("hotpotqa", "Jean-Luc", ["Jean Luc"], (0, 0, 0, 0, 0, 0)),
    ("hotpotqa", "U.S.A.", ["USA"], (1, 1, 1, 1, 1, 1)),
    ("hotpotqa", "“Gale”", ["Gale"], (0, 0, 0, 0, 1, 0)),
    # HotpotQA and 2Wiki: yes/no/noanswer must be met exactly; MuSiQue knows nothing of it.
    ("hotpotqa", "yes it is", ["yes"], (0, 0, 0, 0, 1, 1)),
    ("2wikimultihopqa", "yes", ["yes it is"], (0, 0, 0, 0, 0, 0)),
    ("musique", "yes it is", ["yes"], (0, 1 / 2, 1 / 3, 1, 1, 1)),
    ("hotpotqa", "The yes.", ["yes"], (1, 1, 1, 1, 1, 1)),
    ("hotpotqa", "no answer", ["noanswer"], (0, 0, 0, 0, 0, 0)),
    # Empty after normalisation: HotpotQA's EM may be 1 with F1 0; MuSiQue's F1 says whether equal.
    ("hotpotqa", "", ["Rome"], (0, 0, 0, 0, 0, 0)),
    ("hotpotqa", "a an the", ["..."], (1, 0, 0, 0, 1, 1)),
    ("musique", "a an the", ["..."], (1, 1, 1, 1, 1, 1)),
    ("musique", "", ["Rome"], (0, 0, 0, 0, 0, 0)),
    # The empty text is in every prediction: it is covered by an empty one alone.
    ("musique", "Rome", ["The"], (0, 0, 0, 0, 0, 0)),
    # Acc: "no" is in "norway" as a substring, not as a token.
    ("hotpotqa", "Norway", ["no"], (0, 0, 0, 0, 1, 0)),
    ("musique", "It was in 1987", ["198"], (0, 0, 0, 0, 1, 0)),
    ("musique", "It was in 1987", ["in 1987"], (0, 2 / 3, 1 / 2, 1, 1, 1)),
    # Max over golds, each measure by itself.
    ("2wikimultihopqa", "in Paris", ["Paris France", "Paris"], (0, 2 / 3, 1 / 2, 1, 1, 1)),
    # (F1, P, R) is (1/2, 1/3, 1) with "x" and (2/3, 1, 1/2) with the longer one.
    ("2wikimultihopqa", "x y z", ["x", "x y z u v w"], (0, 2 / 3, 1, 1, 1, 1)),
    ("musique", "x y z", ["x", "x y z u v w"], (0, 2 / 3, 1, 1, 1, 1)),
    ("musique", "Big Apple", ["New York", "The Big Apple"], (1, 1, 1, 1, 1, 1)),
    # HotpotQA has one gold answer: the others do not count.
    ("hotpotqa", "Big Apple", ["New York", "Big Apple"], (0, 0, 0, 0, 0, 0)),
]


@pytest.mark.parametrize(("benchmark", "prediction", "golds", "expected"), CASES)
def test_cases_worked_out_by_hand(benchmark, prediction, golds, expected):
    score = score_answer(prediction, golds, benchmark)
    assert tuple(getattr(score, name) for name in NAMES) == pytest.approx(expected, abs=1e-12)


def test_normalisation_order():
    assert normalize_answer("An A.B., the\u00a0c") == "ab c"
    assert normalize_answer("“The” a-b") == "“ ” ab"
    assert normalize_answer("th.e end") == "end"  # punctuation goes before articles


def test_equal_to_official_scripts():
    if not OFFICIAL.exists():
        pytest.skip("shared/data/official_scores.jsonl is not beside this checkout")
    cases = [json.loads(line) for line in OFFICIAL.read_text("utf-8").splitlines()]
    assert len(cases) == 600
    for case in cases:
        score = score_answer(case["prediction"], case["golds"], case["benchmark"])
        for name in {"em", "f1", "precision", "recall"} & case.keys():
            assert getattr(score, name) == pytest.approx(case[name], abs=1e-9), (name, case)


words = st.lists(st.sampled_from(["yes", "No", "the", "...", "Rome", "rome,", "x", "“x”"]))
texts = words.map(" ".join)


@given(texts, st.lists(texts, min_size=1, max_size=3), st.sampled_from(BENCHMARKS))
def test_scores_agree_with_each_other(prediction, golds, benchmark):
    score = score_answer(prediction, golds, benchmark)
    assert all(0 <= getattr(score, name) <= 1 for name in NAMES)
    assert score.em <= score.acc_token <= score.acc
    assert score.f1 <= max(score.precision, score.recall) + 1e-9
    # A further gold never lowers a score, whatever the order of the rest; HotpotQA ignores it.
    more = score_answer(prediction, [*golds, "rome"], benchmark)
    assert all(getattr(more, name) >= getattr(score, name) for name in NAMES)
    if benchmark == "hotpotqa":
        assert more == score


def test_unknown_benchmark_and_no_golds_are_one_line():
    with pytest.raises(InputError, match=r"unknown benchmark 'hotpot'; did you mean hotpotqa\?"):
        check_benchmark("hotpot")
    with pytest.raises(InputError, match="unknown benchmark"):
        score_answer("x", ["x"], "squad")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no gold answer"):
        score_answer("x", [], "musique")
