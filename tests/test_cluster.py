"""A run made by workers: equal to the whole one, whoever dies; refused where it would pay twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import orjson
import pytest

from doubles import FILM, film_questions
from steper.artifact import Lock
from steper.cli.main import run as command
from steper.cluster import worker as workers
from steper.cluster.job import TeachingJob, run_here, shards_folder
from steper.cluster.ray_workers import _HandOut, _is_whole, _plan, _Progress
from steper.cluster.worker import Worker, shard_name
from steper.engine import Stats
from steper.errors import InputError, ModelError, SettingsError
from steper.journal import IN_USE
from steper.merging import merge
from steper.prompt.render import PromptSettings
from steper.shards import Shard
from steper.strategy import STRATEGIES

COUNT = 24

MODEL = '''
"""A slow teacher that writes down whatever it is asked: process, question, step."""

import os
import time
from pathlib import Path

TEXTS = ("Gold Rain was directed by Ann Lee.", "Ann Lee, {}.", "So the answer is: 1950.")


def say(request):
    asked = f"{os.getpid()} {request.question_id} {request.step}\\n"
    with Path(__file__).with_name("asked.txt").open("a") as log:
        log.write(asked)
    time.sleep(float(os.environ.get("SLOW", "0")))
    return TEXTS[request.step - 1].format(request.question_id)
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with questions, a corpus and a model of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "slow_film", raising=False)
    (tmp_path / "slow_film.py").write_text(MODEL)
    rows = [{"id": q.id, "question": q.text, "answers": ["1950"]} for q in film_questions(COUNT)]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    passages = [{"title": title, "text": text} for title, text in FILM.items()]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in passages))
    return tmp_path


def job():
    kind = STRATEGIES.find("ircot")
    prompt = PromptSettings(demos=0)
    settings = kind.settings_type()
    return TeachingJob(film_questions(COUNT), "slow_film:say", "c.jsonl", kind, settings, prompt)


def asked(folder):
    """(process, question, step) of each request so far."""
    log = folder / "asked.txt"
    rows = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    return [(int(pid), question, int(step)) for pid, question, step in rows]


def lines(run):
    return (Path(run) / "trajectories.jsonl").read_bytes()


def test_one_worker_after_another_makes_the_whole_run(folder):
    whole = run_here(job(), folder / "whole")
    for number in (2, 1, 3):
        worker = Worker(job(), folder / "r", folder)
        stats = worker.teach(f"{number}/3")
        assert stats.done == stats.total > 0
        assert stats.generations == 3 * stats.done
        assert worker.stats() is None
    shards = [shards_folder(folder / "r") / shard_name(Shard(n, 3)) for n in (1, 2, 3)]
    assert lines(merge(shards, folder / "r").path) == lines(whole.path)
    again = Worker(job(), folder / "r", folder)
    assert again.teach("1/3").generations == 0
    assert again.teach(None).done == COUNT


def test_a_worker_waits_for_a_shard_that_a_dead_one_holds(folder, monkeypatch):
    shard = shards_folder(folder / "r") / "1-of-2"
    held = Lock(shard / ".lock", "held")
    held.take()
    threading.Timer(0.5, held.release).start()
    worker = Worker(job(), folder / "r", folder)
    assert worker.teach("1/2").done > 0
    held.take()
    monkeypatch.setattr(workers, "LOCK_SECONDS", 0.0)
    with pytest.raises(InputError, match=IN_USE):
        worker.teach("1/2")
    held.release()


def test_a_machine_without_the_folder_is_named(folder):
    worker = Worker(job(), folder / "r", folder / "nowhere")
    with pytest.raises(InputError, match="need a file system that all machines share"):
        worker.teach("1/2")


def test_what_workers_have_begun_is_not_paid_for_again_without_them(folder, capsys):
    Worker(job(), folder / "r", folder).teach("1/2")
    with pytest.raises(InputError, match="was begun with --workers"):
        run_here(job(), folder / "r")
    assert len(asked(folder)) < 3 * COUNT
    assert run_here(job(), folder / "r", overwrite=True).manifest["counts"]["answered"] == COUNT
    assert not shards_folder(folder / "r").exists()


def test_a_run_that_workers_did_not_begin_is_not_theirs(folder):
    assert not _is_whole(folder / "r")
    run = run_here(job(), folder / "r")
    assert _is_whole(folder / "r")
    manifest = orjson.loads((run.path / "manifest.json").read_bytes())
    (run.path / "manifest.json").write_bytes(orjson.dumps({**manifest, "status": "running"}))
    with pytest.raises(InputError, match="was begun without --workers"):
        _is_whole(folder / "r")
    merged = {**manifest, "status": "running", "merged": [{}]}
    (run.path / "manifest.json").write_bytes(orjson.dumps(merged))
    assert not _is_whole(folder / "r")


def test_the_plan_stays_with_another_number_of_workers(folder):
    planned = _plan(folder / "r.shards", 2, job())
    assert planned == [Shard(n, 8) for n in range(1, 9)]
    assert _plan(folder / "r.shards", 5, job()) == planned
    assert len(_plan(folder / "s.shards", 50, job())) == COUNT
    (folder / "r.shards" / "plan.json").write_text('{"of": "8"}')
    with pytest.raises(InputError, match="of is '8', not a number of shards"):
        _plan(folder / "r.shards", 2, job())


class Answer:
    """What Ray would answer: a value, or what is raised."""

    def __init__(self, value):
        self.value = value


class FakeRay:
    """Ray's calls that hand-outs make: every answer is there at once."""

    class exceptions:
        class RayError(Exception):
            pass

        class RayActorError(RayError):
            pass

        class WorkerCrashedError(RayError):
            pass

        class RayTaskError(RayError):
            def __init__(self, cause):
                super().__init__(str(cause))
                self.cause = cause

    def wait(self, answers, num_returns=1, timeout=None):
        return list(answers), []

    def get(self, answer):
        if isinstance(answer.value, Exception):
            raise answer.value
        return answer.value


