"""Paired comparison of methods: known answers by hand, Holm, seeds, and runs that do not fit."""

import json

import numpy as np
import pytest
from made import ADA, NOISE, make_question, make_trajectory

from steper.cli.compare import compare as compare_command
from steper.errors import InputError, SettingsError
from steper.evaluation.compare import Comparison, compare
from steper.evaluation.methods import load_methods, parse_methods
from steper.evaluation.scoring import score_run
from steper.evaluation.statistics import Bootstrap, Estimate, holm, relative_difference
from steper.evaluation.tables import p_value, signed
from steper.store import write_jsonl

QUICK = Bootstrap(resamples=200)


@pytest.fixture
def write(tmp_path):
    """A function that writes a run folder: `right` says question by question what is answered."""

    def write(name, right, status="complete", ids=None, step_end="", **fields):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        ids = ids or [f"q{i}" for i in range(len(right))]
        questions = [make_question(i, **fields) for i in ids]
        answers = ["England" if yes else "Norway" for yes in right]
        trajectories = [make_trajectory(i, a) for i, a in zip(ids, answers, strict=True)]
        (folder / "manifest.json").write_text(json.dumps({"status": status, "step_end": step_end}))
        write_jsonl(folder / "questions.jsonl", questions)
        write_jsonl(folder / "trajectories.jsonl", trajectories)
        return folder

    return write


def comparison(folders, **settings):
    return compare(load_methods(folders, bootstrap=QUICK), bootstrap=QUICK, **settings)


def test_difference_relative_and_p_by_hand(write):
    # b is right on 4 of 8, a on those and 4 more: of 2^4 sign patterns of the four differences
    # the 2 that are all alike are as extreme, so p = 2/16.
    a, b = write("a", [1] * 8), write("b", [1] * 4 + [0] * 4)
    found = comparison({"b": [b], "a": [a]}, metrics=["em"])
    (one,) = found.metrics
    (difference,) = one.differences
    assert found.baseline == "b"
    assert one.n == found.shared == 8
    assert [m.mean.value for m in one.means] == [0.5, 1.0]
    assert difference.method == "a"
    assert difference.difference.value == 0.5
    assert difference.relative.value == pytest.approx(1.0)
    assert difference.relative.low > 0
    assert difference.p_value == 2 / 16
    assert difference.p_holm is None


def test_other_baseline_turns_the_sign(write):
    a, b = write("a", [1, 1, 0, 1]), write("b", [1, 0, 0, 0])
    ours = comparison({"a": [a], "b": [b]}, metrics=["em"], baseline="b").metrics[0].differences[0]
    theirs = comparison({"a": [a], "b": [b]}, metrics=["em"], baseline=str(a))
    assert ours.method == "a"
    assert ours.difference.value == 0.5
    assert theirs.metrics[0].differences[0].difference.value == -0.5


def test_means_and_intervals_are_those_of_eval(write):
    a, b = write("a", [1, 0, 1, 1, 0, 1]), write("b", [0, 0, 1, 1, 0, 0])
    found = comparison({"a": [a], "b": [b]}, metrics=["em", "gold_recall"])
    for i, folder in enumerate((a, b)):
        overall = score_run(folder, bootstrap=QUICK).metrics.overall
        for one, want in zip(
            found.metrics, (overall.answers.em, overall.retrieval.recall), strict=True
        ):
            mean = one.means[i].mean
            assert [mean.value, mean.low, mean.high] == pytest.approx(
                [want.value, want.low, want.high], abs=1e-12
            )


