"""Evaluate a run: its questions and trajectories become Metrics.

In: a run folder (manifest.json, questions.jsonl, and trajectories.jsonl, or trajectories.part while
it is under way) or the records themselves.
Out: `Metrics`, and the `QuestionScore` of every trajectory for paired tests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ConfigDict, Field, field_serializer

from steper.artifact import MANIFEST, warn_of_changes
from steper.errors import InputError
from steper.evaluation.abilities import measure_abilities
from steper.evaluation.metrics import Group, Metrics, QuestionScore
from steper.evaluation.official_scores import check_benchmark, score_answer
from steper.evaluation.predictions import submission_name, write_predictions
from steper.evaluation.retrieval import coverage
from steper.evaluation.samples import sample_metrics
from steper.evaluation.score_table import Labels, ScoreTable
from steper.evaluation.statistics import Bootstrap
from steper.evaluation.summaries import (
    ability_metrics,
    effort,
    group,
    outcomes,
    partition,
    step_metrics,
    support,
)
from steper.grounding import grounded_share
from steper.journal import PART, QUESTIONS, TRAJECTORIES, read_unfinished
from steper.notebook import SHOWN_SCORES
from steper.records import Prediction, Question, Record, Trajectory
from steper.runs import Run, truncation_warnings
from steper.store import (
    provenance,
    read_json,
    read_records,
    sha256_file,
    write_json,
    write_jsonl,
)
from steper.stored import Spool, Stored, id_of, open_stored, stored_questions
from steper.strategy import step_end
from steper.text import percent

METRICS, SCORES = "metrics.json", "scores.jsonl"


class Evaluation(Record):
    """An evaluation with what it was made of.

    `scores`, `questions` and the rows of `table` are in the same order; the first two stay in files
    and are read as they are asked for, by question id as well.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    metrics: Metrics
    scores: Stored[QuestionScore]
    questions: Stored[Question]
    table: ScoreTable = Field(exclude=True)

    @field_serializer("scores", "questions")
    def _listed(self, records: Stored[Any]) -> tuple[Any, ...]:
        return tuple(records)

    def _brief(self) -> Iterable[str]:
        means = self.metrics.overall.answers
        told = SHOWN_SCORES.items() if means else ()
        scores = (f"{name} {percent(getattr(means, key).value)}" for key, name in told)
        return f"{len(self.questions)} questions", *scores


def score_question(question: Question, trajectory: Trajectory) -> QuestionScore:
    """Scores of one trajectory; unless it answered, its answer counts as empty."""
    answer = trajectory.answer if trajectory.status == "answered" else ""
    score = score_answer(answer, question.answers, question.benchmark) if question.answers else None
    priced = [s.usage.dollars is not None for s in trajectory.steps if s.usage.prompt_tokens]
    return QuestionScore(
        question_id=question.id,
        benchmark=question.benchmark,
        hops=question.hops,
        type=question.type,
        status=trajectory.status,
        stop_reason=trajectory.stop_reason,
        reason=trajectory.reason,
        answer=answer,
        score=score,
        coverage=coverage(question, trajectory),
        steps=sum(step.stands for step in trajectory.steps),
        searches=sum(step.query is not None for step in trajectory.steps),
        inventing=_inventing(question, trajectory),
        abilities=measure_abilities(question, trajectory, None if score is None else score.em == 1),
        usage=trajectory.usage,
        unpriced=priced.count(False),
    )


def _inventing(question: Question, trajectory: Trajectory) -> int:
    """How many steps state a name or number that nothing they were given holds."""
    texts = {p.id: f"{p.title} {p.text}" for p in trajectory.passages}
    return sum(
        grounded_share(step.rationale, [question.text, *(texts[i] for i in step.context)]) < 1
        for step in trajectory.steps
        if step.stands
    )


