"""Predictions in the benchmarks' own submission formats: read, scored, written.

HotpotQA and 2WikiMultiHopQA take one JSON object `{"answer": {id: text}, "sp": …, "evidence": …}`;
MuSiQue, and our generic format, JSON lines with `id` and `predicted_answer`. Only answers are
scored; supporting facts and evidence are named as ignored.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from steper.errors import InputError
from steper.evaluation.metrics import AnswerMetrics
from steper.evaluation.official_scores import (
    ZERO,
    AnswerScore,
    check_benchmark,
    score_answer,
)
from steper.evaluation.score_table import ANSWERS
from steper.evaluation.statistics import Bootstrap, Floats
from steper.evaluation.summaries import answer_metrics, partition
from steper.records import Benchmark, Prediction, Question, Record
from steper.store import read_json, read_json_lines, write_json, write_jsonl

JSON_LINES: frozenset[Benchmark] = frozenset({"musique", "generic"})
"""Benchmarks whose submission is JSON lines; the others' is one JSON object."""

_FORMATS: dict[Benchmark, str] = {
    "hotpotqa": 'HotpotQA predictions are one JSON object {"answer": {id: text, …}, "sp": …}',
    "2wikimultihopqa": '2Wiki predictions are one JSON object {"answer": {id: text, …}, …}',
    "musique": 'MuSiQue predictions are JSON lines {"id": …, "predicted_answer": text, …}',
    "generic": 'predictions are JSON lines {"id": …, "predicted_answer": text}',
}


class PredictionFile(Record):
    """Predictions in file order, and the names of fields beside the answers that are not scored."""

    predictions: tuple[Prediction, ...]
    ignored: tuple[str, ...] = ()


class PredictionMetrics(Record):
    """Scores of a predictions file over all questions that have a gold answer.

    `missing`: scored questions without a prediction, each a 0 (never in MuSiQue). `unknown`:
    predictions for ids that are not among the questions, left out. `ignored`: fields not scored.
    """

    benchmark: Benchmark
    questions: int
    predictions: int
    without_answers: int
    missing: tuple[str, ...]
    unknown: tuple[str, ...]
    ignored: tuple[str, ...]
    overall: AnswerMetrics
    by_hops: dict[str, AnswerMetrics]
    by_type: dict[str, AnswerMetrics]
    bootstrap: Bootstrap
    warnings: tuple[str, ...] = ()


def _says_something(value: Any) -> bool:
    """Whether an ignored field's value deserves a note; empty ones and a plain `true` do not."""
    return bool(value) and value is not True


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _prediction(where: str, field: str, qid: str, answer: Any, benchmark: Benchmark) -> Prediction:
    if not isinstance(answer, str):
        raise InputError(
            f"{where}: {field} is {_shown(answer)}; a text was expected: {_FORMATS[benchmark]}"
        )
    return Prediction(question_id=qid, answer=answer)


def _read_object(path: Path, benchmark: Benchmark) -> PredictionFile:
    value = read_json(path)
    answers = value.get("answer") if isinstance(value, dict) else None
    if not isinstance(answers, dict):
        what = (
            "field answer is missing"
            if isinstance(value, dict) and "answer" not in value
            else f"answer is {_shown(answers)}"
            if isinstance(value, dict)
            else f"a JSON {type(value).__name__} stands there"
        )
        raise InputError(f"{path}: {what}; {_FORMATS[benchmark]}")
    return PredictionFile(
        predictions=tuple(
            _prediction(str(path), f"answer[{_shown(qid)}]", qid, answer, benchmark)
            for qid, answer in answers.items()
        ),
        ignored=tuple(k for k, v in value.items() if k != "answer" and _says_something(v)),
    )


def _read_lines(path: Path, benchmark: Benchmark) -> PredictionFile:
    lines: dict[str, int] = {}
    predictions: list[Prediction] = []
    ignored: dict[str, None] = {}
    for number, row in read_json_lines(path):
        where = f"{path}, line {number}"
        for field in ("id", "predicted_answer"):
            if field not in row:
                raise InputError(f"{where}: field {field} is missing; {_FORMATS[benchmark]}")
        qid = row["id"]
        if not isinstance(qid, str):
            raise InputError(f"{where}: id is {_shown(qid)}; a text was expected")
        if qid in lines:
            raise InputError(f"{where}: id {qid!r} was already predicted on line {lines[qid]}")
        lines[qid] = number
        answer = row["predicted_answer"]
        predictions.append(_prediction(where, "predicted_answer", qid, answer, benchmark))
        fields = row.keys() - {"id", "predicted_answer"}
        ignored |= {name: None for name in sorted(fields) if _says_something(row[name])}
    return PredictionFile(predictions=tuple(predictions), ignored=tuple(ignored))


def read_predictions(path: Path | str, benchmark: str) -> PredictionFile:
    """Predictions in the benchmark's submission format.

    Raises InputError that names file, line and field, and says what was expected.
    """
    name = check_benchmark(benchmark)
    try:
        return (_read_lines if name in JSON_LINES else _read_object)(Path(path), name)
    except InputError as error:
        hint = f"; {_FORMATS[name]}" if "not JSON" in str(error) else ""
        raise InputError(f"{error}{hint}") from None


