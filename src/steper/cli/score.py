"""`steper score`: any system's predictions, scored as the benchmark's own script scores them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from steper.evaluation.predictions import PredictionMetrics


def score(
    predictions: Path,
    /,
    *,
    questions: Path,
    benchmark: str,
    aliases: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Score any system's predictions by the benchmark's own rules.

    A missing prediction counts as the benchmark's own script counts it: 0 in HotpotQA and 2Wiki, an
    error in MuSiQue.

    Parameters
    ----------
    predictions
        Predictions in the benchmark's submission format. HotpotQA and 2Wiki: one JSON object
        {"answer": {id: text}}. MuSiQue and generic: JSON lines with id and predicted_answer.
    questions
        The benchmark's questions with their gold answers, in its own format.
    benchmark
        hotpotqa, 2wikimultihopqa, musique or generic.
    aliases
        2Wiki's id_aliases file: its script also accepts the aliases and demonyms of an answer.
    json
        Print JSON instead of tables.
    """
    from rich.console import Console

    from steper.data import load_questions
    from steper.evaluation.official_scores import check_benchmark
    from steper.evaluation.predictions import read_predictions, score_predictions

    name = check_benchmark(benchmark)
    file = read_predictions(predictions, name)
    metrics = score_predictions(load_questions(questions, name, aliases), file, name)
    for warning in metrics.warnings:
        Console(stderr=True).print(f"Warning: {warning}", markup=False, style="yellow")
    if json:
        print(metrics.model_dump_json(indent=2))
    else:
        _show(metrics)


def _show(metrics: PredictionMetrics) -> None:
    from rich.console import Console

    from steper.evaluation.tables import prediction_tables

    out = Console(highlight=False)
    counts = f"{metrics.questions} questions, {metrics.predictions} predictions"
    if metrics.without_answers:
        counts += f"; {metrics.without_answers} without a gold answer (not scored)"
    out.print(counts, markup=False)
    for table in prediction_tables(metrics):
        out.print()
        out.print(table)