def test_seeds_are_averaged_per_question_before_pairing(write):
    base = write("base", [0, 0, 0, 0])
    seeds = [write("s0", [1, 1, 0, 0]), write("s1", [1, 0, 0, 0]), write("s2", [1, 1, 1, 0])]
    found = comparison({"base": [base], "seeds": seeds}, metrics=["em"])
    mean = found.metrics[0].means[1]
    assert mean.seeds == (0.5, 0.25, 0.75)
    assert mean.spread == pytest.approx(0.25)
    assert mean.mean.value == pytest.approx(0.5)
    difference = found.metrics[0].differences[0]
    # Question means 1, 2/3, 1/3, 0: three non-zero differences of one sign, 2 of 8 patterns.
    assert difference.p_value == 2 / 8
    assert difference.relative is None  # the baseline's mean is 0
    assert found.metrics[0].means[0].spread is None


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_only_with_several_comparisons(write):
    base = write("base", [0] * 6)
    folders = {"base": [base], "a": [write("a", [1] * 6)], "b": [write("b", [1] * 5 + [0])]}
    differences = comparison(folders, metrics=["em"]).metrics[0].differences
    assert [d.p_value for d in differences] == [2 / 64, 2 / 32]
    assert [d.p_holm for d in differences] == [4 / 64, 2 / 32]
    assert [d.seeded.p_holm for d in differences] == [None, None]
    assert [d.verdict for d in differences] == [(4 / 64, True), (2 / 32, True)]


def test_verdicts_over_seeds_are_corrected_among_themselves(write):
    base = [write("base", [0, 1] * 6)]
    a = [write("a0", [1] * 12), write("a1", [1] * 10 + [0] * 2)]
    b = [write("b0", [1] * 9 + [0] * 3), write("b1", [1] * 11 + [0])]
    folders = {"base": base, "a": a, "b": b, "one": [write("one", [1] * 8 + [0] * 4)]}
    *several, one = comparison(folders, metrics=["em"]).metrics[0].differences
    assert [d.seeded.p_holm for d in several] == holm([d.seeded.p_value for d in several])
    assert [d.verdict for d in several] == [(d.seeded.p_holm, True) for d in several]
    assert one.seeded.p_holm is None  # it has no second seed
    assert one.verdict == (one.p_holm, True)


def test_relative_interval_is_the_paired_ratio(write):
    b = np.array([1.0, 1.0, 0.5, 0.5])
    # Twice the baseline on every question: whatever is drawn, the ratio is 2.
    found = relative_difference(2 * b, b, QUICK)
    assert [found.value, found.low, found.high] == pytest.approx([1.0, 1.0, 1.0])
    same = relative_difference(b, b, QUICK)
    assert same == Estimate(value=0, low=0, high=0)
    assert relative_difference(b, 0 * b, QUICK) is None


def test_only_shared_questions_are_paired_and_the_rest_counted(write):
    a = write("a", [1, 1, 0], ids=["x", "y", "z"])
    b = write("b", [0, 1, 1, 1], ids=["y", "x", "v", "w"])
    found = comparison({"a": [a], "b": [b]}, metrics=["em"])
    assert found.shared == 2
    assert found.unshared == {"a": 1, "b": 2}
    assert [m.mean.value for m in found.metrics[0].means] == [1.0, 0.5]


def test_unanswered_trajectories_are_counted(write):
    a, b = write("a", [1, 1]), write("b", [1, 1])
    questions = [make_question("q0"), make_question("q1")]
    write_jsonl(b / "questions.jsonl", questions)
    capped = make_trajectory("q1", "England", searches=[(ADA,), (NOISE,)], status="capped")
    write_jsonl(b / "trajectories.jsonl", [make_trajectory("q0", "England"), capped])
    found = comparison({"a": [a], "b": [b]}, metrics=["em"])
    assert found.not_answered == {"a": 0, "b": 1}
    assert found.metrics[0].means[1].mean.value == 0.5


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"answers": ("Wales",)}, "its answers in"),
        ({"benchmark": "musique"}, "its benchmark in"),
        ({"gold": (ADA,)}, "its gold passages in"),
    ],
)
def test_runs_of_other_questions_are_refused_in_one_line(write, fields, said):
    folders = {"a": [write("a", [1, 0])], "b": [write("b", [1, 0], **fields)]}
    with pytest.raises(InputError, match="question 'q0' is not the same in all runs") as error:
        load_methods(folders)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_another_text_and_no_shared_question_are_refused(write):
    a, b = write("a", [1]), write("b", [1])
    other = make_question("q0").model_copy(update={"text": "Another question?"})
    write_jsonl(b / "questions.jsonl", [other])
    with pytest.raises(InputError, match="its text in"):
        load_methods({"a": [a], "b": [b]})
    c = write("c", [1], ids=["elsewhere"], benchmark="musique")
    with pytest.raises(InputError, match=r"share no question: .*1 of hotpotqa.*1 of musique"):
        load_methods({"a": [a], "c": [c]})


