"""A pipeline of two tasks that are never done, for its test to kill."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from pipeline.test_side_by_side import side_by_side, task
from pipeline.work import wait

out = Path(sys.argv[1])
tasks = [task(name, partial(wait, stopped=out / f"{name}.stopped")) for name in ("a", "b")]


class Watcher:
    def began(self, planned):
        pass

    def advanced(self, task, done, total, detail):
        print("at work", flush=True)


side_by_side(out, tasks, Watcher())
