"""A disk that is full: one line, exit code 2, nothing half-written, and then on from there."""

import errno
import os
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from doubles import film_script, largest_file
from lm.tiny import make_tiny_llama
from steper.appending import AppendFile
from steper.cli.main import run
from steper.errors import InputError
from test_kills import contents
from test_runs import run as film_run

LINE = b'{"n": "%030d"}\n'


def test_after_a_line_cut_short_the_next_one_stands_in_its_place(tmp_path):
    path = tmp_path / "actions.jsonl"
    with ThreadPoolExecutor(1) as sync:
        file = AppendFile(path, sync)
        file.append(LINE % 1)
        with largest_file(len(LINE % 1) + 10), pytest.raises(OSError):
            file.append(LINE % 22 + LINE % 33)
        assert path.read_bytes() == LINE % 1
        start = file.append(LINE % 4)
        assert file.read_at(start) == LINE % 4
        file.close()
    assert path.read_bytes() == LINE % 1 + LINE % 4


@pytest.mark.parametrize("seed", range(3))
def test_a_run_on_a_disk_that_is_full_now_and_then_loses_and_repeats_nothing(tmp_path, seed):
    undisturbed = film_run(tmp_path / "undisturbed")
    rng, asked = random.Random(seed), []

    def counting(request):
        asked.append((request.question_id, request.step))
        return film_script(request)

    append = AppendFile.append

    def sometimes_full(file, lines):
        if rng.random() < 0.3:
            with largest_file(file._end + rng.randrange(len(lines))):
                return append(file, lines)
        return append(file, lines)

    ends = 0
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(AppendFile, "append", sometimes_full)
        while not (tmp_path / "disturbed/trajectories.jsonl").exists():
            with suppress(InputError):
                film_run(tmp_path / "disturbed", script=counting, in_flight=2)
                break
            ends += 1
    assert ends
    disturbed = film_run(tmp_path / "disturbed")
    assert list(disturbed.trajectories()) == list(undisturbed.trajectories())
    # Paid twice is only what could not be recorded: the two requests in flight at each end.
    assert len(asked) <= 18 + 2 * ends


def test_lines_that_do_not_get_to_the_disk_are_told(tmp_path, monkeypatch):
    def refused(fd):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("steper.appending.SYNC_SECONDS", -1)
    monkeypatch.setattr(os, "fsync", refused)
    with ThreadPoolExecutor(1) as sync:
        file = AppendFile(tmp_path / "actions.jsonl", sync)
        file.append(LINE % 1)
        sync.shutdown(wait=True)
        with pytest.raises(OSError, match="Input/output error"):
            file.append(LINE % 2)


TEACH = "teach --questions {0}/world/train.json --model gold --corpus {0}/index --out {0}/"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A world, its index, the gold teacher's run and examples."""
    folder = tmp_path_factory.mktemp("made")
    for line in (
        "world --out {0}/world --train 6 --dev 1 --test 2 --benchmark 2wikimultihopqa",
        "index --corpus {0}/world/corpus.jsonl --out {0}/index",
        TEACH + "run",
        "build {0}/run --out {0}/examples",
        TEACH + "s1 --shard 1/2",
        TEACH + "s2 --shard 2/2",
        TEACH + "rerun --k 2",
    ):
        assert run(line.format(folder).split()) == 0
    return folder


COMMANDS = {
    "world": "world --out {out}/world --train 6 --dev 1 --test 2",
    "index": "index --corpus {made}/world/corpus.jsonl --out {out}/index",
    "teach": "teach --questions {made}/world/train.json --model gold --corpus {made}/index "
    "--out {out}/run",
    "build": "build {made}/run --out {out}/examples --export jsonl --export parquet --export hf",
    "eval": "eval {out}/copy",
    "merge": "merge {made}/s1 {made}/s2 --out {out}/merged",
    "relabel": "relabel {made}/run --model gold --out {out}/steps",
    "judge": "judge a={made}/run b={made}/rerun --model test_full_disk:says_yes --in-flight 1 "
    "--out {out}/verdicts",
    "report": "report {made}/run --out {out}/report.html",
}


@pytest.fixture(scope="module")
def undisturbed(made, tmp_path_factory):
    """Command → what it writes where there is room."""
    found = {}

    def of(command):
        if command not in found:
            out = tmp_path_factory.mktemp(command)
            copy_of(made / "run", out / "copy")
            assert run(COMMANDS[command].format(made=made, out=out).split()) == 0
            found[command] = written(out)
        return found[command]

    return of


