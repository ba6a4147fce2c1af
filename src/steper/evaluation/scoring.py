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

from steper.artifact import MANIFEST
from steper.errors import InputError
from steper.evaluation.abilities import measure_abilities
from steper.evaluation.metrics import (
    Group,
    Metrics,
    QuestionScore,
    ability_metrics,
    effort,
    group,
    outcomes,
    partition,
    step_metrics,
    support,
)
from steper.evaluation.official_scores import check_benchmark, score_answer
from steper.evaluation.predictions import submission_name, write_predictions
from steper.evaluation.retrieval import coverage
from steper.evaluation.samples import sample_metrics
from steper.evaluation.statistics import Bootstrap
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
from steper.strategy import step_end
from steper.text import percent

METRICS, SCORES = "metrics.json", "scores.jsonl"


class Evaluation(Record):
    """An evaluation with what it was made of; `scores` and `questions` are in the same order."""

    metrics: Metrics
    scores: tuple[QuestionScore, ...]
    questions: tuple[Question, ...]

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
        steps=sum(step.generated for step in trajectory.steps),
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
        if step.generated
    )


def _by_id(
    questions: Sequence[Question], trajectories: Iterable[Trajectory]
) -> dict[str, dict[int, Trajectory]]:
    """Trajectories by question id and sample; InputError on duplicates and unknown ids."""
    twice = [qid for qid, n in Counter(q.id for q in questions).items() if n > 1]
    if twice:
        raise InputError(f"question id {twice[0]!r} occurs twice; ids must be unique")
    known = {q.id for q in questions}
    found: dict[str, dict[int, Trajectory]] = {}
    for trajectory in trajectories:
        qid = trajectory.question_id
        if qid not in known:
            raise InputError(f"a trajectory is of question {qid!r}, which is not in the questions")
        samples = found.setdefault(qid, {})
        if trajectory.sample in samples:
            raise InputError(f"question {qid!r} has two trajectories; one was expected")
        samples[trajectory.sample] = trajectory
    return found


def _groups(
    scores: Sequence[QuestionScore],
    key: Callable[[QuestionScore], str | int | None],
    settings: Bootstrap,
) -> dict[str, Group]:
    return {name: group(part, settings) for name, part in partition(scores, key).items()}


def _summarise(
    scores: Sequence[QuestionScore], questions: int, settings: Bootstrap, warnings: Sequence[str]
) -> Metrics:
    overall = group(scores, settings)
    kept = [s for s in scores if s.status != "dropped"]
    return Metrics(
        questions=questions,
        trajectories=len(scores),
        missing=questions - len(scores),
        without_answers=sum(s.score is None for s in scores),
        without_gold_passages=sum(s.coverage is None for s in scores),
        benchmarks=dict(Counter(s.benchmark for s in scores)),
        statuses=dict(Counter(s.status for s in scores)),
        outcomes=outcomes(scores),
        overall=overall,
        kept=group(kept, settings) if len(kept) < len(scores) else overall,
        by_hops=_groups(scores, lambda s: s.hops, settings),
        by_type=_groups(scores, lambda s: s.type, settings),
        steps=step_metrics([s.coverage for s in scores if s.coverage], settings),
        effort=effort(scores, settings),
        support=support(scores, settings),
        abilities=ability_metrics(scores, settings),
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
    asked = tuple(questions)
    sampled = _by_id(asked, trajectories)
    found = {qid: samples[0] for qid, samples in sampled.items() if 0 in samples}
    tried = tuple(q for q in asked if q.id in found)
    scores = tuple(score_question(q, found[q.id]) for q in tried)
    notes = list(warnings)
    if len(tried) < len(asked):
        notes.append(
            f"{len(asked) - len(tried)} of {len(asked)} questions have no trajectory and count "
            "nowhere"
        )
    steps = [step for q in tried for step in found[q.id].steps if step.generated]
    notes += truncation_warnings(sum(s.finish == "length" for s in steps), len(steps))
    settings = bootstrap or Bootstrap()
    most = max((len(samples) for samples in sampled.values()), default=0)
    if most > 1:
        notes.append(f"of {most} samples a question the first is scored and compared")
    metrics = _summarise(scores, len(asked), settings, notes)
    if samples := sample_metrics(tried, sampled, settings):
        metrics = metrics.model_copy(update={"samples": samples})
    return Evaluation(metrics=metrics, scores=scores, questions=tried)


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


def score_run(
    run: Path | str, partial: bool = False, bootstrap: Bootstrap | None = None
) -> Evaluation:
    """Evaluate a run folder, keeping each question's scores.

    Raises InputError when it is not a run, a record in it is broken, or, unless `partial`, it is
    unfinished or lacks trajectories.
    """
    run = Path(run)
    manifest = _read_manifest(run)
    if Run(run).of_states:
        raise InputError(
            f"{run} holds a teacher's steps at a student's states (`steper relabel`), no answers "
            "to questions; score the student's own run"
        )
    questions = list(read_records(run / QUESTIONS, Question))
    source = run / TRAJECTORIES
    if source.exists():
        trajectories = list(read_records(source, Trajectory))
    else:
        source = run / PART
        trajectories = read_unfinished(source)
    firsts = sum(t.sample == 0 for t in trajectories)
    warnings = _check_whole(run, manifest.get("status"), len(questions) - firsts, partial)
    if not firsts:
        raise InputError(f"{run}: no trajectory is finished yet, there is nothing to score")
    try:
        evaluation = score_trajectories(questions, trajectories, bootstrap, warnings)
    except InputError as error:
        raise InputError(f"{run}: {error}") from None
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
    parts = partition(evaluation.scores, lambda s: s.benchmark)
    for name, scores in parts.items():
        benchmark = check_benchmark(name)
        path = folder / submission_name(benchmark)
        if len(parts) > 1:
            path = path.with_name(f"{path.stem}.{name}{path.suffix}")
        answers = (Prediction(question_id=s.question_id, answer=s.answer) for s in scores)
        write_predictions(path, answers, benchmark)
        written.append(path)
    return written
