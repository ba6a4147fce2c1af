"""What the page is made of: charts, training logs, the choice of trajectories, numbers."""

import itertools
import json
import math

import pytest
from report_runs import QUICK, Page, question, write_log, write_run

from steper.errors import InputError
from steper.evaluation.methods import load_methods
from steper.evaluation.scoring import score_run
from steper.evaluation.statistics import Estimate
from steper.reporting import score_tables
from steper.reporting.pick_trajectories import choose, verdicts
from steper.reporting.provenance import flatten
from steper.reporting.svg import (
    PERCENT,
    Axis,
    Dot,
    Line,
    Point,
    Rows,
    count_axis,
    dot_plot,
    line_plot,
    spread,
    value_axis,
)
from steper.reporting.training_logs import find_training, read_training, thin
from steper.reporting.wording import amount, dollars, signed


def test_dots_stand_where_their_values_are():
    dot = Dot(0, "method", Estimate(value=0.5, low=0.25, high=1.0))
    page = Page(str(dot_plot("title", [Rows("part", [dot])])))
    assert page.problems == []
    grid = [float(e["attributes"]["x1"]) for e in page.all("line", class_="grid")]
    (circle,) = page.all("circle")
    (interval,) = page.all("line", class_="interval")
    assert float(circle["attributes"]["cx"]) == grid[2]  # 50 of 0, 25, 50, 75, 100
    assert [float(interval["attributes"][k]) for k in ("x1", "x2")] == [grid[1], grid[4]]


def test_lines_are_labelled_at_their_ends_without_overlap():
    lines = [
        Line(i, f"m{i}", [Point(1, 0.5, 0.4, 0.6), Point(2, 0.9, 0.8, 1)], style="marked")
        for i in range(4)
    ]
    x = Axis(1, 2, ((1, "1"), (2, "2")))
    page = Page(str(line_plot("t", lines, x, PERCENT, "step")))
    assert page.problems == []
    heights = [float(t["attributes"]["y"]) for t in page.all("text", class_="label")]
    assert all(b - a >= 12.9 for a, b in itertools.pairwise(heights))
    assert len(page.all("line", class_="interval")) == 8


@pytest.mark.parametrize("wanted", [[5, 5, 5], [0, 100, 50], [99, 98, 100], [], [50]])
def test_spread(wanted):
    got = spread(wanted, 10, 0, 100)
    ordered = sorted(got)
    assert all(b - a >= 10 - 1e-9 for a, b in itertools.pairwise(ordered))
    assert all(0 <= y <= 100 for y in got)
    assert sorted(range(len(got)), key=got.__getitem__) == sorted(
        range(len(got)), key=wanted.__getitem__
    )


@pytest.mark.parametrize("high", [0.0, 0.003, 0.7, 1, 9.9, 1200, 123_456])
def test_axes_hold_all_values_with_few_ticks(high):
    axis = value_axis([0.0, high])
    assert axis.low == 0
    assert axis.high >= high
    assert 2 <= len(axis.ticks) <= 6
    assert count_axis(high).high == max(high, 1.0)


@pytest.mark.parametrize(("low", "high"), [(0.02, 2.4), (1e-6, 3), (0.5, 40)])
def test_logarithmic_axes(low, high):
    axis = value_axis([low, high], log=True)
    assert 0 < axis.place(low) < axis.place(math.sqrt(low * high)) < axis.place(high) < 1
    assert axis.place(math.sqrt(low * high)) == pytest.approx(0.5)
    assert 2 <= len(axis.ticks) <= 5


def test_training_log(tmp_path):
    log = read_training(write_log(tmp_path / "t", kinds=["agg"], steps=10))
    assert list(log.losses) == list(log.sigmas) == ["agg"]
    assert log.losses["agg"][-1] == (10.0, pytest.approx(0.23))
    assert (log.steps, log.tokens, log.seconds) == (10, 10_000, 5.0)
    assert log.parameters == 987_654


def test_evaluations_are_rows_of_their_own(tmp_path):
    log = read_training(write_log(tmp_path / "t", steps=50))
    assert log.evals["exp"] == [(25.0, 0.5), (50.0, 0.5)]
    assert len(log.losses["exp"]) == 50