@pytest.mark.parametrize("size", [0, pytest.param(2_000, marks=pytest.mark.slow), 30_000])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_on_a_full_disk_ends_in_one_line_and_goes_on(
    made, undisturbed, tmp_path, capsys, command, size
):
    expected = undisturbed(command)
    out = tmp_path / "out"
    out.mkdir()
    copy_of(made / "run", out / "copy")
    line = COMMANDS[command].format(made=made, out=out).split()
    capsys.readouterr()
    with largest_file(size):
        code = run(line)
    said = capsys.readouterr().err.splitlines()
    if code:  # what is smaller than the limit is written
        assert code == 2
        assert said[-1].startswith(f"steper {command}: error: ")
        assert "cannot be written (File too large)" in said[-1]
        assert said[-1].endswith("make room, and give the same command again")
        assert not temporary(out)
    assert run(line) == 0
    assert written(out) == expected
    assert not temporary(out)


VERDICTS: list[str] = []


def says_yes(request):
    """A judge that counts what it is asked."""
    VERDICTS.append(request.prompt.text())
    return "yes"


def test_a_judged_build_on_a_full_disk_keeps_its_verdicts(made, tmp_path, capsys):
    """What could not be recorded is asked once more; it was the last at each end."""
    line = f"build {made}/run --judge test_full_disk:says_yes --judged steps --in-flight 1 --out"
    VERDICTS.clear()
    assert run([*line.split(), str(tmp_path / "undisturbed")]) == 0
    asked = sorted(VERDICTS)
    VERDICTS.clear()
    codes = []
    for size in (0, 500, 1_500, 3_000, 1 << 40):
        with largest_file(size):
            codes.append(run([*line.split(), str(tmp_path / "disturbed")]))
        error = capsys.readouterr().err
        assert codes[-1] == 0 or "cannot be written (File too large)" in error.splitlines()[-1]
        assert "Traceback" not in error
    assert (codes[0], codes[-1]) == (2, 0)
    repeated = Counter(VERDICTS) - Counter(asked)
    assert not set(asked) - set(VERDICTS)
    assert repeated.total() <= sum(code == 2 for code in codes)
    assert contents(tmp_path / "disturbed") == contents(tmp_path / "undisturbed")
    assert not temporary(tmp_path)


def written(folder):
    """What the files say, but for the folder's own name."""
    found = contents(folder)
    if metrics := found.get("copy/metrics.json"):
        del metrics["run"]
    return found


def copy_of(run, target):
    target.mkdir()
    for path in run.iterdir():
        (target / path.name).write_bytes(path.read_bytes())


def temporary(folder):
    return [path.name for path in folder.rglob("*") if path.name.endswith(".tmp")]


PIPELINE = """\
data: {world: {world: {train: 6, test: 2}}}
strategy: {name: ircot}
teacher: {model: gold}
students: {tiny: {model: TINY}}
train: {max_steps: 4, batch_size: 4, micro_batch_size: 2, dtype: float32, save_every: 2}
recipes: [steper]
jobs: 1
"""


def test_a_pipeline_on_a_full_disk_ends_in_one_line_and_goes_on(tmp_path, capsys):
    config = tmp_path / "pipeline.yaml"
    config.write_text(PIPELINE)
    line = f"run {config} --out {tmp_path}/out --stages world,index,teach".split()
    codes = []
    for size in (0, 5_000, 20_000, 50_000, 1 << 40):
        with largest_file(size):
            codes.append(run(line))
        error = capsys.readouterr().err
        assert codes[-1] == 0 or "cannot be written (File too large)" in error
        assert "Traceback" not in error
    assert (codes[0], codes[-1]) == (2, 0)
    assert not temporary(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("size", [60_000, 120_000], ids=["weights", "optimizer"])
def test_a_training_on_a_full_disk_goes_on_when_there_is_room(made, tmp_path, capsys, size):
    student = make_tiny_llama(tmp_path / "tiny", window=8192)
    line = f"train {made}/examples --student {student} --max-steps 4 --save-every 2 --batch-size 4 "
    line += "--micro-batch-size 2 --dtype float32 --out "
    assert run([*line.split(), str(tmp_path / "undisturbed")]) == 0
    with largest_file(size):
        assert run([*line.split(), str(tmp_path / "disturbed")]) == 2
    assert "make room, and give the same command again" in capsys.readouterr().err
    assert run([*line.split(), str(tmp_path / "disturbed")]) == 0
    weights = [
        (tmp_path / n / "model.safetensors").read_bytes() for n in ("undisturbed", "disturbed")
    ]
    assert weights[0] == weights[1]
