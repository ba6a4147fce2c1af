"""Training logs: how σ and each kind's loss went, read from a student's folder.

In: `log.jsonl`, a row an optimizer step logged, with "step" and any of "loss", "L_init", "L_exp",
"L_agg", "sigma_init", "sigma_exp", "sigma_agg", "tokens", "seconds" (the last two cumulative).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steper.errors import InputError
from steper.records import StepKind
from steper.store import read_json_lines

LOG = "log.jsonl"

KINDS: tuple[StepKind, ...] = ("init", "exp", "agg")

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class TrainingLog:
    """One training: (optimizer step, value) by kind; kinds without a value are left out.

    `steps`, `tokens` and `seconds` are the last logged ones, None where the log has none.
    """

    folder: Path
    losses: Mapping[StepKind, Points]
    sigmas: Mapping[StepKind, Points]
    steps: int
    tokens: int | None
    seconds: float | None


def read_training(folder: Path) -> TrainingLog:
    """The log of a training folder.

    A step that is not above the last one begins a resumed training: what was logged from there on
    before does not count. Raises InputError on a missing,
    empty or broken log, naming file and line.
    """
    path = folder / LOG
    rows: list[dict[str, Any]] = []
    for number, row in read_json_lines(path):
        step = row.get("step")
        if not isinstance(step, int) or isinstance(step, bool):
            raise InputError(f"{path}, line {number}: step: a whole number was expected")
        _check_numbers(path, number, row)
        while rows and rows[-1]["step"] >= step:
            rows.pop()
        rows.append(row)
    if not rows:
        raise InputError(f"{path} holds no rows; is it a folder that `steper train` wrote?")
    return TrainingLog(
        folder=folder,
        losses=_courses(rows, "L_"),
        sigmas=_courses(rows, "sigma_"),
        steps=rows[-1]["step"],
        tokens=_last(rows, "tokens"),
        seconds=_last(rows, "seconds"),
    )


def _check_numbers(path: Path, number: int, row: Mapping[str, Any]) -> None:
    for name in ("tokens", "seconds", *(p + k for p in ("L_", "sigma_") for k in KINDS)):
        value = row.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise InputError(f"{path}, line {number}: {name}: a number was expected, not {value!r}")


def _courses(rows: Sequence[Mapping[str, Any]], prefix: str) -> dict[StepKind, Points]:
    found: dict[StepKind, Points] = {}
    for kind in KINDS:
        points = [
            (float(row["step"]), float(row[prefix + kind]))
            for row in rows
            if row.get(prefix + kind) is not None and math.isfinite(row[prefix + kind])
        ]
        if points:
            found[kind] = points
    return found


def _last(rows: Sequence[Mapping[str, Any]], name: str) -> Any:
    return next((row[name] for row in reversed(rows) if row.get(name) is not None), None)


def find_training(manifest: Mapping[str, Any]) -> Path | None:
    """The training folder of a run's model: where its weights are, or above; None if none is."""
    model = manifest.get("settings", {}).get("model", {})
    name = model.get("model") if isinstance(model, dict) else None
    if not isinstance(name, str) or not name:
        return None
    folder = Path(name)
    places = (folder, folder.parent)
    return next((p for p in places if folder.is_dir() and (p / LOG).is_file()), None)


def thin(points: Points, most: int = 240) -> Points:
    """At most `most` points: means over runs of neighbours, so that no part is left out."""
    size = math.ceil(len(points) / most)
    if size <= 1:
        return points
    groups = (points[at : at + size] for at in range(0, len(points), size))
    return [
        (sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group))
        for group in groups
    ]
