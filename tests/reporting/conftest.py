"""Fixtures: three methods' runs over the same twelve questions, and their report as a page."""

from functools import partial

import pytest
from report_runs import QUICK, Page, write_log, write_run

from steper.evaluation.methods import load_methods
from steper.reporting import ReportSettings, write_report


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A teacher, Vanilla-KD, and two seeds of StepER with a training log each; leave them alone."""
    tmp_path = tmp_path_factory.mktemp("runs")
    students = [write_log(tmp_path / f"student{s}") for s in range(2)]
    right = {"teacher": "111111110111", "kd": "100010000001", "s0": "111010110111"}
    right["s1"] = "110010110111"
    runs = {
        name: write_run(
            tmp_path / name,
            [c == "1" for c in row],
            model=students[int(name[1])] if name in ("s0", "s1") else "somewhere",
            tokens=100 + 10 * len(name),
        )
        for name, row in right.items()
    }
    return {
        "teacher": [runs["teacher"]],
        "Vanilla-KD": [runs["kd"]],
        "StepER": [runs["s0"], runs["s1"]],
    }


@pytest.fixture
def make_page(tmp_path):
    """A function that writes the report of run folders and reads it again: (html, Page)."""

    return partial(written, tmp_path / "out" / "report.html")


def written(out, folders, training=None, **settings):
    methods = load_methods(folders, bootstrap=QUICK)
    write_report(methods, out, ReportSettings(**settings), QUICK, training)
    html = out.read_text("utf-8")
    return html, Page(html)


@pytest.fixture(scope="module")
def whole(folders, tmp_path_factory):
    """The page of all three: (html, Page)."""
    return written(tmp_path_factory.mktemp("page") / "out" / "report.html", folders)
