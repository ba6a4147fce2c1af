"""Tasks in processes of their own: at once, in order, failing, interrupted; and how many fit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from pipeline import work
from pipeline.made import CONFIG, write_files
from steper.cli.main import run as command
from steper.cli.terminal import OnlyOnce
from steper.errors import InputError, SteperError
from steper.lm.model_settings import HFSettings
from steper.pipeline import places as places_module
from steper.pipeline.load import load_settings
from steper.pipeline.places import Places, find_places, load_of, load_of_local
from steper.pipeline.plan import FILE, Stamps, Task, make_plan
from steper.pipeline.side_by_side import SideBySide, TaskTraceback
from steper.pipeline.watching import Clerk
from steper.pipeline.workspace import Workspace
from steper.runs import Run

TESTS = Path(__file__).parents[1]
TWO = Places(2, 2)


def task(name, doing, needs=(), load="small"):
    return Task("eval", name, Path("there"), {}, doing, tuple(f"eval/{n}" for n in needs), load)


def side_by_side(out, tasks, watcher, workspace=None, room=TWO):
    out.mkdir(exist_ok=True)
    stamps = Stamps(out)
    plan = make_plan(tasks, stamps)
    with stamps.locked():
        clerk = Clerk(plan, stamps, watcher)
        SideBySide(workspace or work.Bare(out), clerk, room).run(plan)


class Told:
    def __init__(self):
        self.begun, self.details, self.over = [], [], []

    def began(self, planned):
        self.begun.append(planned.task.name)

    def advanced(self, task, done, total, detail):
        self.details.append((task.name, done, total, detail))

    def ended(self, planned, summary, seconds):
        self.over.append((planned.task.name, summary))


class Interrupting(Told):
    """Interrupts the pipeline when two tasks are at work."""

    def advanced(self, task, done, total, detail):
        super().advanced(task, done, total, detail)
        if len(self.details) == 2:
            raise KeyboardInterrupt


def statuses(out):
    tasks = json.loads((out / FILE).read_text())["tasks"]
    return {name.removeprefix("eval/"): stamp["status"] for name, stamp in tasks.items()}


@pytest.mark.slow
def test_tasks_run_at_once_and_are_told_of_in_order(tmp_path, capfd):
    a, b = tmp_path / "a", tmp_path / "b"
    tasks = [
        task("a", partial(work.meet, first=a, second=b)),
        task("b", partial(work.meet, first=b, second=a)),
        task("here", partial(work.answer, name="here"), load="none"),
        task("last", partial(work.answer, name="last"), ["a", "here"]),
    ]
    told, out = Told(), tmp_path / "out"
    side_by_side(out, tasks, told, Workspace(load_settings(write_files(tmp_path)), out))
    assert told.begun[0] == "here"
    assert told.over == [
        ("a", "met b"),
        ("b", "met a"),
        ("here", "here in out, overwrite False"),
        ("last", "last in out, overwrite False"),
    ]
    assert ("last", 1, 2, {"threads": os.environ.get("OMP_NUM_THREADS")}) in told.details
    assert set(statuses(tmp_path / "out").values()) == {"complete"}
    assert "a warning\n" in capfd.readouterr().err


def test_what_tasks_log_is_logged_here_and_shown_once(tmp_path, caplog):
    caplog.handler.addFilter(once := OnlyOnce())
    try:
        side_by_side(tmp_path / "out", [task("a", work.log), task("b", work.log)], Told())
    finally:
        caplog.handler.removeFilter(once)
    told = [(record.name, record.getMessage()) for record in caplog.records]
    assert told == [("steper.data", "dev.json: 3 facts are missing")]


def test_a_failure_lets_the_others_finish_and_is_told_at_the_end(tmp_path):
    tasks = [
        task("bad", partial(work.fail, error=InputError("no such thing"))),
        task("after bad", partial(work.answer, name=""), ["bad"]),
        task("after that", partial(work.answer, name=""), ["after bad"], load="none"),
        task("dead", work.die),
        task("good", partial(work.answer, name="good")),
    ]
    told = Told()
    with pytest.raises(SteperError) as caught:
        side_by_side(tmp_path / "out", tasks, told)
    first, second = str(caught.value).split("; also ")
    assert first == "stage eval (bad): no such thing"
    assert second.startswith("stage eval (dead): its process ended by SIGKILL; where memory ran")
    assert told.over == [("good", "good in out, overwrite False")]
    assert statuses(tmp_path / "out") == {"bad": "running", "dead": "running", "good": "complete"}


def test_a_bug_keeps_its_traceback(tmp_path):
    tasks = [task("bad", partial(work.fail, error=ZeroDivisionError("of a bug")))]
    with pytest.raises(ZeroDivisionError, match="of a bug") as caught:
        side_by_side(tmp_path / "out", tasks, Told())
    assert isinstance(caught.value.__cause__, TaskTraceback)
    assert "in fail\n" in str(caught.value.__cause__)


@pytest.mark.slow
def test_an_interrupted_pipeline_interrupts_its_tasks(tmp_path):
    stopped = {name: tmp_path / name for name in ("a", "b")}
    tasks = [task(name, partial(work.wait, stopped=path)) for name, path in stopped.items()]

    with pytest.raises(KeyboardInterrupt):
        side_by_side(tmp_path / "out", tasks, Interrupting())
    assert all(path.exists() for path in stopped.values())
    assert statuses(tmp_path / "out") == {"a": "running", "b": "running"}
    plan = make_plan(tasks, Stamps(tmp_path / "out"))
    assert [planned.state for planned in plan] == ["resume", "resume"]


def test_tasks_of_a_killed_pipeline_are_interrupted(tmp_path):
    script = [sys.executable, str(TESTS / "pipeline/waiting_run.py"), str(tmp_path / "out")]
    path = os.pathsep.join([str(TESTS), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path}
    with subprocess.Popen(script, stdout=subprocess.PIPE, env=environment) as process:
        for _ in range(2):
            assert process.stdout.readline() == b"at work\n"
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    stopped = [tmp_path / "out" / f"{name}.stopped" for name in ("a", "b")]
    while not all(path.exists() for path in stopped):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_what_needs_more_room_waits_and_is_not_overtaken(tmp_path):
    tasks = [
        task("small", partial(work.answer, name="")),
        task("large", partial(work.answer, name=""), load="large"),
        task("last", partial(work.answer, name="")),
    ]
    told = Told()
    side_by_side(tmp_path / "out", tasks, told)
    assert told.begun == ["small", "large", "last"]


def test_places():
    on_cores = Places(4, 4)
    assert [on_cores.needed(load) for load in ("small", "large", "alone")] == [1, 4, 4]
    assert on_cores.environment("small", 0) == {}
    on_gpus = Places(2, 8, ("3", "5"))
    assert [on_gpus.needed(load) for load in ("small", "large", "alone")] == [1, 1, 2]
    assert on_gpus.environment("large", 1) == {"CUDA_VISIBLE_DEVICES": "5"}
    assert on_gpus.environment("alone", 0) == {}
    assert Places(1, 8, ("0",)).environment("small", 0) == {}


def test_a_number_of_jobs_shares_the_cores(monkeypatch):
    monkeypatch.setattr(places_module, "_cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(places_module, "_gpus", lambda: ())
    assert find_places("auto") == Places(8, 8)
    three = find_places(3)
    assert three.needed("large") == 1
    assert three.environment("large", 0) == {"OMP_NUM_THREADS": "2"}
    monkeypatch.setattr(places_module, "_gpus", lambda: ("0",))
    assert find_places("auto").count == 1


def test_what_a_model_asks_of_the_machine(tmp_path):
    hf = HFSettings()
    assert load_of("gold", hf) == "small"
    assert load_of("openai:gpt", hf) == load_of("my.module:model", hf) == "alone"
    assert load_of("shipped:teacher", hf) == "small"
    assert load_of("shipped:teacher", HFSettings(threads=2)) == "large"
    assert load_of_local("org/unknown", hf) == "large"
    assert load_of_local("org/unknown", HFSettings(device="cuda:1")) == "alone"
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.truncate(200_000_000)
    assert load_of(str(tmp_path), hf) == "large"


@pytest.mark.parametrize("jobs", ["0", "few", "1.5"])
def test_a_bad_number_of_jobs_is_one_line(tmp_path, capsys, jobs):
    config = write_files(tmp_path)
    assert command(["run", str(config), "--dry-run", "--jobs", jobs]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "run: error: --jobs: a number of tasks from 1 on was expected, or auto" in error


def asked(out):
    """The steps of every trajectory of every student, by run and question."""
    return {
        (folder.relative_to(out), trajectory.question_id): trajectory.steps
        for folder in (path.parent for path in out.glob("eval/**/trajectories.jsonl"))
        for trajectory in Run(folder).trajectories()
    }


@pytest.mark.slow
def test_side_by_side_makes_what_one_after_the_other_makes(tmp_path, tiny, monkeypatch):
    # One request at a time: how many share a batch depends on time, and the last bit of a score on
    # that, by which a random model's near ties may tip.
    text = CONFIG.replace("evaluate:", "evaluate:\n  teacher: false\n  base: none\n  in_flight: 1")
    config = write_files(tmp_path, text)
    line = ["run", str(config), "--set", f"students.tiny.model={tiny}"]
    assert command([*line, "--out", str(tmp_path / "one")]) == 0
    monkeypatch.setattr(places_module, "_cores", lambda: 2)
    assert command([*line, "--out", str(tmp_path / "two"), "--jobs", "auto"]) == 0

    def made(name, pattern):
        folder = tmp_path / name
        return {p.relative_to(folder): p.read_bytes() for p in folder.rglob(pattern)}

    assert len(made("one", "model.safetensors")) > 1
    assert made("one", "model.safetensors") == made("two", "model.safetensors")
    for pattern in (
        "teach/**/trajectories.jsonl",
        "eval/**/predictions.json",
        "eval/**/scores.jsonl",
    ):
        assert len(made("one", pattern)) > 0
        assert made("one", pattern) == made("two", pattern)
    one, two = (asked(tmp_path / name) for name in ("one", "two"))
    assert any(step.raw for steps in one.values() for step in steps)
    assert one == two
    stamps = [json.loads((tmp_path / n / FILE).read_text())["tasks"] for n in ("one", "two")]
    assert stamps[0].keys() == stamps[1].keys()
    for name, stamp in stamps[0].items():
        assert {**stamp, "seconds": 0} == {**stamps[1][name], "seconds": 0}