def test_names_of_methods(tmp_path):
    (tmp_path / "a=b").mkdir()
    odd = str(tmp_path / "a=b")
    got = parse_methods(["runs/x", "T=runs/teacher", odd], ["S=s0,s1, s2"])
    assert list(got) == ["x", "T", "a=b", "S"]
    assert [str(p) for p in got["S"]] == ["s0", "s1", "s2"]
    assert list(parse_methods(["one/run", "two/run"])) == ["one/run", "two/run"]
    for runs, groups, said in (
        (["x", "./x"], [], "given twice"),
        (["x"], ["x=y"], "two methods are named 'x'"),
        ([], ["nothing"], "NAME=RUN1"),
        ([], ["N="], "NAME=RUN1"),
    ):
        with pytest.raises(InputError, match=said):
            parse_methods(runs, groups)


def test_what_cannot_be_compared_is_refused(write):
    a, b = write("a", [1], gold=()), write("b", [1], gold=())
    methods = load_methods({"a": [a], "b": [b]}, bootstrap=QUICK)
    with pytest.raises(InputError, match="gold annotation that gold_recall takes"):
        compare(methods, metrics=["gold_recall"])
    with pytest.raises(InputError, match="unknown metric 'f2'; did you mean f1"):
        compare(methods, metrics=["f2"])
    with pytest.raises(InputError, match="unknown baseline 'c'"):
        compare(methods, baseline="c")
    with pytest.raises(InputError, match="at least two"):
        compare(methods[:1])


def test_command_prints_tables_that_fit_80_columns(write, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    base = write("base", [0, 1] * 20, step_end="model")
    right = [1, 1, 0, 1] * 10
    seeds = ",".join(str(write(f"s{i}", right, step_end="cut")) for i in range(3))
    other = write("other", [0, 1] * 20)
    compare_command([str(base), str(other)], group=[f"StepER={seeds}"], resamples=200)
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    rows = [line.split() for line in text.splitlines()]
    ends = {row[0]: row[1] for row in rows if row[1:2] in (["model"], ["cut"], ["-"])}
    assert ends == {"base": "model", "other": "-", "StepER": "cut"}
    for words in (
        "40 questions that all runs have",
        "75.0  75.0  75.0",
        "(Holm)",
        "+25.0",
    ):
        assert words in text


def test_command_prints_json_alone(write, capsys):
    a, b = write("a", [1, 0]), write("b", [1, 0])
    compare_command([str(a), str(b)], metric=["acc"], json=True)
    found = Comparison.model_validate_json(capsys.readouterr().out)
    assert found.metrics[0].metric == "acc"
    assert found.metrics[0].differences[0].p_value == 1.0


def test_command_refuses(write):
    a = write("a", [1])
    with pytest.raises(InputError, match="at least two runs or groups were expected, not 1"):
        compare_command([str(a)])
    with pytest.raises(SettingsError, match="--resamples is 5"):
        compare_command([str(a), "b"], resamples=5)
    with pytest.raises(InputError, match="no such folder"):
        compare_command([str(a), "missing"])


def test_numbers_in_words():
    assert signed(Estimate(value=-0.0001, low=-0.031, high=0.002)) == "0.0 [-3.1, +0.2]"
    assert signed(None) == "-"
    assert p_value(0.00005) == "< 0.0001"
    assert p_value(0.0005) == "0.0005"
