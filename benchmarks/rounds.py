"""Rounds of systems in turning order, each measured in a process of its own with one thread."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Found = dict[str, dict[str, Any]]
"""What was measured of each system in one round."""


def rounds(
    script: str,
    systems: Sequence[str],
    make: Callable[[Path, int], None],
    run: Callable[[Path, str, int], dict[str, Any]],
) -> tuple[int, list[Found]]:
    """The number of questions, and the rounds; the command line says how many of both.

    `make(folder, questions)` writes what all systems read, `run(folder, system, batch)` measures
    one, in a process that `script` starts anew for it.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--part", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        import torch

        torch.set_num_threads(1)
        print(json.dumps(run(Path(given.part[0]), given.part[1], given.batch)))
        raise SystemExit
    found: list[Found] = []
    with tempfile.TemporaryDirectory() as name:
        make(Path(name), given.questions)
        for number in range(given.rounds):
            turn = number % len(systems)
            found.append({})
            for system in (*systems[turn:], *systems[:turn]):
                command = [sys.executable, script, "--batch", str(given.batch)]
                done = subprocess.run(
                    [*command, "--part", name, system],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                    check=True,
                    env={**os.environ, "OMP_NUM_THREADS": "1"},
                )
                found[-1][system] = json.loads(done.stdout.splitlines()[-1])
                print(number, system, found[-1][system], flush=True)
    return given.questions, found
