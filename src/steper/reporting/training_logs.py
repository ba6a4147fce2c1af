"""Training logs: how σ and each kind's loss went, read from a student's folder.

In: `log.jsonl`, a row a logged optimizer step, with "step" and any of "loss_init", "loss_exp",
"loss_agg" (the L_j), "sigma_init", "sigma_exp", "sigma_agg", "tokens" and "seconds" (cumulative);
and a row an evaluation, with "eval_loss" and "eval_loss_init", …. Beside it `manifest.json`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steper.artifact import MANIFEST
from steper.errors import InputError
from steper.prompt.encode import KINDS
from steper.records import StepKind
from steper.store import read_json, read_json_lines

LOG = "log.jsonl"

PREFIXES = ("loss_", "eval_loss_", "sigma_")

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class TrainingLog:
    """One training: (optimizer step, value) by kind; kinds without a loss are left out.

    `evals` are the losses on the evaluation set. `steps`, `tokens` and `seconds` are the last
    logged ones, None where the log has none. `manifest` is {} where there is none.
    """

    folder: Path
    losses: Mapping[StepKind, Points]
    evals: Mapping[StepKind, Points]
    sigmas: Mapping[StepKind, Points]
    steps: int
    tokens: int | None
    seconds: float | None
    manifest: Mapping[str, Any]

    @property
    def settings(self) -> dict[str, Any]:
        """What the training was set to, {} where its manifest does not say."""
        return dict(self.manifest.get("settings") or {})

    @property
    def parameters(self) -> int | None:
        """The student's parameters, as its training counted them."""
        resolved = self.manifest.get("resolved") or {}
        found: int | None = resolved.get("parameters")
        return found


def read_training(folder: Path) -> TrainingLog:
    """The log of a training folder.

    A step that is not above the last one begins a resumed training: what was logged from there on
    before does not count. Raises InputError on a missing,
    empty or broken log, naming file and line.
    """
    path = folder / LOG
    rows: list[dict[str, Any]] = []
    evaluations: list[dict[str, Any]] = []
    for number, row in read_json_lines(path):
        step = row.get("step")
        if not isinstance(step, int) or isinstance(step, bool):
            raise InputError(f"{path}, line {number}: step: a whole number was expected")
        _check_numbers(path, number, row)
        kept = evaluations if "eval_loss" in row else rows
        while kept and kept[-1]["step"] >= step:
            kept.pop()
        kept.append(row)
    if not rows:
        raise InputError(f"{path} holds no rows; is it a folder that `steper train` wrote?")
    losses = _courses(rows, "loss_")
    manifest = read_json(folder / MANIFEST) if (folder / MANIFEST).exists() else {}
    return TrainingLog(
        folder=folder,
        losses=losses,
        evals=_courses(evaluations, "eval_loss_"),
        sigmas={k: points for k, points in _courses(rows, "sigma_").items() if k in losses},
        steps=rows[-1]["step"],
        tokens=_last(rows, "tokens"),
        seconds=_last(rows, "seconds"),
        manifest=manifest if isinstance(manifest, dict) else {},
    )


def _check_numbers(path: Path, number: int, row: Mapping[str, Any]) -> None:
    for name in ("tokens", "seconds", *(p + k for p in PREFIXES for k in KINDS)):
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