def test_resumed_training_counts_its_later_rows(tmp_path):
    rows = [{"step": s, "loss_agg": float(s)} for s in (10, 20, 30, 40)]
    rows += [{"step": s, "loss_agg": -float(s)} for s in (25, 30)]
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    log = read_training(tmp_path)
    assert log.losses["agg"] == [(10, 10), (20, 20), (25, -25), (30, -30)]
    assert log.steps == 30


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no rows"),
        ('{"step": 1}\n{"loss": 2}\n', "line 2: step: a whole number"),
        ('{"step": 1, "loss_exp": "low"}\n', "line 1: loss_exp: a number was expected, not 'low'"),
        ('{"step": 1\n', "line 1, column"),
    ],
)
def test_broken_training_logs(tmp_path, text, said):
    (tmp_path / "log.jsonl").write_text(text)
    with pytest.raises(InputError, match=said):
        read_training(tmp_path)


def test_training_is_looked_for_by_the_model(tmp_path):
    student = write_log(tmp_path / "student")
    (student / "final").mkdir()
    for model, found in (
        (str(student), student),
        (str(student / "final"), student),
        (str(tmp_path / "none"), None),
        ("gold", None),
    ):
        assert find_training({"settings": {"model": {"model": model}}}) == found
    assert find_training({}) is None


def test_thinned_courses_keep_their_mean():
    points = [(float(x), float(x % 7)) for x in range(1001)]
    thinned = thin(points, 100)
    assert len(thinned) <= 100
    assert thin(thinned, 100) == thinned
    total = sum(y for _, y in thin(points[:1000], 100)) / 100
    assert total == pytest.approx(sum(y for _, y in points[:1000]) / 1000)


def test_choice_is_half_disagreement_and_mixed_types():
    questions = {f"q{i}": question(i) for i in range(60)}
    kinds = ["disagree"] * 30 + ["all_right"] * 20 + ["none_right"] * 10
    verdicts = dict(zip(questions, kinds, strict=True))
    chosen = choose(questions, verdicts, 20, 3)
    got = [verdicts[i] for i in chosen]
    assert [got.count(kind) for kind in ("disagree", "all_right", "none_right")] == [10, 5, 5]
    types = [questions[i].type for i in chosen if verdicts[i] == "disagree"]
    assert sorted(types.count(t) for t in set(types)) == [3, 3, 4]
    assert chosen == sorted(chosen, key=list(questions).index)
    assert chosen == choose(questions, verdicts, 20, 3)
    assert chosen != choose(questions, verdicts, 20, 4)


@pytest.mark.parametrize("kind", ["disagree", "all_right", "unscored"])
def test_choice_fills_up_from_what_there_is(kind):
    questions = {f"q{i}": question(i) for i in range(8)}
    assert len(choose(questions, dict.fromkeys(questions, kind), 6, 0)) == 6
    assert choose(questions, dict.fromkeys(questions, kind), 20, 0) == list(questions)


def test_verdicts(tmp_path):
    runs = {n: [write_run(tmp_path / n, r)] for n, r in (("a", [1, 1, 0]), ("b", [1, 0, 0]))}
    methods = load_methods(runs, bootstrap=QUICK)
    told = verdicts(methods, ["q0", "q1", "q2"])
    assert told == {"q0": "all_right", "q1": "disagree", "q2": "none_right"}


def test_steps_and_effort_of_one_run_are_evals(tmp_path):
    run = write_run(tmp_path / "run", [1, 0, 1, 1, 0])
    (method,) = load_methods({"run": [run]}, bootstrap=QUICK)
    metrics = score_run(run, bootstrap=QUICK).metrics
    for ours, theirs in zip(score_tables.steps(method, QUICK), metrics.steps, strict=True):
        assert ours.step == theirs.step
        assert ours.running.value == theirs.running / theirs.n
        for name in ("recall", "all_gold"):
            got, want = getattr(ours, name), getattr(theirs, name)
            assert [got.value, got.low, got.high] == pytest.approx(
                [want.value, want.low, want.high]
            )
    effort = score_tables.effort(method, [1.0], QUICK)
    assert effort.steps.value == metrics.effort.steps.value
    assert effort.prompt_total == metrics.effort.prompt_tokens
    assert effort.dollars_total == pytest.approx(metrics.effort.dollars)


def test_numbers_in_words():
    assert [amount(x) for x in (0, 0.0312, 3.126, 42.06, 1234.5)] == [
        "0.0",
        "0.031",
        "3.13",
        "42.1",
        "1,234",
    ]
    assert [dollars(x) for x in (0, 0.0002, 0.05, 12.3)] == [
        "$0.00",
        "$0.00020",
        "$0.050",
        "$12.30",
    ]
    assert [signed(x) for x in (-0.0001, 0.05, -0.05)] == ["0.0", "+5.0", "−5.0"]


def test_settings_in_a_row():
    assert flatten({"a": {"b": 1, "c": "x"}, "d": None}) == {"a.b": "1", "a.c": "x", "d": "null"}
