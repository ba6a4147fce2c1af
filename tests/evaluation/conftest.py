"""Fixtures: a mixed set of trajectories, and run folders on disk."""

import json

import pytest
from made import ADA, NOISE, make_question, make_trajectory

from steper.store import write_jsonl


@pytest.fixture
def make_run(tmp_path):
    """A function that writes a run folder as `steper teach` does, and returns it."""

    def write(questions, trajectories, status="complete", **manifest):
        folder = tmp_path / "run"
        folder.mkdir(exist_ok=True)
        (folder / "manifest.json").write_text(json.dumps({"status": status, **manifest}))
        write_jsonl(folder / "questions.jsonl", questions)
        write_jsonl(folder / "trajectories.jsonl", trajectories)
        return folder

    return write


@pytest.fixture
def mixed():
    """Five questions: right, wrong, capped, failed, dropped; 2, 2, 2, 3 and 3 hops."""
    questions = [
        make_question("right", type="bridge"),
        make_question("wrong", type="comparison", answers=("no",)),
        make_question("capped", type="bridge"),
        make_question("failed", hops=3),
        make_question("dropped", hops=3, type="bridge"),
    ]
    trajectories = [
        make_trajectory("right", "England"),
        make_trajectory("wrong", "Norway", searches=[(NOISE,)]),
        make_trajectory("capped", "England", searches=[(ADA,)] * 3, status="capped"),
        make_trajectory("failed", searches=[], status="failed", error="time-out: 5 tries"),
        make_trajectory(
            "dropped", searches=[(ADA,)], status="dropped", error="gold_not_retrieved: London"
        ),
    ]
    return questions, trajectories
