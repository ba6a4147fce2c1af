"""`steper eval`: scores, recall and costs of a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


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
    from steper.evaluate.tables import counts_line, effort_line, run_tables

    evaluation = score_run(run, partial)
    metrics, written = evaluation.metrics, write_evaluation(evaluation, run)
    for warning in metrics.warnings:
        Console(stderr=True).print(f"Warning: {warning}", markup=False, style="yellow")
    if json:
        print((run / METRICS).read_text("utf-8"), end="")
        return
    out = Console()
    out.print(counts_line(metrics), markup=False, highlight=False)
    for table in run_tables(metrics):
        out.print()
        out.print(table)
    out.print()
    if metrics.effort:
        out.print(effort_line(metrics.effort), markup=False, highlight=False)
    names = ", ".join(path.name for path in written)
    out.print(f"Wrote {names} to {run}", markup=False, highlight=False)
