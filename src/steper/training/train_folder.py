"""The folder of a training: the exported student, checkpoints, log, manifest.

config.json, *.safetensors, tokenizer…   the student (or LoRA adapter), as save_pretrained writes it
steper.json       how the student is to be prompted: form, prompt and strategy settings
log.jsonl         a line a step: loss, L_j, σ_j, lr, tokens, seconds; and a line an evaluation
manifest.json     settings, inputs, what was resolved, counts, versions, status
reference.jsonl   of preference pairs: their log-probabilities before the training
checkpoints/      to resume from; sigma.json in each
.work/            the examples encoded (`tree_file`) and a checksum, until the training is complete
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from steper.artifact import (
    LOCK,
    MANIFEST,
    WORK,
    Lock,
    as_json,
    begun,
    check_settings,
    lock_folder,
    model_checksums,
    settings_hash,
)
from steper.errors import InputError
from steper.records import SCHEMA_VERSION
from steper.store import (
    cut_unfinished_line,
    dump_line,
    provenance,
    read_json,
    read_json_lines,
    write_json,
    write_jsonl,
)

LOG, STEPER, CHECKPOINTS = "log.jsonl", "steper.json", "checkpoints"
REFERENCE = "reference.jsonl"


def student_card(
    examples: dict[str, Any],
    weights: str,
    chat_template_kwargs: dict[str, Any],
    longest_target: int,
) -> dict[str, Any]:
    """What `steper.json` says of a student that learnt the examples of this manifest.

    `longest_target` are the tokens of the longest text that it learnt to write.
    """
    made = examples["settings"]
    arguments = chat_template_kwargs if made["form"] == "chat" else {}
    return {
        "schema_version": examples["schema_version"],
        "form": made["form"],
        **({"chat_template_kwargs": arguments} if arguments else {}),
        "strategy": made["strategy"],
        "prompt": made["prompt"],
        "recipe": examples["recipe"],
        "target": made["target"],
        "weights": weights,
        "longest_target": longest_target,
        **made.get("inference", {}),
        "examples": examples["settings_hash"],
    }


class TrainFolder:
    """A folder to train into: fresh, or an earlier training taken up where it stopped."""

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        self.settings = as_json(settings)
        self._lock: Lock | None = None
        self._made: list[Path] = []
        self._fresh = False

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints are kept."""
        return self.path / CHECKPOINTS

    def trees(self, **more: Any) -> Path:
        """The file of the encoded examples; `more` is what decides them beside the settings."""
        return self.path / WORK / f"{settings_hash(as_json({**self.settings, **more}))}.arrow"

    def clear_work(self) -> None:
        """Remove encoded examples; on a network file system others may still read them."""
        shutil.rmtree(self.path / WORK, ignore_errors=True)

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest, {} while there is none."""
        path = self.path / MANIFEST
        value = read_json(path) if path.exists() else {}
        if value and (not isinstance(value, dict) or value.get("content") != "student"):
            raise InputError(f"{path}: not the manifest of a training; name another --out")
        return dict(value)

    @property
    def complete(self) -> bool:
        """Whether the training is over and its student exported."""
        return self.manifest.get("status") == "complete"

    def check(self, overwrite: bool) -> None:
        """Refuse a folder of something else (InputError) and, unless it is to be overwritten, one
        that was trained with other settings (SettingsError).
        """
        if not begun(self.path, "a student's folder"):
            return
        old = self.manifest
        if not overwrite:
            check_settings(self.path, old.get("settings"), self.settings, "trained")

    def lock(self, overwrite: bool) -> None:
        """Take the folder for writing (the main process alone); InputError if another has it."""
        self._made = [path for path in (self.path, *self.path.parents) if not path.exists()]
        refusal = "another steper process is training here"
        self._lock = lock_folder(self.path, refusal, (MANIFEST, LOG, STEPER))
        self.check(overwrite)  # again: another process may have trained here meanwhile

    def begin(self, overwrite: bool) -> None:
        """Begin a training in the locked folder, or take one up."""
        if overwrite:
            for name in (MANIFEST, LOG, STEPER, REFERENCE):
                (self.path / name).unlink(missing_ok=True)
            shutil.rmtree(self.checkpoints, ignore_errors=True)
        self._fresh = not self.manifest
        if self._fresh:
            self.write_manifest("running", {})

    def withdraw(self) -> None:
        """Take back a beginning from which nothing came: other settings may begin here."""
        if self._fresh:
            for name in (MANIFEST, REFERENCE):
                (self.path / name).unlink(missing_ok=True)
            shutil.rmtree(self.checkpoints, ignore_errors=True)

    def last_checkpoint(self) -> Path | None:
        """The newest whole checkpoint: one that the Trainer came to write its state into."""
        found = {s: p for s, p in self._by_step().items() if _whole(p / "trainer_state.json")}
        return found[max(found)] if found else None

    def _by_step(self) -> dict[int, Path]:
        """The checkpoints, whole or not, in order."""
        found = self.checkpoints.glob("checkpoint-*")
        return dict(sorted((int(path.name.rpartition("-")[2]), path) for path in found))

    def checkpoint(self, step: int) -> Path:
        """The whole checkpoint of a step; InputError, naming those that are there, for another."""
        path = self.checkpoints / f"checkpoint-{step}"
        if _whole(path / "trainer_state.json"):
            return path
        there = ", ".join(map(str, self._by_step())) or "none"
        raise InputError(
            f"{self.checkpoints} has no checkpoint of step {step}; there are: {there} "
            "(keep_checkpoints says how many are kept)"
        )

    def go_back(self, step: int) -> None:
        """Make the checkpoint of a step the last one: later ones are removed."""
        self.checkpoint(step)
        for later, path in self._by_step().items():
            if later > step:
                shutil.rmtree(path)
        self.write_manifest("running", {})

    def cut_log(self, step: int) -> None:
        """Take out the log's lines after `step`; training goes on from there."""
        path = self.path / LOG
        if path.exists():
            with path.open("rb+") as file:
                cut_unfinished_line(file.fileno())
            write_jsonl(path, [r for _, r in read_json_lines(path) if r["step"] <= step])

    def log(self, row: dict[str, Any]) -> None:
        """Append a line to the log."""
        with (self.path / LOG).open("ab") as file:
            file.write(dump_line(row))

    def write_manifest(self, status: str, more: dict[str, Any]) -> None:
        """Write the manifest atomically."""
        value = {
            "schema_version": SCHEMA_VERSION,
            "content": "student",
            "status": status,
            "settings_hash": settings_hash(self.settings),
            "settings": self.settings,
            **more,
            **provenance(),
        }
        write_json(self.path / MANIFEST, value)

    def renew_checksums(self) -> None:
        """Take the files of a complete training as they are now for what was written."""
        value = {**self.manifest, "sha256": model_checksums(self.path)}
        write_json(self.path / MANIFEST, value)

    def close(self) -> None:
        """Let go of the folder; where no training has begun in it nothing is left there."""
        if self._lock is None:
            return
        unused = not (self.path / MANIFEST).exists()
        try:
            if unused or self.complete:  # no training goes on with its work
                self.clear_work()
            if unused:
                (self.path / LOCK).unlink(missing_ok=True)
        finally:
            self._lock.release()
        for folder in self._made if unused else ():
            with suppress(OSError):  # not empty, or another process's by now
                folder.rmdir()


def _whole(path: Path) -> bool:
    try:
        read_json(path)
    except InputError:
        return False
    return True
