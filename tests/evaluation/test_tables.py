"""What `steper eval` and `steper score` print: in 80 columns, and JSON alone with --json."""

import json
from io import StringIO

import pytest
from made import make_question, make_trajectory
from rich.console import Console

from steper.cli.eval import eval as eval_command
from steper.cli.score import score
from steper.errors import InputError
from steper.evaluation.metrics import Metrics
from steper.evaluation.scoring import score_trajectories
from steper.evaluation.statistics import Estimate
from steper.evaluation.tables import counts_line, effort_lines, run_tables, with_interval


def printed(metrics, width=80):
    console = Console(file=StringIO(), width=width)
    for table in run_tables(metrics):
        console.print(table)
    return console.file.getvalue()


def test_percentages_with_intervals():
    assert with_interval(Estimate(value=0.61, low=0.568, high=0.6521)) == "61.0 [56.8, 65.2]"
    assert with_interval(Estimate(value=1, low=0.9999, high=1)) == "100 [100, 100]"


def test_tables_fit_80_columns_uncut(mixed):
    questions, trajectories = mixed
    questions = [q.model_copy(update={"type": "bridge_comparison"}) for q in questions]
    text = printed(score_trajectories(questions, trajectories).metrics)
    assert "…" not in text
    assert "kept" in text
    assert text.count("bridge_comparison") == 1
    for word in ("EM", "Acc (whole tokens)", "By hops", "after each step", "gold_not_retrieved"):
        assert word in text
    wide = printed(score_trajectories(questions, trajectories).metrics, width=200)
    assert [line.rstrip() for line in text.splitlines()] == [
        line.rstrip() for line in wide.splitlines()
    ]


def test_tables_leave_out_what_has_nothing_to_say():
    trajectory = make_trajectory("a", "England", searches=[])
    text = printed(score_trajectories([make_question("a", hops=None)], [trajectory]).metrics)
    assert "retrieved" not in text
    assert "kept" not in text
    assert "By hops" not in text
    assert "ended" not in text


def test_many_reasons_are_cut_with_a_count():
    names = [f"q{i}" for i in range(20)]
    failed = [make_trajectory(q, status="failed", error=f"fault {q}: x") for q in names]
    text = printed(score_trajectories([make_question(q) for q in names], failed).metrics)
    assert "others" in text
    assert "8 more kinds, in metrics.json" in text


def test_lines(mixed):
    metrics = score_trajectories(mixed[0] + [make_question("more")], mixed[1]).metrics
    assert counts_line(metrics) == (
        "6 questions, 5 trajectories: 2 answered, 1 capped, 1 dropped, 1 failed; 1 missing"
    )
    assert effort_lines(metrics.effort) == [
        "1.40 steps and 1.40 searches a question",
        "70 prompt + 14 completion tokens, $0.0070",
    ]


def test_eval_prints_tables_and_writes_files(make_run, mixed, capsys):
    run = make_run(*mixed)
    eval_command(run)
    out, err = capsys.readouterr()
    assert "20.0 [0.0, 60.0]" in out
    assert "Wrote metrics.json, scores.jsonl, predictions.json to" in out
    assert err == ""
    assert (run / "predictions.json").exists()


def test_eval_json_is_only_json(make_run, mixed, capsys):
    run = make_run(mixed[0], mixed[1][:3], status="running")
    with pytest.raises(InputError, match="--partial"):
        eval_command(run, json=True)
    assert not (run / "metrics.json").exists()
    eval_command(run, json=True, partial=True)
    out, err = capsys.readouterr()
    assert Metrics.model_validate_json(out).trajectories == 3
    assert "Warning: " in err
    assert "only what is there is scored" in " ".join(err.split())


def hotpot_item(qid, answer):
    return {
        "_id": qid,
        "question": f"Question {qid}?",
        "answer": answer,
        "type": "bridge",
        "level": "hard",
        "supporting_facts": [["Ada", 0], ["London", 0]],
        "context": [["Ada", ["She lived in London."]], ["London", ["A city."]]],
    }


def test_score_from_files(tmp_path, capsys):
    questions, predictions = tmp_path / "dev.json", tmp_path / "predictions.json"
    questions.write_text(json.dumps([hotpot_item(q, a) for q, a in (("a", "x"), ("b", "yes"))]))
    predictions.write_text('{"answer": {"a": "the X."}, "sp": {}}')
    score(predictions, questions=questions, benchmark="hotpotqa", json=True)
    out, err = capsys.readouterr()
    assert json.loads(out)["overall"]["em"]["value"] == 0.5
    assert "no prediction for 1 question (b): each counts 0" in " ".join(err.split())
    score(predictions, questions=questions, benchmark="hotpotqa")
    out = capsys.readouterr().out
    assert out.startswith("2 questions, 1 predictions\n")
    assert "50.0 [0.0, 100]" in out
    with pytest.raises(InputError, match="unknown benchmark 'hotpot'"):
        score(predictions, questions=questions, benchmark="hotpot")
    with pytest.raises(InputError, match="no such file"):
        score(tmp_path / "none.json", questions=questions, benchmark="hotpotqa")


@pytest.mark.parametrize(
    ("manifest", "who"),
    [
        ({"step_end": "model"}, "where the model ends it"),
        # Runs that were made before manifests said so.
        (
            {"settings": {"strategy": {"name": "ircot", "keep": "first_sentence"}}},
            "cut after one sentence",
        ),
        (
            {"settings": {"strategy": {"name": "ircot", "keep": "all", "max_steps": 4}}},
            "where the model ends it",
        ),
        ({"settings": {"strategy": {"name": "self_ask"}}}, "cut at the next marker"),
        ({"settings": {"strategy": {"name": "mine"}}}, ""),
        ({"settings": {"strategy": {"name": "ircot", "keep": "half"}}}, ""),
        ({}, ""),
    ],
)
def test_eval_says_who_ended_a_step(manifest, who, make_run, mixed, capsys):
    eval_command(make_run(*mixed, **manifest))
    out, _ = capsys.readouterr()
    assert ("Step end: " in out) is bool(who)
    assert not who or f"Step end: {who}\n" in out
