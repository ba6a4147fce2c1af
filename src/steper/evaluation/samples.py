"""What several sampled trajectories of each question did: on average, at best, by majority."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from steper.evaluation.metrics import SampleMetrics
from steper.evaluation.official_scores import normalize_answer, score_answer
from steper.evaluation.statistics import Bootstrap, estimate_means
from steper.records import Question


def majority(answers: Sequence[str]) -> str:
    """The answer given most often, as first worded; of equally many the one that came first.

    Answers are the same when their normalised texts are; empty ones have no vote. This is the vote
    of self-consistency (Wang et al., ICLR 2023).
    """
    votes = Counter(key for answer in answers if (key := normalize_answer(answer)))
    if not votes:
        return ""
    winner = max(votes, key=lambda key: votes[key])  # the first of equals: insertion order
    return next(answer for answer in answers if normalize_answer(answer) == winner)


def agreement(answers: Sequence[str]) -> float:
    """The share of all answers that are the majority's; 0 where none says anything."""
    winner = normalize_answer(majority(answers))
    same = sum(normalize_answer(answer) == winner for answer in answers) if winner else 0
    return same / len(answers) if answers else 0.0


def sample_metrics(
    questions: Sequence[Question],
    answers: Mapping[str, Mapping[int, str]],
    settings: Bootstrap,
) -> SampleMetrics | None:
    """Exact match over the samples of questions with gold answers; None where each has one.

    `answers` are those by question and sample, "" where it did not answer.
    """
    most = max((len(answers[q.id]) for q in questions), default=0)
    scored = [q for q in questions if q.answers]
    if most < 2 or not scored:
        return None
    rows = []
    for question in scored:
        given = [answer for _, answer in sorted(answers[question.id].items())]
        each = [score_answer(a, question.answers, question.benchmark).em for a in given]
        vote = score_answer(majority(given), question.answers, question.benchmark).em
        rows.append([float(np.mean(each)), max(each), vote, agreement(given)])
    mean, best, vote_, agreed = estimate_means(rows, settings)
    trajectories = sum(len(answers[q.id]) for q in scored)
    return SampleMetrics(
        n=len(scored),
        trajectories=trajectories,
        most=most,
        em=mean,
        em_best=best,
        em_majority=vote_,
        agreement=agreed,
    )
