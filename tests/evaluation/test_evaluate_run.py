"""A run becomes metrics: means, denominators, counts, what is refused and what is written."""

import json

import pytest
from made import ADA, LONDON, make_question, make_trajectory

from steper.errors import InputError
from steper.evaluation.metrics import Metrics, QuestionScore
from steper.evaluation.scoring import (
    evaluate_run,
    score_run,
    score_trajectories,
    write_evaluation,
)
from steper.evaluation.statistics import Bootstrap
from steper.evaluation.tables import support_lines
from steper.records import Step, Usage
from steper.store import read_records


def test_means_and_denominators(mixed):
    metrics = score_trajectories(*mixed).metrics
    answers = metrics.overall.answers
    # One of five is right; "no" is a substring of "norway" but no token of it.
    assert (answers.n, answers.em.value, answers.f1.value) == (5, 0.2, 0.2)
    assert (answers.acc.value, answers.acc_token.value) == (0.4, 0.2)
    assert answers.em.low == 0.0
    assert 0.2 < answers.em.high <= 1
    # A capped trajectory's text is no answer; dropped ones are left out of `kept` alone.
    assert (metrics.kept.n, metrics.kept.answers.em.value) == (4, 0.25)
    assert metrics.statuses == {"answered": 2, "capped": 1, "failed": 1, "dropped": 1}
    assert metrics.missing == metrics.without_answers == 0


def test_groups(mixed):
    metrics = score_trajectories(*mixed).metrics
    assert {k: (g.n, g.answers.em.value) for k, g in metrics.by_hops.items()} == {
        "2": (3, pytest.approx(1 / 3)),
        "3": (2, 0.0),
    }
    assert {k: g.n for k, g in metrics.by_type.items()} == {
        "bridge": 3,
        "comparison": 1,
        "unknown": 1,
    }
    plain = [q.model_copy(update={"type": None}) for q in mixed[0]]
    assert score_trajectories(plain, mixed[1]).metrics.by_type == {}


def test_recall_per_step_keeps_the_last_value(mixed):
    metrics = score_trajectories(*mixed).metrics
    # Gold found (of 2) after steps 1, 2, 3: right 1 2 2, wrong 0, capped 1, failed 0, dropped 1.
    assert [s.recall.value for s in metrics.steps] == pytest.approx([0.3, 0.4, 0.4])
    assert [s.all_gold.value for s in metrics.steps] == pytest.approx([0, 0.2, 0.2])
    assert [s.running for s in metrics.steps] == [4, 2, 1]
    # Distinct passages: right 1 2 2, wrong 1, capped 1, failed 0, dropped 1.
    assert [s.passages.value for s in metrics.steps] == pytest.approx([0.8, 1.0, 1.0])
    assert metrics.steps[-1].precision.value == pytest.approx(3 / 5)
    last = metrics.overall.retrieval
    assert last.model_dump() == {
        k: v for k, v in metrics.steps[-1].model_dump().items() if k not in ("step", "running")
    }


def test_outcomes_and_effort(mixed):
    metrics = score_trajectories(*mixed).metrics
    ended = {(o.status, o.stop_reason.value, o.reason, o.n) for o in metrics.outcomes}
    assert ended == {
        ("answered", "answered", None, 2),
        ("capped", "step_cap", None, 1),
        ("failed", "failed", "time-out: 5 tries", 1),
        ("dropped", "dropped", "gold_not_retrieved", 1),
    }
    effort = metrics.effort
    assert effort.steps.value == effort.searches.value == pytest.approx(7 / 5)
    assert (effort.prompt_tokens, effort.completion_tokens) == (70, 14)
    assert effort.dollars == pytest.approx(0.007)
    assert effort.unpriced == 0


def test_unpriced_generations_are_counted():
    step = Step(index=1, kind="init", usage=Usage(prompt_tokens=5, completion_tokens=1))
    trajectory = make_trajectory("a").model_copy(update={"steps": (step,)})
    effort = score_trajectories([make_question("a")], [trajectory]).metrics.effort
    assert (effort.dollars, effort.unpriced, effort.searches.value) == (None, 1, 0)


