"""Shards of a run put together: what comes of it is the run that one machine would have made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steper.artifact import (
    MANIFEST,
    as_json,
    changed_files,
    differing,
    listed,
    settings_changed,
)
from steper.checksums import checked_lines
from steper.errors import InputError, SettingsError
from steper.journal import ACTIONS, TRAJECTORIES, ActionRow, RunFolder, comparable
from steper.records import Question
from steper.runs import Run, RunCounts, questions_hash
from steper.shards import Shard, read_ids
from steper.store import check_out, open_input, parse_records, read_json, sha256_file
from steper.stored import Stored, stored_questions

NAMED = 5
"""Ids that an error names; it counts the others."""


@dataclass(frozen=True)
class _Part:
    """A finished shard, read."""

    run: Run
    manifest: dict[str, Any]
    shard: Shard
    questions: Stored[Question]

    def describe(self) -> dict[str, Any]:
        """What the merged run's manifest says of it."""
        kept = ("seconds", "versions", "git_commit")
        return {
            "run": str(self.run.path),
            "shard": str(self.shard),
            "trajectories": sha256_file(self.run.path / TRAJECTORIES),
            **{name: self.manifest.get(name) for name in kept},
        }


def merge(runs: Sequence[Path | str], out: Path | str, *, overwrite: bool = False) -> Run:
    """Write the shards of one run to the folder `out`, in the order of the whole run's questions.

    What is written equals, record by record, the run that was not taken apart; its manifest also
    names the shards. Actions of failed questions come along, so that trying them again pays for
    nothing twice. Raises InputError for what is no finished shard or was changed since it was
    finished, and for questions that are missing or come twice, SettingsError for shards that were
    made with differing settings.
    """
    out = Path(out)
    check_out(out, *runs)
    parts = [_read(Run(Path(run))) for run in runs]
    if not parts:
        raise InputError("there are no runs to merge")
    first = parts[0]
    for part in parts[1:]:
        _check_same(first, part)
    questions = _in_order(parts)
    samples = first.manifest["settings"].get("samples", 1)
    more = as_json({"merged": [part.describe() for part in parts]})
    folder = RunFolder(
        out,
        questions,
        first.manifest["settings"],
        inputs=first.manifest.get("inputs"),
        step_end=first.manifest.get("step_end", ""),
        keys=[(i, sample) for i in questions.keys for sample in range(samples)],
        overwrite=_overwrite(out, more, overwrite),
        more=more,
    )
    with closing(folder):
        if not folder.complete:
            _fill(folder, parts)
    return Run(out)


def _read(run: Run) -> _Part:
    """A finished shard, as it was written. Raises InputError for anything else."""
    place = run.path / MANIFEST
    if not place.exists():
        raise InputError(f"{run.path}: no run (it has no {MANIFEST})")
    manifest = read_json(place)
    shard = manifest.get("shard") if isinstance(manifest, dict) else None
    if not isinstance(shard, str) or not isinstance(manifest.get("settings"), dict):
        raise InputError(f"{run.path}: no shard of a run; those of `steper teach --shard` are")
    if manifest.get("status") != "complete":
        raise InputError(
            f"{run.path}: shard {shard} is not finished; its own command goes on with it"
        )
    _check_whole(run.path, manifest)
    try:
        part = Shard.parse(shard)
    except SettingsError as error:
        raise InputError(f"{place}: {error}") from None
    return _Part(run, manifest, part, run.questions())


def _check_whole(path: Path, manifest: dict[str, Any]) -> None:
    """Raise InputError where a shard is not what was written: the merged run would not tell."""
    changed = [str(file) for file in changed_files(path, manifest)]
    if settings_changed(manifest):
        changed.append(f"{path / MANIFEST} (its settings)")
    if not isinstance(manifest.get("seconds", 0.0), int | float):
        changed.append(f"{path / MANIFEST} (seconds)")
    if changed:
        raise InputError(
            f"{changed[0]}: changed since the shard was finished; take it from before, or run the "
            "shard anew with --overwrite"
        )


def _check_same(first: _Part, other: _Part) -> None:
    """Raise SettingsError where two shards are not of one run."""
    there, here = (comparable(part.manifest["settings"]) for part in (first, other))
    if found := list(differing(there, here)):
        raise SettingsError(
            f"{other.run.path} was made with other settings than {first.run.path}: "
            f"{listed(found).replace(' there,', ' in the first,').replace(' now', ' in the other')}"
        )


