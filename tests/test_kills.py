"""Commands killed at random moments end, given again, as undisturbed ones do.

STEPER_KILLS says how often each is killed (5). `teach`, with what is paid for, is in test_runs.
"""

import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from lm.tiny import make_tiny_llama

KILLS = int(os.environ.get("STEPER_KILLS", "5"))
HERE = Path(__file__).parent

PIPELINE = """\
data: {world: {world: {train: 6, test: 3}}}
strategy: {name: ircot, max_tokens: 12}
teacher: {model: gold}
students: {tiny: {model: TINY}}
recipes: [vanilla_kd, steper]
train: {max_steps: 3, batch_size: 1, micro_batch_size: 1, dtype: float32, save_every: 1}
evaluate: {in_flight: 1, bootstrap: {resamples: 50}}  # alone in a batch: no near tie tips
jobs: 1
"""

TRAIN = (
    "train {made}/examples --student {made}/tiny --out {out}/student --max-steps 4 --save-every 1 "
    "--batch-size 1 --micro-batch-size 1 --dtype float32"
)

COMMANDS = {
    "world": "world --out {out}/world --train 200 --dev 20 --test 50",
    "index": "index --corpus {made}/world/corpus.jsonl --out {out}/index",
    "teach": "teach --questions {made}/world/train.json --model gold --corpus {made}/index "
    "--out {out}/run",
    "build": "build {made}/run --out {out}/examples --export jsonl --export parquet --export hf",
    "train": TRAIN,
    "eval": "eval {made}/run",
    "report": "report {made}/run --out {out}/report.html",
    "run": "run {made}/pipeline.yaml --out {out}/all",
    "merge": "merge {made}/s1 {made}/s2 --out {out}/merged",
    "relabel": "relabel {made}/run --model gold --out {out}/steps",
    "judge": "judge a={made}/run b={made}/rerun --model {made}/tiny --max-tokens 2 --in-flight 1 "
    "--out {out}/verdicts",
}

MADE = (
    "world --out {made}/world --train 30 --dev 1 --test 2 --benchmark 2wikimultihopqa",
    "index --corpus {made}/world/corpus.jsonl --out {made}/index",
    "teach --questions {made}/world/train.json --model gold --corpus {made}/index --out {made}/run",
    "build {made}/run --out {made}/examples",
    *(
        "teach --questions {made}/world/train.json --model gold --corpus {made}/index "
        f"--shard {n}/2 --out {{made}}/s{n}"
        for n in (1, 2)
    ),
)


class Commands:
    """A process that runs commands in forks."""

    def __init__(self, log):
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "forked_commands.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=HERE,
        )
        self.log = Path(log.name)

    def start(self, line):
        self.process.stdin.write(json.dumps(line.split()) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def ends_within(self, seconds):
        """Whether what was started ends by itself in this time."""
        return bool(select.select([self.process.stdout], [], [], seconds)[0])

    def end(self):
        return int(self.process.stdout.readline())

    def run(self, line):
        """Run to the end; the seconds that it took."""
        began = time.monotonic()
        self.start(line)
        assert self.end() == 0, self.log.read_text()[-2000:]
        return time.monotonic() - began


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    with (tmp_path_factory.mktemp("commands") / "log").open("w") as log:
        commands = Commands(log)
        with commands.process:
            yield commands


@pytest.fixture(scope="module")
def made(tmp_path_factory, commands):
    folder = tmp_path_factory.mktemp("made")
    make_tiny_llama(folder / "tiny", window=8192)
    (folder / "pipeline.yaml").write_text(PIPELINE.replace("TINY", str(folder / "tiny")))
    for line in MADE:
        commands.run(line.format(made=folder))
    shutil.copytree(folder / "run", folder / "rerun")
    return folder


@pytest.mark.slow
@pytest.mark.timeout(600 + 240 * KILLS)
@pytest.mark.parametrize("name", COMMANDS)
def test_killed_at_random_moments_it_ends_as_undisturbed(made, commands, tmp_path, name):
    out = tmp_path / "out"
    out.mkdir()
    line = COMMANDS[name].format(made=made, out=out)
    written = made / "run" if name == "eval" else out
    took = commands.run(line)
    undisturbed = contents(written)
    if name != "eval":
        out.rename(tmp_path / "undisturbed")
        out.mkdir()
    kills, rng = 0, random.Random(name)
    for _ in range(20 * KILLS):
        pid = commands.start(line)
        if not commands.ends_within(rng.uniform(0, took)):
            kind = rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
            with suppress(ProcessLookupError):
                os.kill(pid, kind)
        code = commands.end()
        assert code in (0, 130, -signal.SIGKILL, -signal.SIGTERM), commands.log.read_text()[-2000:]
        kills += code != 0
        if kills == KILLS:
            break
        if code == 0 and name != "eval":  # all was done: from the beginning, or little is killed
            assert contents(written) == undisturbed
            shutil.rmtree(out)
            out.mkdir()
    assert kills == KILLS
    commands.run(line)
    assert contents(written) == undisturbed
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".tmp")]


RANDOM = {"seconds", "train_runtime", "_fingerprint", "git_commit"}
"""What two undisturbed runs do not share either: times, what `datasets` draws, and the commit of a
checkout in which somebody works meanwhile."""

STUDENTS = {"digest", "settings_hash", "inputs", "sha256"}
"""Nor these, where a trained student is asked: its digest counts its manifest, which has times, and
so do hashes of what holds the digest."""


def contents(folder):
    """Path → what a file says, without times; of files that hold times in other ways, nothing."""
    return {
        path.relative_to(folder).as_posix(): said(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def said(path):
    told = (lambda value: anonymous(timeless(value))) if "eval" in path.parts else timeless
    if path.suffix == ".json":
        return told(json.loads(path.read_text()))
    if path.suffix == ".jsonl":
        return [told(json.loads(line)) for line in path.read_text().splitlines()]
    return None if path.suffix in (".html", ".bin", ".pt", ".pth") else path.read_bytes()


def timeless(value):
    if isinstance(value, dict):
        return {
            key: timeless(item)
            for key, item in value.items()
            if key not in RANDOM and not key.endswith("_per_second")
        }
    return [timeless(item) for item in value] if isinstance(value, list) else value


def anonymous(value):
    """The same, whichever student it is of."""
    if isinstance(value, dict):
        named = {"settings"} if isinstance(value.get("settings"), str) else set()
        return {k: anonymous(v) for k, v in value.items() if k not in STUDENTS | named}
    return [anonymous(item) for item in value] if isinstance(value, list) else value


def test_sigterm_ends_a_command_as_ctrl_c_does(tmp_path):
    code = (
        "import sys, time\n"
        "import steper.cli.main as main\n"
        "def wait(arguments):\n"
        "    try:\n"
        "        print('ready', flush=True)\n"
        "        time.sleep(60)\n"
        "    finally:\n"
        "        print('tidied', flush=True)\n"
        "sys.modules['cyclopts'].App.__call__ = lambda self, *a, **k: wait(a)\n"
        "sys.argv = ['steper', 'show', 'x']\n"
        "main.main()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", "import cyclopts\n" + code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    said, error = process.communicate(timeout=30)
    assert (process.returncode, said) == (130, "tidied\n")
    assert error == "steper: interrupted; the same command goes on from here\n"
