"""Files that were damaged: one line that names the file, or the result that there would have been.

Each trial damages one file that a command reads and runs the command in this process. STEPER_FUZZ
says how many trials there are (200), STEPER_FUZZ_SEED where they begin (0).
"""

import contextlib
import io
import json
import logging
import os
import random
import re
import shutil
import traceback
from pathlib import Path

import pytest

from data.test_hotpotqa_abstracts import ROWS, dump, packed
from lm.packed import pack
from lm.tiny import make_tiny_llama
from steper.cli.main import run
from steper.journal import RunFolder
from steper.student import _tell_once
from test_kills import contents

TRIALS = int(os.environ.get("STEPER_FUZZ", "200"))
SEED = int(os.environ.get("STEPER_FUZZ_SEED", "0"))

CONFIG = "strategy: {k: 3, max_steps: 4}\nprompt: {demos: 0}\n"
PIPELINE = """\
data: {world: {world: {train: 6, test: 3}}}
strategy: {name: ircot}
teacher: {model: gold}
students: {tiny: {model: TINY}}
recipes: [steper]
jobs: 1
"""
STUDY = "study: {title: A study}\n" + PIPELINE + "cells: {one: {}, two: {strategy: {k: 2}}}\n"

MADE = (
    "world --out world --train 5 --dev 1 --test 2 --benchmark 2wikimultihopqa",
    "index --corpus world/corpus.jsonl --out index",
    "teach --questions world/train.json --model gold --corpus index --out run",
    "build run --out examples",
    "eval run",
    "train examples --student tiny --max-steps 1 --batch-size 1 --dtype float32 --out student",
    "teach --questions world/train.json --model gold --corpus index --shard 1/2 --out s1",
    "teach --questions world/train.json --model gold --corpus index --shard 2/2 --out s2",
    "merge s1 s2 --out merged",
    "relabel run --model gold --out steps",
    "train examples --student tiny --max-steps 1 --batch-size 1 --dtype float32 --lora-rank 2 "
    "--out adapter",
)

ASKED = "--questions world/test.json --corpus index --max-steps 2 --max-tokens 4 --out out"
TRAIN = "train examples --student tiny --max-steps 1 --batch-size 1 --dtype float32 --out "
TEACH = "teach --questions world/train.json --model gold --corpus index --config config.yaml --out "
JUDGE = "judge a=run b=rerun --model tiny --max-tokens 2 --out "
STUDIED = "--out studied --stages world,index,teach"
ASK = "ask Who? --student student --corpus index --max-steps 2 --max-tokens 4"
COMMANDS = {
    "index --corpus world/corpus.jsonl --out out": ["world/corpus.jsonl"],
    "search index Who": ["index"],
    f"{TEACH}out": ["world/train.json", "index", "config.yaml"],
    f"{TEACH}half": ["half"],
    "teach --questions world/train.json --model gold --corpus index --out run": ["run"],
    "eval run": ["run"],
    "show run": ["run"],
    "show run -q 1": ["run"],
    "build run --out out": ["run"],
    "build run --out examples": ["run", "examples"],
    "score run/predictions.json --questions world/train.json --benchmark 2wikimultihopqa": [
        "run/predictions.json",
        "world/train.json",
    ],
    "compare a=run b=rerun": ["run", "rerun"],
    "report run --out report.html": ["run"],
    "world --out world --train 5 --dev 1 --test 2 --benchmark 2wikimultihopqa": ["world"],
    f"{TRAIN}out": ["examples", "tiny"],
    f"{TRAIN}student": ["student"],
    f"eval --student student {ASKED}": ["student"],
    f"eval --student adapter {ASKED}": ["adapter"],
    f"teach --model packed.gguf --limit 1 {ASKED}": ["packed.gguf"],
    f"study study.yaml {STUDIED}": ["study.yaml", "studied"],
    "data hotpotqa-abstracts abstracts.tar.bz2 --out corpus.jsonl": ["abstracts.tar.bz2"],
    "run pipeline.yaml --out all --stages world,index,teach": ["pipeline.yaml", "all"],
    "merge s1 s2 --out out": ["s1", "s2"],
    "merge s1 s2 --out merged": ["s1", "merged"],
    "relabel run --model gold --out out": ["run"],
    "relabel run --model gold --out steps": ["run", "steps"],
    f"{JUDGE}out": ["run", "rerun"],
    f"{JUDGE}verdicts": ["rerun", "verdicts"],
    "leakage world/test.json --train world/train.json": ["world/test.json", "world/train.json"],
    ASK: ["student", "index"],
}
"""Command → files and folders that it reads."""

