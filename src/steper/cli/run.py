"""`steper run`: the whole pipeline of a recipe or a file of one's own, stage by stage."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from rich.console import Console
    from rich.table import Table

    from steper.evaluation.compare import Comparison
    from steper.pipeline.config import PipelineSettings
    from steper.pipeline.pipeline import Outcome
    from steper.pipeline.plan import PlannedTask, Task

INTERVAL = len("100.0 [99.9, 100]")
"""Room for a score with its interval: a name is folded, a number never cut."""

MARKS = {"to do": "·", "resume": "→", "again": "↻", "done": "✓", "differs": "✗"}


def run(
    config: str,
    /,
    *,
    out: Path | None = None,
    set_: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None,
    stages: str | None = None,
    overwrite_from: str | None = None,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    smoke: Annotated[bool, Parameter(negative="")] = False,
    show_settings: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Run a whole pipeline: world, index, teach, build, train, eval, compare, report.

    What is done is skipped, what was interrupted goes on: the same command again is always safe.
    Relative paths in a file are relative to its folder, those in a shipped recipe to the working
    folder.

    Parameters
    ----------
    config
        A YAML file, or the name of a recipe that comes with the package: small-world,
        small-world-study, llama-3.1-8b. A file of that name goes first.
    out
        Folder for everything. Default: runs/NAME, by the recipe's or file's name; with --smoke
        runs/NAME-smoke.
    set_
        KEY.KEY=VALUE over the file's value, such as data.2wiki.questions=train.json or
        train.epochs=1; relative paths are relative to the working folder. May be given several
        times.
    stages
        Only these, separated by commas, such as teach,build.
    overwrite_from
        Do this stage and all that follow anew, once: leave it out when you go on.
    dry_run
        Print what would be done, and do nothing.
    smoke
        A dry run of everything in a few minutes: tiny random models of the same architecture,
        gold annotations as the teacher, ten questions of each data set, a few training steps.
        Data files that are not there are replaced by generated ones in the same format.
    show_settings
        Print every setting with its value and what it means, and do nothing.
    """
    import os

    from rich.console import Console

    from steper.cli.train import _quiet
    from steper.dryrun.smoke import smoke_pipeline
    from steper.pipeline.load import find_configuration, load_settings
    from steper.pipeline.pipeline import Pipeline

    console = Console(highlight=False, quiet=os.environ.get("RANK", "0") != "0")
    path, name, base = find_configuration(config)
    settings = load_settings(path, set_ or (), base)
    if show_settings:
        print_settings(settings, console)
        return
    folder = out or Path("runs") / (f"{name}-smoke" if smoke else name)
    if smoke:
        pipeline, notes = smoke_pipeline(settings, folder)
        for note in notes:
            console.print(f"Smoke: {note}", markup=False, soft_wrap=True)
    else:
        pipeline = Pipeline(settings, folder)
    wanted = [name.strip() for name in stages.split(",") if name.strip()] if stages else []
    if dry_run:
        show_plan(pipeline.plan(wanted, overwrite_from), folder, console)
        return
    try:
        with _quiet(), PipelineProgress(console) as progress:
            outcome = pipeline.run(wanted, overwrite_from, progress)
    except KeyboardInterrupt:
        if overwrite_from:
            console.print("Leave --overwrite-from out to go on from here.", markup=False)
        raise
    show_outcome(outcome, console)
    if smoke:
        console.print("Smoke: the stages ran; the scores of stand-ins mean nothing.", markup=False)


class PipelineProgress:
    """A bar for the task at work on standard error, and a line for each that is over."""

    def __init__(self, console: Console) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.progress import TimeElapsedColumn as Elapsed

        self._out = console
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rates]}", markup=False),
            Elapsed(),
        )
        errors = Console(stderr=True)
        self._bar = Progress(
            *columns, console=errors, transient=True, disable=not errors.is_terminal
        )
        self._current: int | None = None
        self._before: int | None = None

    def __enter__(self) -> PipelineProgress:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def began(self, step: PlannedTask) -> None:
        """See `steper.pipeline.pipeline.Watcher`."""
        self._before = None
        self._current = self._bar.add_task(step.task.describe(), total=None, rates="")

    def advanced(self, task: Task, done: int, total: int | None, detail: object) -> None:
        """See `steper.pipeline.pipeline.Watcher`."""
        if self._current is None:
            return
        from rich.progress import TaskID

        rates = self._rates(detail)
        self._bar.update(TaskID(self._current), completed=done, total=total, rates=rates)

    def _rates(self, detail: object) -> str:
        from steper.cli.progress import describe_rates
        from steper.cli.train import describe_row
        from steper.engine import Stats

        if isinstance(detail, Stats):
            if self._before is None:
                self._before = detail.done - sum(detail.by_status.values())
            return describe_rates(detail, self._before)
        return describe_row(detail) if isinstance(detail, dict) and "loss" in detail else ""

    def ended(self, step: PlannedTask, summary: str, seconds: float) -> None:
        """See `steper.pipeline.pipeline.Watcher`."""
        from rich.progress import TaskID
        from rich.text import Text

        if self._current is not None:
            self._bar.remove_task(TaskID(self._current))
            self._current = None
        done = summary or "done before"
        line = Text.assemble(
            ("✓ ", "green" if summary else "dim"),
            f"{step.task.describe()}  ",
            (done, "" if summary else "dim"),
            (f"  {seconds:.1f} s", "dim"),
        )
        self._out.print(line, soft_wrap=True)