class Method:
    def __init__(self, function):
        self.remote = lambda *arguments: Answer(function(*arguments))


class FakeActor:
    """`makes(shard)` gives or returns the error; it is down for `down` looks after a death."""

    def __init__(self, makes, up=lambda: True):
        self.teach = Method(lambda shard, retry: makes(shard))
        error = FakeRay.exceptions.RayActorError("gone")
        self.stats = Method(lambda: None if up() else error)


def hand_out(shards, *actors, show=None):
    progress = _Progress(job(), show)
    _HandOut(FakeRay(), actors, progress).run(shards, False)


def test_a_shard_whose_worker_died_goes_to_the_next_that_is_free():
    made, died = [], []

    def dies(shard):
        died.append(shard)
        return FakeRay.exceptions.RayActorError("killed")

    def makes(shard):
        made.append(shard)
        return Stats(done=1)

    hand_out(["1/3", "2/3", "3/3"], FakeActor(dies, up=lambda: not died), FakeActor(makes))
    assert sorted(made) == ["1/3", "2/3", "3/3"]
    assert len(died) == 1


def test_a_shard_at_which_every_worker_dies_ends_the_run():
    actor = FakeActor(lambda shard: FakeRay.exceptions.RayActorError("out of\nmemory"))
    with pytest.raises(ModelError, match=r"5 workers died at shard 1/1, .*\(out of memory\)"):
        hand_out(["1/1"], actor)


def test_what_the_user_can_mend_is_told_as_it_is_and_a_bug_is_not():
    refused = FakeActor(lambda shard: FakeRay.exceptions.RayTaskError(SettingsError("no key")))
    with pytest.raises(SettingsError, match=r"^no key$"):
        hand_out(["1/1"], refused)
    broken = FakeActor(lambda shard: FakeRay.exceptions.RayTaskError(KeyError("x")))
    with pytest.raises(FakeRay.exceptions.RayTaskError):
        hand_out(["1/1"], broken)


def test_one_line_shows_all_workers_together():
    shown = []
    actor = FakeActor(lambda shard: Stats(done=8, generations=24, by_status=Counter(answered=8)))
    hand_out(["1/3", "2/3", "3/3"], actor, show=shown.append)
    assert (shown[-1].done, shown[-1].total) == (24, COUNT)
    assert shown[-1].generations == 72
    assert shown[-1].by_status == {"answered": 24}


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--ray-address", "auto"], "--ray-address goes with --workers"),
        (["--workers", "2", "--shard", "1/2"], "--shard and --workers exclude each other"),
        (["--workers", "0"], "--workers is 0; at least 1 was expected"),
    ],
)
def test_options_that_do_not_go_together_are_refused(folder, capsys, more, says):
    given = ["teach", "--questions", "q.jsonl", "--corpus", "c.jsonl", "--model", "slow_film:say"]
    assert command([*given, "--out", "r", *more]) == 2
    assert says in capsys.readouterr().err
    assert not (folder / "r").exists()