OURS = (
    *("index", "run", "half", "examples", "all", "student", "adapter", "studied"),
    *("s1", "s2", "merged", "steps", "verdicts", "rerun"),
)
"""What we wrote ourselves; files of the user may say something else and be right."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with all that the commands read, a run that was cut off among it."""
    folder = tmp_path_factory.mktemp("whole")
    with inside(folder), pytest.MonkeyPatch.context() as patched:
        Path("config.yaml").write_text(CONFIG)
        Path("pipeline.yaml").write_text(PIPELINE)
        Path("study.yaml").write_text(STUDY)
        pack(make_tiny_llama("tiny", window=8192), Path("packed.gguf"))
        dump(Path("abstracts.tar.bz2"), {"AA/wiki_00.bz2": packed(ROWS)})
        for line in MADE:
            assert run(line.split()) == 0

        def killed(*_):
            raise SystemExit

        patched.setattr(RunFolder, "finish", killed)
        with pytest.raises(SystemExit):
            run(f"{TEACH}half".split())
        patched.undo()
        assert run(f"{TEACH}rerun --k 2".split()) == 0  # a judge is asked where runs differ
        assert run(f"{JUDGE}verdicts".split()) == 0
        assert run(["run", "pipeline.yaml", "--out", "all", "--stages", "world,index,teach"]) == 0
        assert run(f"study study.yaml {STUDIED}".split()) == 0
    return folder


