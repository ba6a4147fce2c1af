"""What a pipeline has done: `pipeline.json`, one stamp a task, with all that decided its result.

    {"tasks": {"train/small/tiny/steper-0": {"status": "complete", "key": {…}, "seconds": 41.2}}}

A task whose stamp has the key that it would have now is done (`complete`) or to be taken up again
(`running`). `stale` tasks are to be done anew, in place of what is there.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from steper.artifact import Lock, as_json, differing, lock_folder
from steper.errors import InputError
from steper.records import SCHEMA_VERSION
from steper.store import provenance, read_json, write_json

FILE = "pipeline.json"

Status = Literal["running", "complete", "stale"]


class Stamps:
    """The stamps of one output folder. Reading writes nothing; `lock` is for those who write."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock: Lock | None = None
        self._tasks: dict[str, dict[str, Any]] = {}
        self.reload()

    def reload(self) -> None:
        """Read the stamps from the disk."""
        path = self.folder / FILE
        value = read_json(path) if path.exists() else {"tasks": {}}
        if not isinstance(value, dict) or not isinstance(value.get("tasks"), dict):
            raise InputError(f"{path}: not the record of a pipeline; name another --out")
        self._tasks = value["tasks"]

    def get(self, task: str) -> dict[str, Any]:
        """A task's stamp; {} for none."""
        return self._tasks.get(task, {})

    def status(self, task: str) -> Status | None:
        """A task's status; None where it was never begun."""
        status: Status | None = self.get(task).get("status")
        return status

    def differences(self, task: str, key: dict[str, Any]) -> list[str]:
        """`name is A there, B now` for all that decides a task's result and has changed."""
        return list(differing(self.get(task).get("key"), as_json(key)))

    def lock(self) -> None:
        """Take the folder for writing; InputError where another pipeline has it."""
        self._lock = lock_folder(self.folder, "another `steper run` is at work there", (FILE,))

    def unlock(self) -> None:
        """Let go of the folder."""
        if self._lock is not None:
            self._lock.release()

    def write(self, task: str, status: Status, key: dict[str, Any], seconds: float = 0.0) -> None:
        """Write a task's stamp."""
        self._tasks[task] = {"status": status, "key": as_json(key), "seconds": round(seconds, 3)}
        self._save()

    def make_stale(self, tasks: Iterable[str]) -> None:
        """Mark those of the tasks that were begun as to be done anew."""
        for task in tasks:
            if task in self._tasks:
                self._tasks[task]["status"] = "stale"
        self._save()

    def _save(self) -> None:
        value = {"schema_version": SCHEMA_VERSION, "tasks": self._tasks, **provenance()}
        write_json(self.folder / FILE, value)
