"""A run folder while it is written: every finished action on disk at once, resumable anywhere.

    manifest.json          settings, seeds, versions, hashes of inputs, counts, status
    questions.jsonl        the questions, with their gold annotation
    actions.jsonl          finished actions (searches, generations) of unfinished questions
    trajectories.part      finished trajectories, as they finish
    trajectories.jsonl     all trajectories in the questions' order: the result

While a run is under way, lines are appended with one write each, so a killed process loses nothing
that had finished; they are forced to the disk about once a second.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
from pydantic import ValidationError

from steper.artifact import (
    MANIFEST,
    as_json,
    begun,
    check_settings,
    lock_folder,
    settings_hash,
)
from steper.errors import InputError, writing_to
from steper.records import SCHEMA_VERSION, Question, Trajectory
from steper.store import (
    atomic_writer,
    cut_unfinished_line,
    dump_line,
    field_error,
    open_input,
    provenance,
    read_json,
    write_json,
    write_jsonl,
)

SYNC_SECONDS = 1.0

QUESTIONS, TRAJECTORIES = "questions.jsonl", "trajectories.jsonl"
ACTIONS, PART = "actions.jsonl", "trajectories.part"

EVALUATION = ("metrics.json", "scores.jsonl", "predictions.json", "predictions.jsonl")
"""What `steper eval` wrote of an earlier state of the run."""


class AppendFile:
    """A JSON-lines file that only grows; a line that a crash cut off goes when it is opened."""

    def __init__(self, path: Path, sync: ThreadPoolExecutor) -> None:
        self._path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        self._end = cut_unfinished_line(self._fd)
        self._sync = sync
        self._syncing: Future[None] | None = None
        self._synced = time.monotonic()

    def append(self, lines: bytes) -> int:
        """Write whole lines, or none; returns where they begin.

        Raises OSError where there is no room for them, or where earlier ones did not get to the
        disk.
        """
        if self._syncing is not None and self._syncing.done():
            self._syncing.result()  # before the write: what raises has written nothing
        start, view = self._end, memoryview(lines)
        try:
            while view:
                view = view[os.pwrite(self._fd, view, start + len(lines) - len(view)) :]
            self._end = start + len(lines)
        except BaseException:
            os.ftruncate(self._fd, start)
            raise
        now = time.monotonic()
        if now - self._synced > SYNC_SECONDS:
            self._synced = now
            self._syncing = self._sync.submit(os.fsync, self._fd)
        return start

    def lines(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """(offset, value) of each line. Raises InputError at a damaged one."""
        with os.fdopen(os.dup(self._fd), "rb") as file:
            file.seek(0)
            offset = 0
            for number, line in enumerate(file, start=1):
                try:
                    value = orjson.loads(line)
                except orjson.JSONDecodeError as error:
                    raise InputError(
                        f"{self._path}, line {number}: not JSON ({error.msg}); take the line out, "
                        "or begin anew with --overwrite"
                    ) from None
                yield offset, value
                offset += len(line)

    def read_at(self, offset: int) -> bytes:
        """The line that begins at `offset`."""
        with os.fdopen(os.dup(self._fd), "rb") as file:
            file.seek(offset)
            return file.readline()

    def close(self) -> None:
        """Force to disk and close."""
        try:
            os.fsync(self._fd)
        finally:
            os.close(self._fd)


def _comparable(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings without a local model's path: its digest says what it is."""
    model = settings.get("model")
    if not isinstance(model, dict) or "digest" not in model:
        return settings
    return {**settings, "model": {k: v for k, v in model.items() if k != "model"}}


def read_unfinished(path: Path) -> list[Trajectory]:
    """The trajectories of a `trajectories.part`, which is perhaps being written; none without it.

    An unfinished last line is left out; of two trajectories of a question (one failed and was tried
    again) the later counts. Raises InputError at a bad line.
    """
    if not path.exists():
        return []
    with open_input(path) as file:
        whole = file.read().rpartition(b"\n")[0]
    found: dict[str, Trajectory] = {}
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            trajectory = Trajectory.model_validate_json(line)
        except ValidationError as error:
            raise InputError(f"{path}, line {number}: {field_error(error)}") from None
        found[trajectory.question_id] = trajectory
    return list(found.values())


