"""`steper report`: runs over the same questions as one self-contained HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from steper.cli.options import SWITCH


def report(
    runs: Annotated[list[str] | None, SWITCH] = None,
    /,
    *,
    out: Path,
    group: Annotated[list[str] | None, SWITCH] = None,
    baseline: str | None = None,
    training: Annotated[list[str] | None, SWITCH] = None,
    examples: int = 20,
    seed: int = 0,
    resamples: int = 2000,
    title: str | None = None,
    partial: Annotated[bool, SWITCH] = False,
) -> None:
    """Write runs over the same questions as one HTML page that needs no network.

    Scores with intervals and paired differences, by hops and by type, recall per step, the course
    of training, cost, trajectories side by side, counts and provenance.

    Parameters
    ----------
    runs
        Folders that `steper teach` wrote; NAME=RUN gives one a name.
    out
        The page's file, such as report.html.
    group
        NAME=RUN1,RUN2,…: seeds of one method. A question's score is its mean over them.
    baseline
        The run or group that the others are compared with. Default: the first.
    training
        NAME=DIR1,DIR2,…, or DIR: training folders with a log.jsonl, of the method NAME. Default:
        the folder of each run's model.
    examples
        Trajectories to show side by side.
    seed
        Seed of the bootstrap, the tests, and the choice of trajectories.
    resamples
        Draws of the bootstrap, and sign patterns of the test.
    title
        The page's title.
    partial
        Take an unfinished run with the trajectories that it has.
    """
    from steper.api import report as report_runs
    from steper.cli.compare import bootstrap_settings
    from steper.errors import InputError, SettingsError
    from steper.evaluation.methods import parse_methods

    if examples < 0:
        raise SettingsError(f"--examples is {examples}; 0 or more was expected")
    bootstrap = bootstrap_settings(resamples, seed)
    folders = parse_methods(runs or (), group or ())
    if not folders:
        raise InputError("at least one run or group was expected")
    page = report_runs(
        folders,
        out,
        baseline=baseline,
        training=parse_methods(training or ()),
        bootstrap=bootstrap,
        partial=partial,
        **{"examples": examples, "seed": seed, **({"title": title} if title else {})},
    )
    print(f"Wrote {page}")
