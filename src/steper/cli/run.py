"""`steper run`: the whole pipeline of a recipe or a file of one's own, stage by stage."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from steper.cli.options import SWITCH, given
from steper.cli.terminal import PipelineBar, is_main, plain_console, quiet_transformers, table_of
from steper.redaction import without_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from steper.evaluation.compare import Comparison
    from steper.pipeline.config import PipelineSettings
    from steper.pipeline.pipeline import Outcome
    from steper.pipeline.plan import PlannedTask
    from steper.pipeline.watching import Watcher

T = TypeVar("T")

MARKS = {"to do": "·", "resume": "→", "again": "↻", "done": "✓", "differs": "✗"}


def run(
    config: str,
    /,
    *,
    out: Path | None = None,
    set_: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None,
    stages: str | None = None,
    overwrite_from: str | None = None,
    jobs: str | None = None,
    ray_address: str | None = None,
    dry_run: Annotated[bool, SWITCH] = False,
    smoke: Annotated[bool, SWITCH] = False,
    show_settings: Annotated[bool, SWITCH] = False,
) -> None:
    """Run a whole pipeline: world, index, teach, build, train, eval, compare, report.

    What is done is skipped, what was interrupted goes on: the same command again is always safe.
    Relative paths in a file are relative to its folder, those in a shipped recipe to the working
    folder.

    Parameters
    ----------
    config
        A YAML file, or the name of a recipe that comes with the package: small-world,
        small-world-study, smollm2-135m, llama-3.1-8b. A file of that name goes first.
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
    jobs
        Tasks that run side by side, at most: a number, or auto (small models on a core each,
        larger ones alone; on GPUs, one for each). Short for --set jobs=…
    ray_address
        A Ray cluster whose machines do the tasks (extra `ray`): auto (the one that this machine is
        in), HOST:PORT, or local. They share a file system. Short for --set ray_address=…
    dry_run
        Print what would be done, and do nothing.
    smoke
        A dry run of everything in a few minutes: tiny random models of the same architecture,
        gold annotations as the teacher, ten questions of each data set, a few training steps.
        Data files that are not there are replaced by generated ones in the same format.
    show_settings
        Print every setting with its value and what it means, and do nothing.
    """
    from steper.dryrun.smoke import smoke_pipeline
    from steper.pipeline.load import find_configuration, load_settings
    from steper.pipeline.pipeline import Pipeline

    console = plain_console(quiet=not is_main())
    path, name, base = find_configuration(config)
    options = given(jobs=jobs, ray_address=ray_address)
    loaded = load_settings(path, set_ or (), base, options)
    if show_settings:
        print_settings(loaded, console)
        return
    folder = out or Path("runs") / (f"{name}-smoke" if smoke else name)
    if smoke:
        pipeline, notes = smoke_pipeline(loaded, folder)
        for note in notes:
            console.print(f"Smoke: {note}", soft_wrap=True)
    else:
        pipeline = Pipeline(loaded, folder)
    if dry_run:
        show_plan(pipeline.plan(listed_stages(stages), overwrite_from), folder, console)
        return
    show_outcome(run_shown(pipeline.run, stages, overwrite_from, console), console)
    if smoke:
        console.print("Smoke: the stages ran; the scores of stand-ins mean nothing.")


def listed_stages(stages: str | None) -> list[str]:
    """The names that `--stages` lists."""
    return [name.strip() for name in (stages or "").split(",") if name.strip()]


def run_shown(
    run: Callable[[list[str], str | None, Watcher], T],
    stages: str | None,
    overwrite_from: str | None,
    console: Console,
) -> T:
    """Run a pipeline, or a study, with a line for each task; what it comes to."""
    try:
        with quiet_transformers(), PipelineBar(console) as bar:
            return run(listed_stages(stages), overwrite_from, bar)
    except KeyboardInterrupt:
        if overwrite_from:
            console.print("Leave --overwrite-from out to go on from here.")
        raise


def print_settings(settings: PipelineSettings, console: Console) -> None:
    """Every setting, as `--set` takes it, with its value and what it means."""
    from steper.pipeline.config import describe

    for key, value, meaning in describe(settings):
        plain = value is None or isinstance(value, bool)
        shown = {None: "null", True: "true", False: "false"}[value] if plain else value
        line = Text.assemble((key, "bold"), f" = {shown}  ", (meaning, "dim"))
        console.print(line, soft_wrap=True)


def show_plan(plan: Sequence[PlannedTask], out: Path, console: Console) -> None:
    """Print what would be done: a line a task, with its state and why it differs."""
    table = Table(box=None, pad_edge=False)
    for heading in ("", "stage", "what", "state"):
        table.add_column(heading, header_style="dim", overflow="fold")
    for planned in plan:
        task, state = planned.task, planned.state
        reasons = [reason for reason in planned.reasons if not reason.startswith("after.")]
        why = f": {'; '.join(reasons[:2])}" if reasons and planned.wanted else ""
        if state == "differs" and not reasons:
            why = ": what it builds on differs"
        told = state if planned.wanted or state == "done" else "not asked for"
        mark = MARKS[state] if planned.wanted else " "
        table.add_row(*map(Text, (mark, task.stage, task.name, told + why)))
    console.print(table)
    console.print(f"Nothing was done. Everything would go to {out}", soft_wrap=True)
    differing = next((p.task for p in plan if p.state == "differs" and p.wanted), None)
    if differing:
        console.print(
            f"What differs is only done anew with --overwrite-from {differing.stage} "
            "(or an earlier stage); another --out keeps both",
            soft_wrap=True,
        )


def show_outcome(outcome: Outcome, console: Console) -> None:
    """Print a table of the methods for each data set, and where the reports are."""
    for data, comparison in outcome.comparisons.items():
        level = f"{100 * comparison.bootstrap.confidence:g}"
        title = f"{data}: {comparison.shared} test questions, %, with {level} % intervals"
        console.print()
        console.print(title, style="bold")
        console.print(closing_table(comparison))
        for line in comparison.tuned:
            console.print(f"Tuned: {line}", soft_wrap=True)
        for line in differences(comparison):
            console.print(line)
    if outcome.comparisons or outcome.reports:
        console.print()
    for path in outcome.reports.values():
        console.print(f"Report: {from_here(path)}", soft_wrap=True)
    if not outcome.reports:
        console.print(f"Everything is in {from_here(outcome.out)}", soft_wrap=True)
    elif outcome.students:
        student, corpus = list(outcome.students.items())[-1]
        corpus = without_secrets(from_here(corpus))
        ask = f'steper ask "QUESTION" --student {from_here(student)} --corpus {corpus}'
        console.print(f"Next: {ask}", soft_wrap=True)


def from_here(path: Path | str) -> str:
    """A path as it is typed in the working folder; of one elsewhere, the whole path."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def closing_table(comparison: Comparison) -> Table:
    """Each method's scores with their intervals."""
    from steper.evaluation.tables import score_rows

    rows = score_rows(comparison)
    for row, runs in zip(rows[1:], comparison.methods.values(), strict=True):
        row[0] += f" ({len(runs)} seeds)" if len(runs) > 1 else ""
    return table_of(rows)


def differences(comparison: Comparison) -> list[str]:
    """`steper − vanilla_kd: EM +6.2 [+3.1, +9.3], p 0.0003 (Holm)`, by the first metric."""
    from steper.evaluation.methods import METRIC_NAMES
    from steper.evaluation.tables import least, p_value, signed

    first = comparison.metrics[0]
    lines = []
    for found in first.differences:
        p = p_value(found.p_value) if found.p_holm is None else f"{p_value(found.p_holm)} (Holm)"
        base = found.against or comparison.baseline
        line = f"{found.method} − {base}: {METRIC_NAMES[first.metric]} {signed(found.difference)}"
        line += f", p {p}"
        if (seeded := found.seeded) is not None:
            if seeded.over_seeds:
                verdict, holm = found.verdict
                over = f"{signed(seeded.interval)}, p {p_value(verdict)}{' (Holm)' * holm}"
                line += f"; over other seeds, too: {over}"
            line += f"; detectable {least(found)}" if seeded.detectable is not None else ""
        lines.append(line)
    return lines