@contextlib.contextmanager
def inside(folder):
    """`folder` as the working folder."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def damage(path, rng):
    """Damage a file; what was done."""
    data = path.read_bytes()
    ways = {
        "blank": lambda: b"",
        "spaces": lambda: b"  \n\n",
        "utf-16": lambda: data.decode(errors="replace").encode("utf-16"),
        "cut": lambda: data[: rng.randrange(len(data) or 1)],
        "zeros": lambda: bytes(len(data)),
        "a zero": lambda: spliced(data, b"\0", rng),
        "not UTF-8": lambda: spliced(data, b"\xff\xfe", rng),
        "a line 0": lambda: data + b"0\n",
        "a line []": lambda: b"[]\n" + data,
        "last line twice": lambda: data + (data.splitlines(True) or [b""])[-1],
        "line taken out": lambda: without_a_line(data, rng),
        "other type": lambda: with_other_type(data, rng),
        "deep": lambda: b"[" * 3000,
        "noise": lambda: rng.randbytes(200),
        "a byte": lambda: spliced(data, bytes([rng.randrange(256)]), rng, 1),
    }
    way = rng.choice([*ways, "folder", "loop", "gone"])
    path.unlink()
    if way == "folder":
        path.mkdir()
    elif way == "loop":
        path.symlink_to(path.name)
    elif way != "gone":
        path.write_bytes(ways[way]())
    return way


def spliced(data, new, rng, instead=0):
    at = rng.randrange(len(data) or 1)
    return data[:at] + new + data[at + instead :]


def without_a_line(data, rng):
    lines = data.splitlines(keepends=True)
    if lines:
        lines.pop(rng.randrange(len(lines)))
    return b"".join(lines)


def with_other_type(data, rng):
    """A JSON value of the file, or of one of its lines, is of another type."""
    lines = data.splitlines(keepends=True)
    whole = len(lines) < 2 or not data.startswith(b'{"')
    at = 0 if whole else rng.randrange(len(lines))
    try:
        value = json.loads(data if whole else lines[at])
    except ValueError:
        return data + b"{"
    places = list(places_in(value))
    if not places:
        return b"0"
    holder, key = rng.choice(places)
    holder[key] = rng.choice([None, 0, -1, "x", [], {}, [[]], {"a": 1}, True, 1e308])
    new = json.dumps(value).encode() + b"\n"
    return new if whole else b"".join([*lines[:at], new, *lines[at + 1 :]])


def places_in(value):
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        yield value, key
        if isinstance(item, dict | list):
            yield from places_in(item)


def ended(line, folder):
    """(exit code or traceback, standard output, standard error)."""
    _tell_once.cache_clear()  # a new process would tell again
    out, error = io.StringIO(), io.StringIO()
    handler = logging.StreamHandler(error)
    handler.setFormatter(logging.Formatter("WARNING %(message)s"))
    logging.getLogger().addHandler(handler)
    try:
        with (
            inside(folder),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(error),
        ):
            code = run(line.split())
    except BaseException:  # noqa: BLE001 - what is looked for
        code = traceback.format_exc()
    finally:
        logging.getLogger().removeHandler(handler)
    return code, out.getvalue(), error.getvalue()


@pytest.fixture(scope="module")
def undisturbed(whole, tmp_path_factory):
    """Command → (all files after it, what it says on standard error), without damage."""
    found = {}
    for number, line in enumerate(COMMANDS):
        folder = tmp_path_factory.mktemp(f"undisturbed{number}") / "here"
        shutil.copytree(whole, folder)
        code, _, error = ended(line, folder)
        assert code == 0, (line, code, error)
        found[line] = contents(folder), told(error)
    return found


def told(error):
    """The lines of standard error without their numbers: counts and seconds differ."""
    return {re.sub(r"[\d.,]+", "", line).strip() for line in error.splitlines()} - {""}


def problem(line, path, folder, before):
    """What is wrong with how a command ended on a damaged file; None where nothing is."""
    code, _, error = ended(line, folder)
    if not isinstance(code, int):
        return code
    files, usual = before
    if code == 2:
        said = error.strip().splitlines()[-1]
        if path.stem not in said and path.parent.name not in said:
            return f"the error does not name the file: {said}"
        more = {line for line in told(error) - usual if not line.startswith("WARNING")}
        return None if len(more) == 1 else f"not one line: {more}"
    if code != 0:
        return f"exit code {code}: {error}"
    # More than progress is a report of the change.
    if path.relative_to(folder).parts[0] not in OURS or told(error) - usual:
        return None
    name = path.relative_to(folder).as_posix()
    if path.is_file() and not path.is_symlink():
        path.unlink()  # it may be no JSON
    shutil.rmtree(path, ignore_errors=True)
    after = contents(folder) | {name: None}
    changed = [n for n in {*after, *files} if after.get(n) != files.get(n) and n != name]
    return f"{changed} say something else, and not a word of it" if changed else None


@pytest.mark.slow
@pytest.mark.timeout(120 + 10 * TRIALS)
def test_damaged_files_are_told_or_make_no_difference(whole, undisturbed, tmp_path):
    problems = []
    for trial in range(SEED, SEED + TRIALS):
        rng = random.Random(trial)
        line = rng.choice(list(COMMANDS))
        folder = tmp_path / "here"
        shutil.copytree(whole, folder)
        read = folder / rng.choice(COMMANDS[line])
        files = [p for p in sorted(read.rglob("*")) if p.is_file()] if read.is_dir() else [read]
        path = rng.choice([p for p in files if p.name != ".lock"])
        way = damage(path, rng)
        wrong = problem(line, path, folder, undisturbed[line])
        if wrong:
            problems.append(f"trial {trial}: {line}: {path.name} {way}: {wrong}")
        shutil.rmtree(folder)
    assert not problems, f"{len(problems)} of {TRIALS}\n" + "\n".join(problems)
