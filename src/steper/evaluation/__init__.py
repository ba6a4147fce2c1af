"""Scores equal to the official ones, recall per step, intervals and paired tests."""

from steper.evaluation.metrics import Metrics, QuestionScore
from steper.evaluation.official_scores import AnswerScore, normalize_answer, score_answer
from steper.evaluation.predictions import (
    PredictionMetrics,
    read_predictions,
    score_predictions,
    write_predictions,
)
from steper.evaluation.retrieval import Coverage, coverage
from steper.evaluation.scoring import (
    Evaluation,
    evaluate_run,
    evaluate_trajectories,
    score_run,
    score_trajectories,
    write_evaluation,
)
from steper.evaluation.statistics import Bootstrap, Estimate, Paired, compare_paired, estimate_means

__all__ = [
    "AnswerScore",
    "Bootstrap",
    "Coverage",
    "Estimate",
    "Evaluation",
    "Metrics",
    "Paired",
    "PredictionMetrics",
    "QuestionScore",
    "compare_paired",
    "coverage",
    "estimate_means",
    "evaluate_run",
    "evaluate_trajectories",
    "normalize_answer",
    "read_predictions",
    "score_answer",
    "score_predictions",
    "score_run",
    "score_trajectories",
    "write_evaluation",
    "write_predictions",
]
