from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import wait
from pathlib import Path

import orjson
import pytest

from lm.asking import ask
from steper.errors import InputError, ModelError
from steper.lm.base import Completion
from steper.lm.scripted import ScriptedModel, seeded_delay


def write(path: Path, *rows: object) -> Path:
    path.write_bytes(b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows))
    return path


def test_texts_are_cut_at_stop_strings_and_counted():
    model = ScriptedModel(lambda request: "one two\nthree")
    (future,) = model.submit([ask("a b c", stop=("\n", "two"))])
    done = future.result()
    assert done.text == "one "
    assert (done.usage.prompt_tokens, done.usage.completion_tokens) == (3, 1)


def test_completions_pass_through_and_exceptions_reach_their_own_future():
    cut = Completion(text="cut", finish="length")

    def script(request):
        if request.step == 3:
            raise ValueError("a bug in the script")
        return {1: cut, 2: ModelError("no")}[request.step]

    first, second, third = ScriptedModel(script).submit([ask(step=n) for n in (1, 2, 3)])
    assert first.result() == cut
    with pytest.raises(ModelError, match="no"):
        second.result()
    with pytest.raises(ValueError, match="a bug in the script"):
        third.result()


def test_script_file_most_specific_row_wins(tmp_path):
    rows = (
        {"question_id": "q1", "step": 1, "text": "own"},
        {"question_id": "q1", "step": 1, "role": "read", "text": "reader"},
        {"default": True, "step": 2, "text": "second"},
        {"default": True, "role": "read", "text": "any reader"},
        {"default": True, "text": "any"},
    )
    model = ScriptedModel.from_file(write(tmp_path / "s.jsonl", *rows))
    asked = [
        ask(),
        ask(role="read"),
        ask(question_id="q2", step=2),
        ask(step=3, role="read"),
        ask(step=3),
    ]
    texts = [f.result().text for f in model.submit(asked)]
    assert texts == ["own", "reader", "second", "any reader", "any"]
    same = ScriptedModel.from_file(write(tmp_path / "t.jsonl", *rows))
    other = ScriptedModel.from_file(write(tmp_path / "u.jsonl", *rows[1:]))
    assert model.fingerprint() == same.fingerprint() != other.fingerprint()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "at least one row"),
        ([{"text": "a"}], "line 1: question_id and step are required unless default is true"),
        ([{"default": True, "text": "a"}] * 2, "line 2: repeats line 1"),
        ([{"question_id": "a", "step": 1, "text": "x", "rôle": 1}], "line 1: rôle: unknown field"),
        ([{"default": True, "question_id": "a", "text": "x"}], "has no question_id"),
    ],
)
def test_bad_script_rows_are_named(tmp_path, rows, message):
    with pytest.raises(InputError, match=message):
        ScriptedModel.from_file(write(tmp_path / "s.jsonl", *rows))


def test_unscripted_request_fails_with_the_row_to_add(tmp_path):
    path = write(tmp_path / "s.jsonl", {"question_id": "q1", "step": 1, "text": "own"})
    (future,) = ScriptedModel.from_file(path).submit([ask(step=2)])
    with pytest.raises(ModelError, match=r"no text for question 'q1', step 2, role 'reason'"):
        future.result()


def test_thousands_sleep_at_once_in_one_thread():
    model = ScriptedModel(lambda request: request.question_id, delay=lambda request: 0.2)
    threads = threading.active_count()
    start = time.monotonic()
    futures = model.submit([ask(question_id=str(n)) for n in range(5000)])
    assert threading.active_count() <= threads + 1
    assert [f.result().text for f in futures] == [str(n) for n in range(5000)]
    assert 0.2 <= time.monotonic() - start < 10
    model.close()


def test_max_concurrency_bounds_calls_under_way_and_sleeps_overlap():
    model = ScriptedModel(lambda request: "x", delay=lambda request: 0.02, max_concurrency=10)
    start = time.monotonic()
    wait(model.submit([ask(question_id=str(n)) for n in range(50)]))
    assert 0.1 <= time.monotonic() - start < 0.9
    model.close()


def test_seeded_delay_depends_on_the_request_alone():
    delay = seeded_delay(0.02, 0.2, seed=1)
    assert delay(ask()) == delay(ask("other text"))
    assert len({delay(ask(step=n)) for n in range(20)}) == 20
    assert all(0.02 <= delay(ask(step=n)) <= 0.2 for n in range(100))


def test_close_and_cancel_leave_nothing_waiting():
    model = ScriptedModel(lambda request: "x", delay=lambda request: 60.0, max_concurrency=1)
    futures = model.submit([ask(), ask(), ask()])
    assert futures[1].cancel()
    start = time.monotonic()
    model.close()
    wait(futures, timeout=1)
    assert all(f.cancelled() for f in futures)
    assert time.monotonic() - start < 0.5
    with pytest.raises(ModelError, match="closed"):
        model.submit([ask()])


def test_call_log_survives_kill_9(tmp_path):
    log = tmp_path / "calls.jsonl"
    code = f"""
import os, signal
from pathlib import Path
from lm.asking import ask
from steper.lm.scripted import ScriptedModel
for _ in range(2):
    if os.fork():
        print(os.waitstatus_to_exitcode(os.wait()[1]))
        continue
    model = ScriptedModel(lambda r: "x", delay=lambda r: 9.0, call_log=Path({str(log)!r}))
    model.submit([ask(question_id=str(n)) for n in range(100)])
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == [str(-signal.SIGKILL)] * 2, done.stderr
    rows = [orjson.loads(line) for line in log.read_bytes().splitlines()]
    assert len(rows) == 200
    assert rows[0] == {"question_id": "0", "step": 1, "role": "reason"}
