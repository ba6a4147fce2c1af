"""Memory of commands as questions become more: a small part of what a question takes on disk."""

import gc
import json
import tracemalloc

import pytest

from doubles import FILM, DictRetriever
from steper import api
from steper.data import read_question_file
from steper.evaluation.statistics import Bootstrap

FEW, MANY = 120, 360
QUESTION = 10_000
"""Bytes of a question: one that is held in memory takes at least as many."""
ALLOWED = 2_500
"""Bytes of memory that a question may add: its id, its place, its scores."""
DRAWS = Bootstrap(resamples=10)  # what is drawn at once is bounded, too, but not for so few


def says(request):
    return "Ann Lee was born in 1950. So the answer is: 1950."


def says_otherwise(request):
    return f"Surely {says(request)}"


def prefers(request):
    return "Both say the same. Verdict: tie"


def write_questions(path, count):
    text = "Gold Rain is a film by Ann Lee. " * (QUESTION // 32)
    with path.open("w") as file:
        for number in range(count):
            own = {"title": f"Film {number}", "text": f"{number} {text}"}
            row = {"id": f"q{number}", "question": f"When was Ann Lee, number {number}, born?"}
            row |= {"answers": ["1950"], "type": "bridge", "hops": 2, "context": [own], "gold": [0]}
            file.write(json.dumps(row) + "\n")


def teach(folder, name="run", overwrite=False, model=says):
    options = {"strategy": "one_shot", "model": model, "corpus": DictRetriever(FILM)}
    options |= {"in_flight": 4, "overwrite": overwrite}
    run = api.teach(folder / "questions.jsonl", out=folder / name, **options)
    assert run.manifest["counts"]["answered"] in (FEW, MANY)


COMMANDS = {
    "teach": lambda folder: teach(folder, overwrite=True),
    "again": teach,
    "questions": lambda folder: read_question_file(folder / "questions.jsonl"),
    "eval": lambda folder: api.evaluate(folder / "run", bootstrap=DRAWS),
    "compare": lambda folder: api.compare(
        {"a": folder / "run", "b": folder / "other"}, bootstrap=DRAWS
    ),
    "report": lambda folder: api.report(
        {"run": folder / "run"}, folder / "page.html", bootstrap=DRAWS, examples=1
    ),
    "relabel": lambda folder: api.relabel(
        folder / "run", says, folder / "labels", in_flight=4, overwrite=True
    ),
    "judge": lambda folder: api.judge(
        {"a": folder / "run", "b": folder / "other"},
        prefers,
        folder / "verdicts",
        {"abilities": ["aggregation"]},  # two verdicts of each question
        bootstrap=DRAWS,
        in_flight=4,
        overwrite=True,
    ),
    "build": lambda folder: api.build(folder / "run", out=folder / "examples"),
    "judged build": lambda folder: api.build(
        folder / "run",
        out=folder / "judged",
        judge=lambda request: "yes",
        filters={"judged": "steps"},
        in_flight=4,
        overwrite=True,
    ),
}


def peak_of(command, folder):
    gc.collect()
    tracemalloc.start()
    try:
        command(folder)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders with few and with many questions, and a run over them."""
    found = []
    for count in (FEW, MANY):
        folder = tmp_path_factory.mktemp(f"of-{count}")
        write_questions(folder / "questions.jsonl", count)
        teach(folder)
        teach(folder, "other", model=says_otherwise)
        found.append(folder)
    return found


SLOW = ("build", "judged build", "again", "compare", "report", "relabel", "judge")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in COMMANDS]
)
def test_memory_of_a_question(name, folders):
    COMMANDS[name](folders[0])  # what is imported and made once is no question's
    few, many = (peak_of(COMMANDS[name], folder) for folder in folders)
    assert (many - few) / (MANY - FEW) < ALLOWED
