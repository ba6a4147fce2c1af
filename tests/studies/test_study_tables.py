"""Tables, plots and page of ten methods, five seeds and three benchmarks."""

import csv
import re
import xml.etree.ElementTree as ET

import pytest

from steper.reporting.svg import log_axis, score_axis, short_number
from steper.studies.page import contents, headline, write_page
from steper.studies.plots import plot, plots_of, write_plots
from steper.studies.results import StudyResults
from steper.studies.tables import (
    csv_text,
    difference_table,
    escape_latex,
    latex,
    markdown,
    markdown_table,
    score_table,
)
from studies.made_study import METHODS, made_up


def test_scores_are_mean_and_deviation_over_seeds():
    results = made_up()
    table = score_table(results)
    assert table[0] == ["", "hotpotqa, EM", "2wikimultihopqa, EM", "musique, EM"]
    assert [row[0] for row in table[1:]] == list(METHODS)
    mean = results.tests["musique"].mean("steper")
    assert table[9][3] == f"{100 * mean.mean.value:.1f} ± {100 * mean.spread:.1f}"
    assert "±" not in table[1][1]  # one teacher


def test_a_row_that_was_not_asked_has_a_dash():
    one, two = made_up(tests=("a",)), made_up(tests=("b",))
    test = two.tests["b"]
    fewer = test.model_copy(
        update={
            "rows": test.rows[1:],
            "comparison": test.comparison.model_copy(
                update={
                    "metrics": tuple(
                        m.model_copy(update={"means": m.means[1:]}) for m in test.comparison.metrics
                    )
                }
            ),
        }
    )
    both = one.model_copy(update={"tests": {**one.tests, "b": fewer}})
    assert score_table(both)[1][0] == "teacher"
    assert score_table(both)[1][2] == "–"


def test_csv_has_every_number():
    results = made_up()
    rows = list(csv.DictReader(csv_text(results).splitlines()))
    assert len(rows) == 3 * 3 * 10
    one = results.tests["hotpotqa"].comparison.metrics[0]
    row = next(r for r in rows if (r["test"], r["row"]) == ("hotpotqa", "steper"))
    found = next(d for d in one.differences if d.method == "steper")
    assert float(row["p_holm"]) == found.p_holm
    assert float(row["sd"]) == one.means[8].spread
    assert (row["against"], row["seeds"], row["n"]) == ("vanilla_kd", "5", "500")


def test_latex_is_escaped():
    assert escape_latex("steper_a & b: 5 % ± 1\\") == (
        r"steper\_a \& b: 5 \% $\pm$ 1\textbackslash{}"
    )
    text = latex(made_up())
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 10
    assert not re.search(r"(?<!\\)[_%]", text)


def test_markdown_has_all_tables():
    text = markdown(made_up())
    assert text.count("| steper_uniform |") == 1 + 3 * (1 + 3 + 1)
    assert markdown_table([["", "a|b"], ["c", "1"]]).splitlines()[0] == "|  | a\\|b |"


def test_a_recipe_is_one_line_over_the_number_of_trajectories():
    results = made_up(tests=("a",))
    test = results.tests["a"]
    rows = [
        row.model_copy(update={"recipe": "steper", "trajectories": 100.0 * (i + 1)})
        if row.name in ("steper", "steper_uniform")
        else row.model_copy(update={"trajectories": None})
        for i, row in enumerate(test.rows)
    ]
    chart = str(plot("a", test.model_copy(update={"rows": tuple(rows)}), "trajectories"))
    assert chart.count(">steper</text>") == 1
    assert chart.count("<title>teacher</title>") == 1  # lies across
    assert plot("a", test, "dollars") is None  # nobody knows any


def test_plots_are_svg_files_of_their_own(tmp_path):
    results = made_up()
    (tmp_path / "old-tokens.svg").write_text("old")
    written = write_plots(results, tmp_path)
    assert len(written) == len(plots_of(results)) == 9
    assert sorted(tmp_path.iterdir()) == sorted(written)
    for path in written:
        assert ET.parse(path).getroot().tag == "{http://www.w3.org/2000/svg}svg"


