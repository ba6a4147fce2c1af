"""`steper score`: any system's predictions, scored as the benchmark's own script scores them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from steper.cli.options import SWITCH
from steper.cli.terminal import show_tables, warn


def score(
    predictions: Path,
    /,
    *,
    questions: Path,
    benchmark: str,
    aliases: Path | None = None,
    json: Annotated[bool, SWITCH] = False,
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
    from steper.data import load_questions
    from steper.evaluation.official_scores import check_benchmark
    from steper.evaluation.predictions import read_predictions, score_predictions
    from steper.evaluation.tables import prediction_tables

    name = check_benchmark(benchmark)
    file = read_predictions(predictions, name)
    metrics = score_predictions(load_questions(questions, name, aliases), file, name)
    warn(metrics.warnings)
    if json:
        print(metrics.model_dump_json(indent=2))
        return
    counts = f"{metrics.questions} questions, {metrics.predictions} predictions"
    if metrics.without_answers:
        counts += f"; {metrics.without_answers} without a gold answer (not scored)"
    show_tables(counts, prediction_tables(metrics))
