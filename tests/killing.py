"""Commands that tests kill, and what is compared of what they write."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

KILLS = int(os.environ.get("STEPER_KILLS", "5"))
HERE = Path(__file__).parent


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


@contextmanager
def one_process(tmp_path_factory):
    """Commands with a log of their own."""
    with (tmp_path_factory.mktemp("commands") / "log").open("w") as log:
        commands = Commands(log)
        with commands.process:
            yield commands


def killed_or_ended(commands, line, seconds, rng, asks=lambda: True):
    """The exit code of a command that is killed so long after it `asks`, if it has not ended."""
    pid = commands.start(line)
    while not commands.ends_within(0.005) and not asks():
        pass
    if not commands.ends_within(seconds):
        kind = rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
        with suppress(ProcessLookupError):
            os.kill(pid, kind)
    code = commands.end()
    assert code in (0, 130, -signal.SIGKILL, -signal.SIGTERM), commands.log.read_text()[-2000:]
    return code


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
