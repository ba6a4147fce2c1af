"""`steper eval`: scores, recall and costs of a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from steper.evaluate.metrics import Metrics


def eval_(
    run: Path,
    /,
    *,
    partial: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Score a run by its benchmark's own rules.

    Prints tables and writes into the run folder: metrics.json, scores.jsonl (a line a question) and
    predictions.json (or .jsonl), which the benchmark's own script reads.

    Parameters
    ----------
    run
        A folder that `steper teach` wrote.
    partial
        Score an unfinished run on the trajectories that it has.
    json
        Print the content of metrics.json instead of tables.
    """
    from rich.console import Console

    from steper.evaluate.run import METRICS, score_run, write_evaluation

    evaluation = score_run(run, partial)
    written = write_evaluation(evaluation, run)
    for warning in evaluation.metrics.warnings:
        Console(stderr=True).print(f"Warning: {warning}", markup=False, style="yellow")
    if json:
        print((run / METRICS).read_text("utf-8"), end="")
        return
    _show(evaluation.metrics)
    print(f"Wrote {', '.join(path.name for path in written)} to {run}")


def _show(metrics: Metrics) -> None:
    from rich.console import Console

    from steper.evaluate.tables import counts_line, effort_lines, run_tables

    out = Console(highlight=False)
    out.print(counts_line(metrics), markup=False)
    for table in run_tables(metrics):
        out.print()
        out.print(table)
    out.print()
    for line in effort_lines(metrics.effort) if metrics.effort else []:
        out.print(line, markup=False)
