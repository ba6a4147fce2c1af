"""A run folder while it is written: every finished action on disk at once, resumable anywhere.

    manifest.json          settings, seeds, versions, hashes of inputs, counts, status
    questions.jsonl        the questions, with their gold annotation
    ids.jsonl              of a shard: the ids of the whole run's questions, in order
    actions.jsonl          finished actions (searches, generations) of unfinished questions
    trajectories.part      finished trajectories, as they finish
    trajectories.jsonl     all trajectories in the questions' order: the result

While a run is under way, lines are appended with one write each, so a killed process loses nothing
that had finished; they are forced to the disk about once a second. Each has a checksum
(`steper.checksums`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from steper.appending import AppendFile
from steper.artifact import (
    MANIFEST,
    as_json,
    begun,
    check_settings,
    lock_folder,
    settings_hash,
    warn_of_changes,
)
from steper.checksums import damaged, with_checksum
from steper.errors import InputError, writing_to
from steper.lm.base import Completion
from steper.records import SCHEMA_VERSION, Attempt, Passage, Question, Trajectory
from steper.store import (
    atomic_writer,
    dump_line,
    open_input,
    provenance,
    read_json,
    sha256_file,
    write_json,
    write_jsonl,
)
from steper.stored import Spool, Stored, open_stored, stored_questions

log = logging.getLogger(__name__)

QUESTIONS, TRAJECTORIES = "questions.jsonl", "trajectories.jsonl"
IDS = "ids.jsonl"
ACTIONS, PART = "actions.jsonl", "trajectories.part"

Key = tuple[str, int]
"""What an attempt and its trajectory are known by: question id and sample."""

IN_USE = "another steper process is writing this run"

EVALUATION = ("metrics.json", "scores.jsonl", "predictions.json", "predictions.jsonl")
"""What `steper eval` wrote of an earlier state of the run."""


class FoundRow(BaseModel):
    """A passage that a search found."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    passage: Passage
    score: float


class ActionRow(BaseModel):
    """A line of `actions.jsonl`: the result of an attempt's nth action, one of two kinds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    question_id: str
    sample: int = 0
    n: int
    request: str
    completion: Completion | None = None
    found: list[FoundRow] | None = None

    @model_validator(mode="after")
    def _one_result(self) -> ActionRow:
        if (self.completion is None) == (self.found is None):
            raise ValueError("either completion or found was expected")
        return self


def comparable(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings without a local model's path: its digest says what it is."""
    model = settings.get("model")
    if not isinstance(model, dict) or "digest" not in model:
        return settings
    return {**settings, "model": {k: v for k, v in model.items() if k != "model"}}


def read_unfinished(path: Path) -> Stored[Trajectory]:
    """The trajectories of a `trajectories.part`, which is perhaps being written; none without it.

    They are known by question id and sample. Leaves out an unfinished last line; of an attempt
    that was made again the later one counts. Raises InputError at a bad line.
    """
    if not path.exists():
        return Spool(Trajectory).stored()
    found = open_stored(path, Trajectory, key_of, growing=True)
    return found.take(found.by_key.places.values())


def key_of(trajectory: Trajectory) -> Key:
    """What a trajectory is known by."""
    return trajectory.key