def print_settings(settings: PipelineSettings, console: Console) -> None:
    """Every setting, as `--set` takes it, with its value and what it means."""
    from rich.text import Text

    from steper.pipeline.config import describe

    for key, value, meaning in describe(settings):
        plain = value is None or isinstance(value, bool)
        shown = {None: "null", True: "true", False: "false"}[value] if plain else value
        line = Text.assemble((key, "bold"), f" = {shown}  ", (meaning, "dim"))
        console.print(line, soft_wrap=True)


def show_plan(steps: Sequence[PlannedTask], out: Path, console: Console) -> None:
    """Print what would be done: a line a task, with its state and why it differs."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for heading in ("", "stage", "what", "state"):
        table.add_column(heading, header_style="dim", overflow="fold")
    for step in steps:
        state = step.state if step.wanted or step.state == "done" else "not asked for"
        reasons = [r for r in step.reasons if not r.startswith("after.")]
        why = f": {'; '.join(reasons[:2])}" if reasons and step.wanted else ""
        if step.state == "differs" and not reasons:
            why = ": what it builds on differs"
        cells = (MARKS[step.state] if step.wanted else " ", step.task.stage, step.task.name)
        table.add_row(*(Text(cell) for cell in (*cells, state + why)))
    console.print(table)
    console.print(f"Nothing was done. Everything would go to {out}", markup=False, soft_wrap=True)
    differing = next((s for s in steps if s.state == "differs" and s.wanted), None)
    if differing:
        console.print(
            f"What differs is only done anew with --overwrite-from {differing.task.stage} "
            "(or an earlier stage); another --out keeps both",
            markup=False,
            soft_wrap=True,
        )


def show_outcome(outcome: Outcome, console: Console) -> None:
    """Print a table of the methods for each data set, and where the reports are."""
    for data, comparison in outcome.comparisons.items():
        console.print()
        level = f"{100 * comparison.bootstrap.confidence:g}"
        title = f"{data}: {comparison.shared} test questions, %, with {level} % intervals"
        console.print(title, style="bold", markup=False)
        console.print(closing_table(comparison))
        for line in differences(comparison):
            console.print(line, markup=False)
    if outcome.comparisons or outcome.reports:
        console.print()
    for path in outcome.reports.values():
        console.print(f"Report: {from_here(path)}", markup=False, soft_wrap=True)
    if not outcome.reports:
        where = from_here(outcome.out)
        console.print(f"Everything is in {where}", markup=False, soft_wrap=True)
    elif outcome.students:
        student, corpus = list(outcome.students.items())[-1]
        ask = f'steper ask "QUESTION" --student {from_here(student)} --corpus {from_here(corpus)}'
        console.print(f"Next: {ask}", markup=False, soft_wrap=True)


def from_here(path: Path | str) -> str:
    """A path as it is typed in the working folder; of one elsewhere, the whole path."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def closing_table(comparison: Comparison) -> Table:
    """Each method's scores with their intervals."""
    from rich.table import Table
    from rich.text import Text

    from steper.evaluation.compare import METRIC_NAMES
    from steper.evaluation.tables import with_interval

    table = Table(box=None, pad_edge=False)
    table.add_column("", overflow="fold")
    for one in comparison.metrics:
        heading = METRIC_NAMES[one.metric]
        table.add_column(
            heading, justify="right", header_style="dim", no_wrap=True, min_width=INTERVAL
        )
    for number, (name, runs) in enumerate(comparison.methods.items()):
        seeds = f" ({len(runs)} seeds)" if len(runs) > 1 else ""
        cells = [with_interval(one.means[number].mean) for one in comparison.metrics]
        table.add_row(Text(f"{name}{seeds}"), *cells)
    return table


def differences(comparison: Comparison) -> list[str]:
    """`steper − vanilla_kd: EM +6.2 [+3.1, +9.3], p 0.0003 (Holm)`, by the first metric."""
    from steper.evaluation.compare import METRIC_NAMES
    from steper.evaluation.tables import p_value, signed

    first = comparison.metrics[0]
    return [
        f"{found.method} − {comparison.baseline}: {METRIC_NAMES[first.metric]} "
        f"{signed(found.difference)}, "
        + (
            f"p {p_value(found.p_value)}"
            if found.p_holm is None
            else f"p {p_value(found.p_holm)} (Holm)"
        )
        for found in first.differences
    ]