class RunFolder:
    """A run folder opened for writing: fresh, or an earlier one taken up where it stopped.

    Raises SettingsError when the folder was made with other settings, and InputError when it is
    something else or another process is writing it.
    """

    def __init__(
        self,
        path: Path,
        questions: Sequence[Question],
        settings: dict[str, Any],
        *,
        inputs: dict[str, Any] | None = None,
        step_end: str = "",
        overwrite: bool = False,
        retry_failed: bool = False,
    ) -> None:
        self.path = path
        self.questions = questions
        self.settings = as_json(settings)
        self.inputs = as_json(inputs or {})
        self.step_end = step_end
        self.hash = settings_hash(self.settings)
        self.offsets: dict[str, int] = {}
        self._check(overwrite)
        with writing_to(path):
            files = (MANIFEST, QUESTIONS, TRAJECTORIES)
            self._lock = lock_folder(path, "another steper process is writing this run", files)
            try:
                self._check(overwrite)  # again: another process may have ended its run meanwhile
                self._open(overwrite, retry_failed)
            except BaseException:
                self._lock.release()
                raise

    def _check(self, overwrite: bool) -> None:
        manifest = self.path / MANIFEST
        if not begun(self.path, "a run folder"):
            return
        old = read_json(manifest)
        if not isinstance(old, dict) or "settings" not in old or "content" in old:
            raise InputError(f"{manifest}: not the manifest of a run; name another folder")
        if overwrite or self._nothing_recorded(old):
            return
        check_settings(self.path, _comparable(old["settings"]), _comparable(self.settings))

    def _nothing_recorded(self, manifest: dict[str, Any]) -> bool:
        """Whether the run ended before its first generation did: nothing is lost with it."""
        if manifest.get("status") == "complete" or (self.path / TRAJECTORIES).exists():
            return False
        actions, part = self.path / ACTIONS, self.path / PART
        if part.exists() and part.stat().st_size:
            return False
        return not actions.exists() or b'"completion":' not in actions.read_bytes()

    def _open(self, overwrite: bool, retry_failed: bool) -> None:
        manifest = self.path / MANIFEST
        questions, result = self.path / QUESTIONS, self.path / TRAJECTORIES
        old = read_json(manifest) if manifest.exists() else {}
        if overwrite or (old and self._nothing_recorded(old)):
            # The manifest goes last: without it the rest would be no run folder.
            for name in (*EVALUATION, ACTIONS, PART, TRAJECTORIES, QUESTIONS, MANIFEST):
                (self.path / name).unlink(missing_ok=True)
        old = read_json(manifest) if manifest.exists() else {}
        whole = old.get("status") == "complete" and result.exists()
        failed = old["counts"].get("failed") if whole else 0
        self.complete = whole and not (retry_failed and failed)
        self._seconds = old.get("seconds", 0.0)
        self._sync = ThreadPoolExecutor(1, "sync")
        if self.complete:
            self._tidy(failed)
            return
        if whole:
            result.rename(self.path / PART)
        if old.get("status") != "running":
            for name in EVALUATION:
                (self.path / name).unlink(missing_ok=True)
            self._write_manifest("running", {})
        if not questions.exists():
            write_jsonl(questions, self.questions)
        self._actions = AppendFile(self.path / ACTIONS, self._sync)
        self._part = AppendFile(self.path / PART, self._sync)
        for offset, row in self._part.lines():
            self.offsets[row["question_id"]] = offset
            if row["status"] == "failed":
                del self.offsets[row["question_id"]]

    def recorded_actions(self) -> dict[str, list[dict[str, Any]]]:
        """Finished actions of each unfinished question, in order."""
        out: dict[str, list[dict[str, Any]]] = {}
        for _, row in self._actions.lines():
            if row["question_id"] not in self.offsets:
                out.setdefault(row["question_id"], []).append(row)
        return out

    def pending(self) -> list[Question]:
        """The questions that have no trajectory yet."""
        return [q for q in self.questions if q.id not in self.offsets]

    def write_actions(self, rows: Sequence[dict[str, Any]]) -> None:
        """Record finished actions."""
        with writing_to(self.path):
            self._actions.append(b"".join(dump_line(row) for row in rows))

    def write_trajectory(self, trajectory: Trajectory) -> None:
        """Record a finished trajectory."""
        with writing_to(self.path):
            self.offsets[trajectory.question_id] = self._part.append(dump_line(trajectory))

    def finished(self) -> Iterator[Trajectory]:
        """The finished trajectories, in the questions' order."""
        for question in self.questions:
            if (offset := self.offsets.get(question.id)) is not None:
                yield Trajectory.model_validate_json(self._part.read_at(offset))

    def finish(self, counts: dict[str, Any], seconds: float, warnings: Sequence[str] = ()) -> None:
        """Write trajectories.jsonl in the questions' order and mark the run complete."""
        self._seconds += seconds
        with writing_to(self.path):
            with atomic_writer(self.path / TRAJECTORIES) as out:
                for question in self.questions:
                    out.write(self._part.read_at(self.offsets[question.id]))
            self._write_manifest("complete", counts, warnings)
            self._tidy(counts.get("failed", 0))
        self.complete = True

    def _tidy(self, failed: int) -> None:
        """Take away what a complete run needs no more; failed questions keep their actions."""
        (self.path / PART).unlink(missing_ok=True)
        if not failed:
            (self.path / ACTIONS).unlink(missing_ok=True)

    def _write_manifest(
        self, status: str, counts: dict[str, Any], warnings: Sequence[str] = ()
    ) -> None:
        write_json(
            self.path / MANIFEST,
            {
                "schema_version": SCHEMA_VERSION,
                "status": status,
                "settings_hash": self.hash,
                "settings": self.settings,
                "step_end": self.step_end,
                "inputs": self.inputs,
                "counts": counts,
                **({"warnings": list(warnings)} if warnings else {}),
                "seconds": round(self._seconds, 3),
                **provenance(),
            },
        )

    def close(self) -> None:
        """Let go of the folder; an unfinished run can be taken up again."""
        self._sync.shutdown(wait=True)
        try:
            for name in ("_actions", "_part"):
                if file := self.__dict__.pop(name, None):
                    with writing_to(self.path):
                        file.close()
        finally:
            self._lock.release()
