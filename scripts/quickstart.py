"""The main job from end to end, as a user would type it: each command is shown, then run."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

OUT = Path("runs/quickstart")

COMMANDS = [
    f"steper world --seed 7 --out {OUT}/world",
    f"steper index --corpus {OUT}/world/corpus.jsonl --out {OUT}/index",
    f"steper teach --questions {OUT}/world/test.json --corpus {OUT}/index --model gold "
    f"--out {OUT}/gold",
    f"steper eval {OUT}/gold",
]


def main() -> int:
    """Run all commands in a fresh folder; the exit code of the first that fails."""
    shutil.rmtree(OUT, ignore_errors=True)
    for command in COMMANDS:
        print(f"\n$ {command}", flush=True)
        done = subprocess.run([sys.executable, "-m", "steper", *shlex.split(command)[1:]])
        if done.returncode:
            return done.returncode
    print(f"\nA trajectory, step by step: .venv/bin/steper show {OUT}/gold --question 4")
    return 0


if __name__ == "__main__":
    sys.exit(main())