def _in_order(parts: Sequence[_Part]) -> Stored[Question]:
    """All questions in the whole run's order. Raises InputError unless each is there once."""
    found: dict[str, _Part] = {}
    for part in parts:
        double = [i for i in part.questions.keys if i in found]
        if double:
            other = found[double[0]].run.path
            raise InputError(f"{_named(double)} in both {other} and {part.run.path}")
        found.update(dict.fromkeys(part.questions.keys, part))
    ids = read_ids(parts[0].run.path)
    if missing := [id_ for id_ in ids if id_ not in found]:
        raise InputError(f"{_named(missing)} in none of the runs{_which(parts, missing)}")
    held = {part.shard: part.questions.by_key for part in parts}
    questions = stored_questions(held[found[i].shard][i] for i in ids)
    expected = parts[0].manifest["settings"]["questions"]["hash"]
    if len(found) > len(questions) or questions_hash(questions) != expected:
        raise InputError(
            f"the questions of {parts[0].run.path} and the others are not those that they were "
            f"asked (their hash is not {expected}): a questions.jsonl or ids.jsonl was changed"
        )
    return questions


def _named(ids: Sequence[str]) -> str:
    """`question 'a' is`, or `questions 'a', 'b', … (12 in all) are`."""
    shown = ", ".join(map(repr, ids[:NAMED]))
    if len(ids) == 1:
        return f"question {shown} is"
    return f"questions {shown}{f', … ({len(ids)} in all)' if len(ids) > NAMED else ''} are"


def _which(parts: Sequence[_Part], missing: Sequence[str]) -> str:
    """The shards that are missing, where all have one number of them."""
    if len({part.shard.of for part in parts}) > 1:
        return ""
    there, of = {part.shard.number for part in parts}, parts[0].shard.of
    lacking = (Shard(n, of) for n in range(1, of + 1) if n not in there)
    named = ", ".join(str(s) for s in lacking if any(map(s.holds, missing)))
    return f"; lacking: shard {named}" if named else ""


def _overwrite(out: Path, more: dict[str, Any], overwrite: bool) -> bool:
    """Whether to begin anew: where that was said, or a merge did not come to its end.

    Raises InputError where another run is in the folder, which is not taken for a merged one.
    """
    old = read_json(out / MANIFEST) if (out / MANIFEST).exists() and not overwrite else None
    if not isinstance(old, dict) or "settings" not in old:
        return overwrite
    merged = old.get("merged")
    if merged and old.get("status") == "running":
        return True
    if _digests(out, merged) != _digests(out, more["merged"]):
        what = "a run that other shards were merged to" if merged else "another run"
        raise InputError(f"{out} holds {what}; use another --out, or --overwrite to begin anew")
    return False


def _digests(out: Path, merged: Any) -> set[str]:
    """The checksums of the shards' trajectories. Raises InputError where there are none."""
    try:
        return {str(part["trajectories"]) for part in merged or ()}
    except (TypeError, KeyError):
        raise InputError(
            f"{out / MANIFEST}: merged names no shards; the file was changed. Use another --out, "
            "or --overwrite to begin anew"
        ) from None


def _fill(folder: RunFolder, parts: Sequence[_Part]) -> None:
    """Write all trajectories and the failed ones' actions, a line at a time."""
    counts = RunCounts(len(folder.questions), len(folder.keys))
    owner = {i: n for n, part in enumerate(parts) for i in part.questions.keys}
    streams = [part.run.trajectories() for part in parts]
    failed: set[tuple[str, int]] = set()
    for key in folder.keys:
        n = owner[key[0]]
        trajectory = next(streams[n], None)
        if trajectory is None or trajectory.key != key:
            raise InputError(
                f"{parts[n].run.path / TRAJECTORIES}: a trajectory of question "
                f"{key[0]!r}, sample {key[1]}, was expected next; the file was changed"
            )
        if trajectory.settings != folder.hash:  # a local model has another path there
            trajectory = trajectory.model_copy(update={"settings": folder.hash})
        folder.write_trajectory(trajectory)
        counts.add(trajectory)
        if trajectory.status == "failed":
            failed.add(trajectory.key)
    for part, stream in zip(parts, streams, strict=True):
        if (more := next(stream, None)) is not None:
            raise InputError(
                f"{part.run.path / TRAJECTORIES}: a trajectory of question {more.question_id!r} "
                "was not expected after the last; the file was changed"
            )
        _copy_actions(part.run.path / ACTIONS, failed, folder.write_actions)
    seconds = sum(part.manifest.get("seconds", 0.0) for part in parts)
    folder.finish(counts.as_dict(), seconds, counts.warnings())


def _copy_actions(
    path: Path, failed: set[tuple[str, int]], write: Callable[[list[dict[str, Any]]], None]
) -> None:
    """Write the recorded actions of the failed attempts."""
    if not (failed and path.exists()):
        return
    with open_input(path) as file:
        for row in parse_records(path, checked_lines(path, file), ActionRow):
            if (row.question_id, row.sample) in failed:
                plain = row.model_dump(mode="json", exclude_none=True)
                write([{k: v for k, v in plain.items() if k != "sample" or v}])