def test_questions_without_answers_or_gold_are_counted_not_scored():
    questions = [make_question("a"), make_question("b", answers=()), make_question("c", gold=())]
    metrics = score_trajectories(
        questions, [make_trajectory(q, "England") for q in ("a", "b", "c")]
    ).metrics
    assert (metrics.without_answers, metrics.without_gold_passages) == (1, 1)
    assert (metrics.overall.n, metrics.overall.answers.n, metrics.overall.retrieval.n) == (3, 2, 2)


def test_nothing_at_all_to_score():
    metrics = score_trajectories([make_question("a")], []).metrics
    assert metrics.overall.answers is metrics.effort is None
    assert (metrics.missing, metrics.steps, metrics.by_hops) == (1, (), {})


def test_missing_questions_count_nowhere(mixed):
    metrics = score_trajectories(mixed[0], mixed[1][:1]).metrics
    assert (metrics.questions, metrics.trajectories, metrics.missing) == (5, 1, 4)
    assert metrics.overall.answers.em.value == 1.0
    assert metrics.warnings == ("4 of 5 questions have no trajectory and count nowhere",)


def test_each_question_has_its_own_benchmarks_rules():
    golds = ("Britain", "England")
    questions = [make_question(b, golds, b) for b in ("hotpotqa", "musique")]
    metrics = score_trajectories(
        questions, [make_trajectory(q.id, "England") for q in questions]
    ).metrics
    assert metrics.overall.answers.em.value == 0.5  # HotpotQA knows the first gold alone
    assert metrics.benchmarks == {"hotpotqa": 1, "musique": 1}


@pytest.mark.parametrize(
    ("ids", "trajectory_ids", "message"),
    [
        (["a", "a"], [], "question id 'a' occurs twice"),
        (["a"], ["b"], "a trajectory is of question 'b', which is not in the questions"),
        (["a"], ["a", "a"], "question 'a' has two trajectories"),
    ],
)
def test_inconsistent_records_are_refused(ids, trajectory_ids, message):
    with pytest.raises(InputError, match=message):
        score_trajectories(
            [make_question(q) for q in ids], [make_trajectory(q) for q in trajectory_ids]
        )


def test_run_folder_gives_the_same_as_records(make_run, mixed):
    run = make_run(*mixed)
    metrics = evaluate_run(run)
    same = ("overall", "kept", "by_hops", "by_type", "steps", "effort", "outcomes", "warnings")
    for name in same:
        assert getattr(metrics, name) == getattr(score_trajectories(*mixed).metrics, name)
    assert set(metrics.inputs) == {"questions.jsonl", "trajectories.jsonl"}
    assert metrics.run == str(run)


def test_unfinished_run_is_refused_unless_partial(make_run, mixed):
    run = make_run(mixed[0], mixed[1][:2], status="running")
    with pytest.raises(InputError, match=r"is not finished .*'running'.* --partial"):
        evaluate_run(run)
    metrics = evaluate_run(run, partial=True)
    assert metrics.trajectories == 2
    assert "only what is there is scored" in metrics.warnings[0]
    lacking = make_run(mixed[0], mixed[1][:2])
    with pytest.raises(InputError, match="lacks the trajectories of 3 of its questions"):
        evaluate_run(lacking)
    assert evaluate_run(lacking, partial=True).missing == 3


def test_run_under_way_is_read_up_to_its_last_whole_line(make_run, mixed):
    questions, trajectories = mixed
    again = make_trajectory("failed", "England")
    run = make_run(questions, [trajectories[3], trajectories[0], again], status="running")
    whole = (run / "trajectories.jsonl").read_bytes()
    (run / "trajectories.part").write_bytes(whole + b'{"question_id": "wro')
    (run / "trajectories.jsonl").unlink()
    with pytest.raises(InputError, match="is not finished"):
        evaluate_run(run)
    metrics = evaluate_run(run, partial=True)
    assert metrics.statuses == {"answered": 2}  # the failed one was tried again
    assert (metrics.overall.answers.em.value, metrics.missing) == (1.0, 3)
    (run / "trajectories.part").write_bytes(b'{"question_id": 3}\n' + whole)
    with pytest.raises(InputError, match=r"trajectories.part, line 1: \w"):
        evaluate_run(run, partial=True)