def _few(noun: str, ids: Sequence[str]) -> str:
    """How many there are and the first three: `4 questions (a, b, c and 1 more)`."""
    rest = f" and {len(ids) - 3} more" if len(ids) > 3 else ""
    return f"{len(ids)} {noun}{'s' * (len(ids) != 1)} ({', '.join(ids[:3])}{rest})"


def _strict(benchmark: Benchmark, missing: Sequence[str], unknown: Sequence[str]) -> None:
    """MuSiQue's `evaluate_v1.0.py` asserts that predictions and questions match one to one."""
    if benchmark != "musique" or not (missing or unknown):
        return
    parts = [f"no prediction for {_few('question', missing)}"] if missing else []
    parts += [f"predictions for {_few('unknown id', unknown)}"] if unknown else []
    raise InputError(
        f"{' and '.join(parts)}; MuSiQue's script wants exactly one line for each question"
    )


def _warnings(
    benchmark: Benchmark, file: PredictionFile, missing: Sequence[str], unknown: Sequence[str]
) -> tuple[str, ...]:
    lines = []
    if missing:
        official = " as in the official script" if benchmark != "generic" else ""
        lines.append(f"no prediction for {_few('question', missing)}: each counts 0{official}")
    if unknown:
        lines.append(f"predictions for {_few('unknown id', unknown)} are left out")
    if file.ignored:
        lines.append(f"only answers are scored; ignored: {', '.join(file.ignored)}")
    return tuple(lines)


def _parts(
    questions: Sequence[Question],
    scores: Mapping[str, AnswerScore],
    key: Callable[[Question], str | int | None],
    settings: Bootstrap,
) -> dict[str, AnswerMetrics]:
    """AnswerMetrics of the questions by `key`."""
    parts = partition(questions, key).items()
    found = {
        name: answer_metrics(_rows(scores[q.id] for q in part), settings) for name, part in parts
    }
    return {name: means for name, means in found.items() if means is not None}


def _rows(scores: Iterable[AnswerScore]) -> Floats:
    return np.array([[getattr(score, name) for name in ANSWERS] for score in scores])


def _scores(
    questions: Sequence[Question], answers: Mapping[str, str], benchmark: Benchmark
) -> dict[str, AnswerScore]:
    """Scores by question id; without a prediction all are 0."""
    return {
        q.id: score_answer(answers[q.id], q.answers, benchmark) if q.id in answers else ZERO
        for q in questions
    }


def score_predictions(
    questions: Iterable[Question],
    file: PredictionFile,
    benchmark: str,
    bootstrap: Bootstrap | None = None,
) -> PredictionMetrics:
    """Score a predictions file as the benchmark's own script does.

    A missing prediction counts 0 in HotpotQA's and 2Wiki's mean over all questions; MuSiQue's
    script asserts that ids match, so there missing and unknown ids are an InputError (their order
    does not matter here). Raises InputError when no question has a gold answer.
    """
    name, settings = check_benchmark(benchmark), bootstrap or Bootstrap()
    asked = list(questions)
    scored = [q for q in asked if q.answers]
    if not scored:
        raise InputError("none of the questions has a gold answer: there is nothing to score")
    answers = {p.question_id: p.answer for p in file.predictions}
    missing = tuple(q.id for q in scored if q.id not in answers)
    unknown = tuple(sorted(answers.keys() - {q.id for q in asked}))
    _strict(name, missing, unknown)
    scores = _scores(scored, answers, name)
    overall = answer_metrics(_rows(scores.values()), settings)
    assert overall is not None  # scored is not empty
    return PredictionMetrics(
        benchmark=name,
        questions=len(asked),
        predictions=len(file.predictions),
        without_answers=len(asked) - len(scored),
        missing=missing,
        unknown=unknown,
        ignored=file.ignored,
        overall=overall,
        by_hops=_parts(scored, scores, lambda q: q.hops, settings),
        by_type=_parts(scored, scores, lambda q: q.type, settings),
        bootstrap=settings,
        warnings=tuple(_warnings(name, file, missing, unknown)),
    )


def submission_name(benchmark: Benchmark) -> str:
    """File name of a submission: predictions.json, or .jsonl where it is JSON lines."""
    return "predictions.jsonl" if benchmark in JSON_LINES else "predictions.json"


def write_predictions(
    path: Path | str, predictions: Iterable[Prediction], benchmark: Benchmark
) -> None:
    """Write a submission that the benchmark's own script reads, atomically.

    Supporting facts and evidence are empty: their scores in that script's output mean nothing.
    """
    if benchmark == "hotpotqa" or benchmark == "2wikimultihopqa":
        value: dict[str, Any] = {"answer": {p.question_id: p.answer for p in predictions}, "sp": {}}
        if benchmark == "2wikimultihopqa":
            value["evidence"] = {}
        write_json(path, value)
        return
    extra = {"predicted_support_idxs": [], "predicted_answerable": True}
    rows = ({"id": p.question_id, "predicted_answer": p.answer} for p in predictions)
    write_jsonl(path, ({**row, **extra} if benchmark == "musique" else row for row in rows))
