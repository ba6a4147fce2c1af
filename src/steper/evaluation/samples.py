"""What several sampled trajectories of each question did: on average, at best, by majority."""

from __future__ import annotations

from array import array
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
    most = max((len(given) for given in answers.values()), default=0)
    if most < 2:
        return None
    rows, trajectories = array("d"), 0
    for question in questions:
        if not question.answers:
            continue
        trajectories += len(answers[question.id])
        given = [answer for _, answer in sorted(answers[question.id].items())]
        each = [score_answer(a, question.answers, question.benchmark).em for a in given]
        vote = score_answer(majority(given), question.answers, question.benchmark).em
        rows.extend((float(np.mean(each)), max(each), vote, agreement(given)))
    if not rows:
        return None
    table = np.array(rows).reshape(-1, 4)
    mean, best, vote_, agreed = estimate_means(table, settings)
    return SampleMetrics(
        n=len(table),
        trajectories=trajectories,
        most=most,
        em=mean,
        em_best=best,
        em_majority=vote_,
        agreement=agreed,
    )