def test_the_page_says_what_is_best_and_folds_the_seeds_away(tmp_path):
    results = made_up()
    write_page(results, tmp_path / "report.html", {"": {}})
    page = (tmp_path / "report.html").read_text()
    for name in results.tests:
        said = f"{name}: of 8 trained rows steper_onpolicy (ends_steps) is best, with EM"
        assert said in page
    assert page.count('class="best"') == 3
    outside = re.sub(r"<details.*?</details>", "", page, flags=re.S)
    assert "seeds, %" in page
    assert "seeds, %" not in outside
    assert page.count("<summary>Each seed</summary>") == 3
    assert "http" not in page.replace("http://www.w3.org", "").replace("http-equiv", "")


def test_a_difference_that_may_be_chance_is_called_so():
    test = made_up(tests=("a",)).tests["a"]
    first = test.comparison.metrics[0]

    def said(p, *, seeds=True):
        found = [
            d.model_copy(update={"seeded": d.seeded.model_copy(update={"p_holm": p})})
            if seeds
            else d.model_copy(update={"p_holm": p, "seeded": None})
            for d in first.differences
        ]
        metric = first.model_copy(update={"differences": tuple(found)})
        comparison = test.comparison.model_copy(update={"metrics": (metric,)})
        return headline("a", test.model_copy(update={"comparison": comparison}))

    assert said(0.2, seeds=False).endswith("p 0.2000 (Holm), which may be chance.")
    assert said(0.01, seeds=False).endswith("p 0.0100 (Holm).")
    # With several seeds it goes by the test over other seeds, not over questions alone.
    assert re.search(r"over other seeds, too, \[.*\], p 0.2000 \(Holm\), which may be", said(0.2))
    assert said(0.01).endswith("p 0.0100 (Holm).")


def test_intervals_over_other_seeds_stand_in_the_tables():
    test = made_up(tests=("a",)).tests["a"]
    one = test.comparison.metrics[0]
    first, row, *_ = difference_table(one, test.comparison.baseline)
    assert first[6:9] == ["over other seeds, too", "p", "p (Holm)"]
    assert row[6].startswith("[")
    alone = [d.model_copy(update={"seeded": None}) for d in one.differences]
    first, row, *_ = difference_table(one.model_copy(update={"differences": tuple(alone)}), "")
    assert first[4:] == ["p", "p (Holm)", "detectable"]
    assert row[-1] == "-"


def test_results_are_read_as_they_were_written():
    results = made_up()
    assert StudyResults.model_validate(results.model_dump(mode="json")) == results


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([300, 3000], ["500", "1000", "2000"]),
        ([120, 130], ["100", "125", "150", "175"]),
        ([8e5, 8e9], ["1M", "10M", "100M", "1B"]),
    ],
)
def test_a_logarithmic_axis_has_round_ticks(values, ticks):
    axis = log_axis(values)
    assert axis.low < min(values) < max(values) < axis.high
    assert [text for _, text in axis.ticks] == ticks


def test_axes_of_scores_end_around_them():
    axis = score_axis([0.21, 0.47])
    assert (axis.low, axis.high) == pytest.approx((0.2, 0.5))
    assert score_axis([0.0]).high > 0
    assert [short_number(v) for v in (0.05, 300, 20_000, 6.4e6, 8e9)] == [
        "0.05",
        "300",
        "20k",
        "6.4M",
        "8B",
    ]


def test_who_ended_the_steps_is_a_column():
    results = made_up()
    test = results.tests["musique"]
    ends = {"teacher": "cut", "steper": "model"}
    told = test.comparison.model_copy(update={"step_end": ends})
    tests = {**results.tests, "musique": test.model_copy(update={"comparison": told})}
    results = results.model_copy(update={"tests": tests})
    assert score_table(results)[0][:3] == ["", "step end", "hotpotqa, EM"]
    rows = {row[0]: row[1] for row in score_table(results)}
    assert (rows["teacher"], rows["steper"], rows["vanilla_kd"]) == ("cut", "model", "–")
    assert "|  | step end | EM |" in markdown(results)
    assert " & step end & " in latex(results)
    csv_rows = list(csv.DictReader(csv_text(results).splitlines()))
    found = {(r["test"], r["row"]): r["step_end"] for r in csv_rows}
    assert found["musique", "steper"] == "model"
    assert found["musique", "vanilla_kd"] == found["hotpotqa", "steper"] == ""
    page = contents(results, {})
    first = page["scores"][0].index("hotpotqa, EM")
    assert {place for _, place in page["best"]} == {first, first + 1, first + 2}