def test_what_is_not_a_run_is_said(tmp_path, make_run, mixed):
    with pytest.raises(InputError, match="no such folder"):
        evaluate_run(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"holds no manifest\.json"):
        evaluate_run(tmp_path)
    run = make_run(*mixed)
    (run / "trajectories.jsonl").unlink()
    with pytest.raises(InputError, match="lacks the trajectories of 5"):
        evaluate_run(run)
    with pytest.raises(InputError, match="no trajectory is finished yet"):
        evaluate_run(run, partial=True)
    (run / "trajectories.jsonl").write_text('{"question_id": 3}\n')
    with pytest.raises(InputError, match=r"trajectories.jsonl, line 1: question_id"):
        evaluate_run(run)
    (run / "manifest.json").write_text("[]")
    with pytest.raises(InputError, match="a JSON object was expected, not list"):
        evaluate_run(run)


def test_written_files_read_back(make_run, mixed, monkeypatch):
    monkeypatch.setattr("steper.evaluation.scoring.provenance", lambda: {"git_commit": "abc"})
    run = make_run(*mixed)
    evaluation = score_run(run, bootstrap=Bootstrap(resamples=50))
    names = [path.name for path in write_evaluation(evaluation, run)]
    assert names == ["metrics.json", "scores.jsonl", "predictions.json"]
    text = (run / "metrics.json").read_text("utf-8")
    assert Metrics.model_validate_json(text) == evaluation.metrics
    assert tuple(read_records(run / "scores.jsonl", QuestionScore)) == evaluation.scores
    answers = json.loads((run / "predictions.json").read_text("utf-8"))["answer"]
    assert answers == {
        "right": "England",
        "wrong": "Norway",
        "capped": "",
        "failed": "",
        "dropped": "",
    }
    write_evaluation(score_run(run, bootstrap=Bootstrap(resamples=50)), run)
    assert (run / "metrics.json").read_text("utf-8") == text


def test_several_benchmarks_have_a_prediction_file_each(tmp_path):
    questions = [make_question(b, benchmark=b) for b in ("hotpotqa", "musique", "generic")]
    evaluation = score_trajectories(questions, [make_trajectory(q.id, "x") for q in questions])
    names = {path.name for path in write_evaluation(evaluation, tmp_path)}
    assert names >= {
        "predictions.hotpotqa.json",
        "predictions.musique.jsonl",
        "predictions.generic.jsonl",
    }


def test_folder_that_cannot_be_written(mixed, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_evaluation(score_trajectories(*mixed), tmp_path / "file")


def test_what_answers_stand_on():
    """One answers with all gold found, one before; of its two steps one names what is not shown."""
    questions = [make_question("whole"), make_question("early"), make_question("no gold", gold=())]
    whole, early, blind = (
        make_trajectory(q.id, "England", searches)
        for q, searches in zip(
            questions, [((ADA,), (LONDON,)), ((ADA,), ()), ((ADA,),)], strict=True
        )
    )
    said = ["Ada Lovelace lived in London.", "London is in Wales. The answer is: England"]
    steps = zip(early.steps, said, strict=True)
    early = early.model_copy(
        update={"steps": tuple(s.model_copy(update={"rationale": text}) for s, text in steps)}
    )
    evaluation = score_trajectories(questions, [whole, early, blind])
    scores = {s.question_id: (s.too_early, s.invented) for s in evaluation.scores}
    assert scores == {"whole": (0.0, 0.0), "early": (1.0, 0.5), "no gold": (None, 0.0)}
    assert evaluation.metrics.support.too_early.value == 0.5
    assert evaluation.metrics.support.invented.value == pytest.approx(0.5 / 3)
    told = support_lines(evaluation.metrics)
    assert told[0].startswith("50.0 [0.0, 100] % of questions answered before all gold")
    assert "% of a question's steps state a name or number" in told[1]