class RunFolder:
    """A run folder opened for writing: fresh, or an earlier one taken up where it stopped.

    `keys` are the attempts to make, in order; one at each question where none are given. `more` are
    further entries of the manifest; of them `shard` must be the earlier one's.
    Raises SettingsError when the folder was made with other settings, and InputError when it is
    something else or another process is writing it.
    """

    def __init__(
        self,
        path: Path,
        questions: Iterable[Question],
        settings: dict[str, Any],
        *,
        inputs: dict[str, Any] | None = None,
        step_end: str = "",
        keys: Sequence[Key] | None = None,
        overwrite: bool = False,
        retry_failed: bool = False,
        more: dict[str, Any] | None = None,
    ) -> None:
        self.path = path
        self.more = more or {}
        self.questions = stored_questions(questions)
        self.keys = [(i, 0) for i in self.questions.keys] if keys is None else keys
        self._by_id = self.questions.by_key
        self.settings = as_json(settings)
        self.inputs = as_json(inputs or {})
        self.step_end = step_end
        self.hash = settings_hash(self.settings)
        self.offsets: dict[Key, int] = {}
        self._check(overwrite)
        with writing_to(path):
            files = (MANIFEST, QUESTIONS, TRAJECTORIES)
            self._lock = lock_folder(path, IN_USE, files)
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
        if overwrite:
            return
        counts = old.get("counts")
        if old.get("status") not in ("running", "complete") or not isinstance(counts, dict):
            raise InputError(
                f"{manifest}: damaged (status is {old.get('status')!r}, running or complete was "
                "expected, and counts); begin anew with --overwrite"
            )
        if old["status"] == "complete" and not self._holds(TRAJECTORIES, PART):
            raise InputError(
                f"{self.path}: {TRAJECTORIES} of this complete run is missing; begin anew with "
                "--overwrite"
            )
        if self._nothing_recorded(old):
            return
        there, now = ({"shard": of.get("shard")} for of in (old, self.more))
        made = {**comparable(old["settings"]), **there}
        check_settings(self.path, made, {**comparable(self.settings), **now})

    def _holds(self, *names: str) -> bool:
        """Whether one of these files is there."""
        return any((self.path / name).exists() for name in names)

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
            for name in (*EVALUATION, ACTIONS, PART, TRAJECTORIES, QUESTIONS, IDS, MANIFEST):
                (self.path / name).unlink(missing_ok=True)
        old = read_json(manifest) if manifest.exists() else {}
        whole = old.get("status") == "complete" and result.exists()
        failed = old["counts"].get("failed") if whole else 0
        if old:
            self._check_questions()
        self.complete = whole and not (retry_failed and failed)
        self._seconds = old.get("seconds", 0.0)
        self._sync = ThreadPoolExecutor(1, "sync")
        if whole:
            self._check_result()
        if self.complete:
            self._tidy(failed)
            return
        if whole:
            warn_of_changes(self.path, old)  # from now on its lines count as they are
            with open_input(result) as lines, atomic_writer(self.path / PART) as out:
                for line in lines:
                    out.write(with_checksum(line.rstrip() + b"\n"))
            result.unlink()
        if old.get("status") != "running":
            for name in EVALUATION:
                (self.path / name).unlink(missing_ok=True)
            self._write_manifest("running", {})
        if not questions.exists():
            write_jsonl(questions, self.questions)
        self._actions = AppendFile(self.path / ACTIONS, self._sync)
        self._part = AppendFile(self.path / PART, self._sync)
        for offset, trajectory in self._part.rows(Trajectory):
            self.offsets[trajectory.key] = offset
            if trajectory.status == "failed":
                del self.offsets[trajectory.key]

    def _check_questions(self) -> None:
        """Write `questions.jsonl` anew where it is not what was asked; nothing is lost with it."""
        path = self.path / QUESTIONS
        if path.is_file():
            with open_input(path) as file:
                asked = (dump_line(question) for question in self.questions)
                if all(there == line for there, line in zip_longest(file, asked)):
                    return
        if path.exists():
            log.warning("%s: changed since it was written; it is written anew", path)
        write_jsonl(path, self.questions)

    def _check_result(self) -> None:
        """Raise InputError where a whole run's trajectories are not those of its questions."""
        path, number = self.path / TRAJECTORIES, 0
        expected = self.keys
        with open_input(path) as file:
            for number, line in enumerate(file, start=1):
                try:
                    found = Trajectory.model_validate_json(line).key
                except ValidationError as error:
                    raise damaged(path, number, error) from None
                if number > len(expected) or found != expected[number - 1]:
                    raise InputError(
                        f"{path}, line {number}: a trajectory of question {found[0]!r} is not "
                        "expected here; the file was changed. Begin anew with --overwrite"
                    )
        if number != len(expected):
            raise InputError(
                f"{path}: {number} trajectories, but {len(expected)} were expected; the file was "
                "changed. Begin anew with --overwrite"
            )

    def recorded_actions(self) -> dict[Key, list[dict[str, Any]]]:
        """Finished actions of each unfinished attempt, in order."""
        out: dict[Key, list[dict[str, Any]]] = {}
        for _, row in self._actions.rows(ActionRow):
            if (key := (row.question_id, row.sample)) not in self.offsets:
                plain = row.model_dump(mode="json", exclude_none=True, exclude={"sample"})
                out.setdefault(key, []).append(plain)
        return out

    def pending(self) -> list[Key]:
        """The attempts that have no trajectory yet."""
        return [key for key in self.keys if key not in self.offsets]

    def attempt(self, key: Key) -> Attempt:
        """An attempt with its question, which is read."""
        question, sample = key
        return Attempt(self._by_id[question], sample)

    def write_actions(self, rows: Sequence[dict[str, Any]]) -> None:
        """Record finished actions."""
        with writing_to(self.path):
            self._actions.append(b"".join(with_checksum(dump_line(row)) for row in rows))

    def write_trajectory(self, trajectory: Trajectory) -> None:
        """Record a finished trajectory."""
        with writing_to(self.path):
            self.offsets[trajectory.key] = self._part.append(with_checksum(dump_line(trajectory)))

    def finished(self) -> Iterator[Trajectory]:
        """The finished trajectories, in the questions' order."""
        for key in self.keys:
            if (offset := self.offsets.get(key)) is not None:
                yield Trajectory.model_validate_json(self._part.read_at(offset))

    def finish(self, counts: dict[str, Any], seconds: float, warnings: Sequence[str] = ()) -> None:
        """Write trajectories.jsonl in the questions' order and mark the run complete."""
        self._seconds += seconds
        with writing_to(self.path):
            with atomic_writer(self.path / TRAJECTORIES) as out:
                for key in self.keys:
                    out.write(self._part.read_at(self.offsets[key]))
            digests = {name: sha256_file(self.path / name) for name in (TRAJECTORIES, QUESTIONS)}
            self._write_manifest("complete", counts, warnings, digests)
            self._tidy(counts.get("failed", 0))
        self.complete = True

    def _tidy(self, failed: int) -> None:
        """Take away what a complete run needs no more; failed questions keep their actions."""
        (self.path / PART).unlink(missing_ok=True)
        if not failed:
            (self.path / ACTIONS).unlink(missing_ok=True)

    def _write_manifest(
        self,
        status: str,
        counts: dict[str, Any],
        warnings: Sequence[str] = (),
        sha256: dict[str, str] | None = None,
    ) -> None:
        write_json(
            self.path / MANIFEST,
            {
                "schema_version": SCHEMA_VERSION,
                "status": status,
                "settings_hash": self.hash,
                "settings": self.settings,
                **self.more,
                "step_end": self.step_end,
                "inputs": self.inputs,
                "counts": counts,
                **({"warnings": list(warnings)} if warnings else {}),
                **({"sha256": sha256} if sha256 else {}),
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
