"""Tasks on Ray: at once, failing, losing their worker, interrupted; a whole pipeline."""

from __future__ import annotations

import sys
from functools import partial

import pytest

from pipeline import work
from pipeline.made import CONFIG, write_files
from pipeline.test_side_by_side import Interrupting, Told, asked, side_by_side, statuses, task
from steper.cli.main import run as command
from steper.errors import InputError, SteperError
from steper.pipeline.on_ray import RayRoom, ray_room
from steper.pipeline.side_by_side import TaskTraceback


@pytest.fixture(scope="module")
def cluster():
    ray = pytest.importorskip("ray", reason="the extra ray is not installed")
    with pytest.MonkeyPatch.context() as patched:
        patched.delenv("OMP_NUM_THREADS", raising=False)  # Ray says it to its workers, else
        ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    with ray_room("local", "auto") as room:
        yield room
    ray.shutdown()


@pytest.mark.slow
def test_tasks_run_at_once_and_tell_what_they_do(cluster, tmp_path, capfd, caplog):
    assert (cluster.count, cluster.kind) == (2, "CPU")
    a, b = tmp_path / "a", tmp_path / "b"
    tasks = [
        task("a", partial(work.meet, first=a, second=b)),
        task("b", partial(work.meet, first=b, second=a)),
        task("large", partial(work.answer, name="large"), ["a"], load="large"),
        task("logs", work.log, ["large"]),
    ]
    told = Told()
    side_by_side(tmp_path / "out", tasks, told, room=cluster)
    assert told.over[:2] == [("a", "met b"), ("b", "met a")]
    assert ("large", 1, 2, {"threads": "2"}) in told.details
    assert "a warning\n" in capfd.readouterr().err
    assert "dev.json: 3 facts are missing" in caplog.messages


@pytest.mark.slow
def test_failures_are_those_of_the_task(cluster, tmp_path):
    tasks = [
        task("bad", partial(work.fail, error=InputError("no such thing"))),
        task("dead", work.die),
        task("good", partial(work.answer, name="good")),
    ]
    with pytest.raises(SteperError) as caught:
        side_by_side(tmp_path / "out", tasks, Told(), room=cluster)
    first, second = str(caught.value).split("; also ")
    assert first == "stage eval (bad): no such thing"
    assert second.startswith("stage eval (dead): its process ended by SIGKILL; where memory ran")
    assert statuses(tmp_path / "out") == {"bad": "running", "dead": "running", "good": "complete"}
    bug = [task("bug", partial(work.fail, error=ZeroDivisionError("of a bug")))]
    with pytest.raises(ZeroDivisionError, match="of a bug") as caught:
        side_by_side(tmp_path / "other", bug, Told(), room=cluster)
    assert isinstance(caught.value.__cause__, TaskTraceback)


@pytest.mark.slow
def test_a_task_whose_worker_dies_begins_again(cluster, tmp_path, caplog):
    told = Told()
    lost = partial(work.lose_host, tried=tmp_path / "tried")
    side_by_side(tmp_path / "out", [task("lost", lost)], told, room=cluster)
    assert told.over == [("lost", "done elsewhere")]
    assert caplog.messages == ["a worker died; its task begins again where there is room"]


@pytest.mark.slow
def test_an_interrupted_pipeline_interrupts_tasks_and_those_without_room(cluster, tmp_path):
    names = ("a", "b", "c")
    stopped = {name: tmp_path / name for name in names}
    tasks = [task(name, partial(work.wait, stopped=path)) for name, path in stopped.items()]

    crowded = RayRoom(cluster.ray, 3, 1, "CPU")
    with pytest.raises(KeyboardInterrupt):
        side_by_side(tmp_path / "out", tasks, Interrupting(), room=crowded)
    assert sum(path.exists() for path in stopped.values()) == 2
    assert set(statuses(tmp_path / "out").values()) == {"running"}


@pytest.mark.slow
def test_a_pipeline_on_ray_makes_what_one_after_the_other_makes(cluster, tmp_path, tiny):
    text = CONFIG.replace("evaluate:", "evaluate:\n  in_flight: 1")  # alone in a batch: no tie tips
    line = ["run", str(write_files(tmp_path, text)), "--set", f"students.tiny.model={tiny}"]
    for name, how in (("one", ["--jobs", "1"]), ("ray", ["--jobs=auto", "--ray-address=local"])):
        assert command([*line, "--out", str(tmp_path / name), *how]) == 0
    students = [
        [path.read_bytes() for path in sorted((tmp_path / name).glob("train/**/*.safetensors"))]
        for name in ("one", "ray")
    ]
    assert students[0] == students[1] != []
    assert asked(tmp_path / "ray") == asked(tmp_path / "one") != {}


def test_without_ray_the_extra_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    config = write_files(tmp_path)
    out = tmp_path / "out"
    assert command(["run", str(config), "--out", str(out), "--ray-address", "local"]) == 2
    assert "pip install 'steper[ray]'" in capsys.readouterr().err
