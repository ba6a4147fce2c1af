"""`steper study`: several pipelines that share what is equal, with one table, plot and report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console

from steper.cli.options import SWITCH, given
from steper.cli.terminal import plain_console, table_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from steper.pipeline.plan import PlannedTask
    from steper.studies.study import Study, StudyOutcome


def study(
    config: str,
    /,
    *,
    out: Path | None = None,
    set_: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None,
    quick: Annotated[bool, SWITCH] = False,
    stages: str | None = None,
    overwrite_from: str | None = None,
    jobs: str | None = None,
    ray_address: str | None = None,
    rates: Path | None = None,
    dry_run: Annotated[bool, SWITCH] = False,
) -> None:
    """Run a study: several pipelines that share what is equal, with one table, plot and report.

    Trajectories are made once, runs go side by side. What is done is skipped, what was interrupted
    goes on, and what is changed in one cell leaves the others done: the same command again is
    always safe. Writes tables.md, tables.csv, tables.tex, plots/ and report.html.

    Parameters
    ----------
    config
        A YAML file, or the name of a study that comes with the package: methods, ablation,
        scaling, transfer, benchmarks, budget, strategies. A file of that name goes first.
        docs/studies.md says what a file holds.
    out
        Folder for everything. Default: runs/study-NAME, with --quick runs/study-NAME-quick.
    set_
        KEY.KEY=VALUE over the file's value, such as seeds=[0,1] or
        cells.self_ask.strategy.max_steps=4; relative paths are relative to the working folder. May
        be given several times.
    quick
        Fewer questions, seeds and cells, as the file's section `quick` says: ten minutes on two
        cores for those of the package, but for benchmarks, whose model is larger.
    stages
        Only these, separated by commas, such as teach,build.
    overwrite_from
        Do this stage and all that follow anew, once: leave it out when you go on.
    jobs
        Tasks that run side by side, at most: a number, or auto (small models on a core each,
        larger ones alone; on GPUs, one for each). Short for --set jobs=…
    ray_address
        A Ray cluster whose machines do the tasks (extra `ray`): auto (the one that this machine is
        in), HOST:PORT, or local. They share a file system. Short for --set ray_address=…
    rates
        With --dry-run: a YAML file of rates to estimate by, in place of the package's.
    dry_run
        Print the cells, what they share and about how many core-hours are left, and do nothing.
    """
    from steper.cli.run import listed_stages, run_shown
    from steper.studies.study import Study
    from steper.studies.study_file import find_study, load_study

    console = plain_console()
    path, name, base = find_study(config)
    options = given(jobs=jobs, ray_address=ray_address)
    file = load_study(path, set_ or (), base, options, name=name, quick=quick)
    folder = out or Path("runs") / f"study-{name}{'-quick' * quick}"
    made = Study(file, folder)
    if dry_run:
        plan = made.plan(listed_stages(stages), overwrite_from)
        show_plan(made, plan, folder, rates, console)
        return
    show_outcome(run_shown(made.run, stages, overwrite_from, console), console)


def show_plan(
    study: Study, plan: Sequence[PlannedTask], out: Path, rates: Path | None, console: Console
) -> None:
    """Print each cell with what it shares, each stage with what is left, and the core-hours."""
    from steper.studies.estimate import Rates, estimate

    state = {planned.task.id: planned.state for planned in plan}
    rows = [["cell", "tasks", "shared", "done"]]
    seen: set[str] = set()
    for name, cell in study.cells.items():
        ids = [task.id for task in cell.tasks]
        shared = sum(task in seen for task in ids)
        done = sum(state[task] == "done" for task in ids)
        rows.append([name or "(one)", *map(str, (len(ids), shared, done))])
        seen.update(ids)
    console.print(table_of(rows))
    several = len(study.cells) > 1
    told = f"; {sum(len(c.tasks) for c in study.cells.values()) - len(seen)} are shared" * several
    console.print(f"{len(plan)} tasks in all{told}", soft_wrap=True)
    console.print()
    left = estimate(study, plan, Rates(rates))
    hours = [f"{one.hours:.2f}{' + ?' if one.unknown else ''}" for one in left]
    found = [[one.stage, str(one.tasks), h] for one, h in zip(left, hours, strict=True)]
    console.print(table_of([["stage", "tasks left", "core-hours"], *found]))
    for source in dict.fromkeys(source for one in left for source in one.sources):
        stages = ", ".join(one.stage for one in left if source in one.sources)
        console.print(f"{stages}: {source}", soft_wrap=True)
    for model in dict.fromkeys(model for one in left for model in one.unknown):
        stages = ", ".join(one.stage for one in left if model in one.unknown)
        console.print(f"?: no rate is known for {model} ({stages})", soft_wrap=True)
    total = sum(one.hours for one in left)
    more = " and what is unknown" if any(one.unknown for one in left) else ""
    console.print(f"About {total:.2f} core-hours{more} are left. Nothing was done.", soft_wrap=True)
    console.print(f"Everything would go to {out}", soft_wrap=True)


def show_outcome(outcome: StudyOutcome, console: Console) -> None:
    """Print the table of scores, the headline of each set of test questions, and the files."""
    from steper.cli.run import from_here
    from steper.studies.page import headline
    from steper.studies.tables import score_table, tuned_of

    if outcome.results is not None:
        console.print()
        console.print(table_of(score_table(outcome.results)))
        for name, test in outcome.results.tests.items():
            console.print(headline(name, test), soft_wrap=True)
        for row, told in tuned_of(outcome.results).items():
            console.print(f"Tuned: {row}: {told}", soft_wrap=True)
        console.print()
        console.print(f"Report: {from_here(outcome.report)}", soft_wrap=True)
    console.print(f"Everything is in {from_here(outcome.out)}", soft_wrap=True)