class Tally:
    """Scores trajectories one at a time and lets go of them: what a run holds fits no memory.

    So it is with its questions and scores, which stay in files. Raises InputError on duplicate
    question ids, two trajectories of one question, and trajectories of unknown questions.
    """

    def __init__(self, questions: Iterable[Question]) -> None:
        self.questions = stored_questions(questions)
        twice = [qid for qid, n in Counter(self.questions.keys).items() if n > 1]
        if twice:
            raise InputError(f"question id {twice[0]!r} occurs twice; ids must be unique")
        self._places = self.questions.by_key.places
        self._scores = Spool(QuestionScore)
        self._answers: dict[str, dict[int, str]] = {}
        self._cut = self._generations = 0

    @property
    def scored(self) -> int:
        """How many questions have a trajectory."""
        return len(self._scores.keys)

    def add(self, trajectory: Trajectory) -> None:
        """Score a trajectory; of several samples of a question the first is scored."""
        place = self._places.get(trajectory.question_id)
        if place is None:
            raise InputError(
                f"a trajectory is of question {trajectory.question_id!r}, which is not in the "
                "questions"
            )
        own: str = self.questions.keys[place]  # one text for all who know it
        answers = self._answers.setdefault(own, {})
        if trajectory.sample in answers:
            raise InputError(f"question {own!r} has two trajectories; one was expected")
        answers[trajectory.sample] = trajectory.answer if trajectory.status == "answered" else ""
        if trajectory.sample == 0:
            self._scores.add(score_question(self.questions[place], trajectory), own)
            steps = [step for step in trajectory.steps if step.generated]
            self._generations += len(steps)
            self._cut += sum(step.finish == "length" for step in steps)

    def evaluation(self, settings: Bootstrap, warnings: Sequence[str] = ()) -> Evaluation:
        """What all of them come to; questions without one are missing and not scored."""
        scored, asked = self._scores.stored(), len(self.questions)
        place = scored.by_key.places
        tried = self.questions.take(n for n, i in enumerate(self.questions.keys) if i in place)
        scores = scored.take(place[i] for i in tried.keys)
        notes = list(warnings)
        if len(tried) < asked:
            notes.append(
                f"{asked - len(tried)} of {asked} questions have no trajectory and count nowhere"
            )
        notes += truncation_warnings(self._cut, self._generations)
        most = max((len(samples) for samples in self._answers.values()), default=0)
        if most > 1:
            notes.append(f"of {most} samples a question the first is scored and compared")
        table = ScoreTable.of(scores)
        metrics = _summarise(table, asked, settings, notes)
        if samples := sample_metrics(tried, self._answers, settings):
            metrics = metrics.model_copy(update={"samples": samples})
        return Evaluation(metrics=metrics, scores=scores, questions=tried, table=table)


def _groups(
    table: ScoreTable, key: Callable[[Labels], str | int | None], settings: Bootstrap
) -> dict[str, Group]:
    parts = partition(range(len(table)), lambda row: key(table.labels[row]))
    return {name: group(table.take(rows), settings) for name, rows in parts.items()}


def _summarise(
    table: ScoreTable, questions: int, settings: Bootstrap, warnings: Sequence[str]
) -> Metrics:
    overall = group(table, settings)
    kept = [row for row, own in enumerate(table.labels) if own.status != "dropped"]
    return Metrics(
        questions=questions,
        trajectories=len(table),
        missing=questions - len(table),
        without_answers=int(np.isnan(table.values("em")).sum()),
        without_gold_passages=int((table.gold == 0).sum()),
        benchmarks=dict(Counter(own.benchmark for own in table.labels)),
        statuses=dict(Counter(own.status for own in table.labels)),
        outcomes=outcomes(table),
        overall=overall,
        kept=group(table.take(kept), settings) if len(kept) < len(table) else overall,
        by_hops=_groups(table, lambda own: own.hops, settings),
        by_type=_groups(table, lambda own: own.type, settings),
        steps=step_metrics(table, settings),
        effort=effort(table, settings),
        support=support(table, settings),
        abilities=ability_metrics(table, settings),
        bootstrap=settings,
        warnings=tuple(warnings),
    )


def score_trajectories(
    questions: Iterable[Question],
    trajectories: Iterable[Trajectory],
    bootstrap: Bootstrap | None = None,
    warnings: Sequence[str] = (),
) -> Evaluation:
    """Evaluate trajectories; questions without one are counted as missing and not scored.

    Of several samples of a question the first is scored, as if it were the only one; what all of
    them did stands in `Metrics.samples`.
    Raises InputError on duplicate question ids, two trajectories of one question, and trajectories
    of unknown questions.
    """
    tally = Tally(questions)
    for trajectory in trajectories:
        tally.add(trajectory)
    return tally.evaluation(bootstrap or Bootstrap(), warnings)


