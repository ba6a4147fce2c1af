"""Commands killed at random moments end, given again, as undisturbed ones do.

STEPER_KILLS says how often each is killed (5). What is paid for is counted in test_paid_calls.
"""

import random
import shutil
import subprocess
import sys

import pytest

from killing import KILLS, contents, killed_or_ended, one_process
from lm.tiny import make_tiny_llama

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
    "teach --questions {made}/world/train.json --model gold --corpus {made}/index --k 2 "
    "--out {made}/rerun",
    "build {made}/run --out {made}/examples",
    *(
        "teach --questions {made}/world/train.json --model gold --corpus {made}/index "
        f"--shard {n}/2 --out {{made}}/s{n}"
        for n in (1, 2)
    ),
)


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    with one_process(tmp_path_factory) as commands:
        yield commands


@pytest.fixture(scope="module")
def made(tmp_path_factory, commands):
    folder = tmp_path_factory.mktemp("made")
    make_tiny_llama(folder / "tiny", window=8192)
    (folder / "pipeline.yaml").write_text(PIPELINE.replace("TINY", str(folder / "tiny")))
    for line in MADE:
        commands.run(line.format(made=folder))
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
        code = killed_or_ended(commands, line, rng.uniform(0, took), rng)
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