def test_without_ray_the_extra_is_named(folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    given = ["teach", "--questions", "q.jsonl", "--corpus", "c.jsonl", "--model", "slow_film:say"]
    assert command([*given, "--out", "r", "--workers", "2"]) == 2
    assert "pip install 'steper[ray]'" in capsys.readouterr().err


def by_workers(folder, *more):
    """Start a run by workers in a process of its own."""
    parts = [str(folder), *sys.path]
    environment = {**os.environ, "SLOW": "0.15", "PYTHONPATH": os.pathsep.join(filter(None, parts))}
    line = [sys.executable, "-m", "steper", "teach", "--questions", "q.jsonl", "--demos", "0"]
    line += ["--corpus", "c.jsonl", "--model", "slow_film:say", "--out", "r", *more]
    with (folder / "out.txt").open("ab") as out:
        return subprocess.Popen(line, cwd=folder, env=environment, stdout=out, stderr=out)


def wait_for(condition, process, seconds=90):
    until = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "it ended too early"
        assert time.monotonic() < until, "it takes too long"
        time.sleep(0.02)


def recorded(folder):
    """(question, step) of each generation that is on the disk."""
    found = set()
    for path in (folder / "r.shards").glob("*/actions.jsonl"):
        rows = [orjson.loads(line) for line in path.read_bytes().splitlines(keepends=True)[:-1]]
        found |= {(r["question_id"], r["n"] // 2 + 1) for r in rows if "completion" in r}
    return found


@pytest.mark.slow
def test_ray_goes_on_where_a_worker_was_killed_and_then_the_whole_command(folder):
    pytest.importorskip("ray", reason="the extra ray is not installed")
    whole = run_here(job(), folder / "whole")
    (folder / "asked.txt").unlink()
    process = by_workers(folder, "--workers", "2")
    try:
        wait_for(lambda: len(asked(folder)) > 12, process)
        known, before = recorded(folder), len(asked(folder))
        victim = asked(folder)[-1][0]
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: len(asked(folder)) > before + 16, process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 130
    finally:
        process.kill()
    known |= recorded(folder)
    between = len(asked(folder))
    assert not (folder / "r").exists()
    again = by_workers(folder, "--workers", "1")
    assert again.wait(120) == 0, (folder / "out.txt").read_text()[-3000:]
    assert lines(folder / "r") == lines(whole.path)
    assert not shards_folder(folder / "r").exists()
    after = {(question, step) for _, question, step in asked(folder)[between:]}
    assert not known & after
    # What was under way at the two ends (eight a worker) was asked twice, and nothing else.
    assert len(asked(folder)) <= 3 * COUNT + 8 + 16
    assert len({pid for pid, *_ in asked(folder)}) >= 3
    calls = len(asked(folder))
    assert by_workers(folder, "--workers", "2").wait(120) == 0  # a complete run
    assert len(asked(folder)) == calls


@pytest.mark.slow
def test_workers_that_there_is_no_room_for_do_not_hold_up_the_others(folder):
    pytest.importorskip("ray", reason="the extra ray is not installed")
    code = (
        "import ray, test_cluster as t, pathlib\n"
        "from steper.cluster.ray_workers import teach_by_workers\n"
        "ray.init('local', include_dashboard=False, log_to_driver=False, num_cpus=1)\n"
        "shown = []\n"
        "run = teach_by_workers(t.job(), pathlib.Path('r'), 2, progress=shown.append)\n"
        "assert shown[-1].done == shown[-1].total == t.COUNT, shown[-1]\n"
        "assert ray.is_initialized()\n"
        "print(run.manifest['counts']['answered'])\n"
    )
    parts = [str(folder), str(Path(__file__).parent), *sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, parts))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.splitlines()[-1:] == [str(COUNT)], done.stderr[-3000:]