def _read_manifest(run: Path) -> dict[str, Any]:
    if not run.is_dir():
        raise InputError(f"{run}: no such folder; a run that `steper teach` wrote was expected")
    path = run / MANIFEST
    if not path.exists():
        raise InputError(f"{run} holds no {MANIFEST}; is it a run that `steper teach` wrote?")
    manifest = read_json(path)
    if not isinstance(manifest, dict):
        raise InputError(f"{path}: a JSON object was expected, not {type(manifest).__name__}")
    return manifest


def _check_whole(run: Path, status: object, missing: int, partial: bool) -> list[str]:
    """Warnings of a run that is not whole; raises InputError unless `partial` allows it."""
    if status != "complete":
        problem = f"{run} is not finished (its manifest's status is {status!r}, not 'complete')"
    elif missing:
        problem = f"{run} lacks the trajectories of {missing} of its questions"
    else:
        return []
    if not partial:
        raise InputError(
            f"{problem}; finish it with the same `steper teach` command, "
            "or score what is there with --partial"
        )
    return [f"{problem}: only what is there is scored"] if status != "complete" else []


def _named(run: Path, error: InputError) -> str:
    """An error's message with the run's folder in front, where it does not name a file of it."""
    return str(error) if str(error).startswith(str(run)) else f"{run}: {error}"


def score_run(
    run: Path | str, partial: bool = False, bootstrap: Bootstrap | None = None
) -> Evaluation:
    """Evaluate a run folder, keeping each question's scores.

    Raises InputError when it is not a run, a record in it is broken, or, unless `partial`, it is
    unfinished or lacks trajectories.
    """
    run = Path(run)
    manifest = _read_manifest(run)
    warn_of_changes(run, manifest)
    Run(run).refuse("judged", "states_of")
    source = run / TRAJECTORIES
    whole = source.exists()
    if not whole:
        source = run / PART
    try:
        tally = Tally(open_stored(run / QUESTIONS, Question, id_of))
        for trajectory in read_records(source, Trajectory) if whole else read_unfinished(source):
            tally.add(trajectory)
    except InputError as error:
        raise InputError(_named(run, error)) from None
    missing = len(tally.questions) - tally.scored
    warnings = _check_whole(run, manifest.get("status"), missing, partial)
    if not tally.scored:
        raise InputError(f"{run}: no trajectory is finished yet, there is nothing to score")
    evaluation = tally.evaluation(bootstrap or Bootstrap(), warnings)
    inputs = {name: sha256_file(run / name) for name in (QUESTIONS, source.name)}
    facts = {
        "run": str(run),
        "step_end": step_end(manifest),
        "inputs": inputs,
        "provenance": provenance(),
    }
    metrics = evaluation.metrics.model_copy(update=facts)
    return evaluation.model_copy(update={"metrics": metrics})


def evaluate_run(
    run: Path | str, partial: bool = False, bootstrap: Bootstrap | None = None
) -> Metrics:
    """The Metrics of a run folder; see `score_run`."""
    return score_run(run, partial, bootstrap).metrics


def write_evaluation(evaluation: Evaluation, folder: Path | str) -> list[Path]:
    """Write metrics.json, scores.jsonl and the predictions, each atomically; returns their paths.

    Predictions are in the benchmark's submission format; a run of several benchmarks has a file
    for each, such as predictions.hotpotqa.json. Raises InputError if the folder cannot be written.
    """
    folder = Path(folder)
    written = [folder / METRICS, folder / SCORES]
    write_json(written[0], evaluation.metrics.model_dump(mode="json"))
    write_jsonl(written[1], evaluation.scores)
    labels = evaluation.table.labels
    parts = partition(range(len(labels)), lambda row: labels[row].benchmark)
    for name, rows in parts.items():
        benchmark = check_benchmark(name)
        path = folder / submission_name(benchmark)
        if len(parts) > 1:
            path = path.with_name(f"{path.stem}.{name}{path.suffix}")
        scores = evaluation.scores.take(rows)
        answers = (Prediction(question_id=s.question_id, answer=s.answer) for s in scores)
        write_predictions(path, answers, benchmark)
        written.append(path)
    return written
