"""Where a report's numbers come from: settings that runs share and those that differ, hashes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from steper.artifact import MANIFEST
from steper.evaluation.metrics import Metrics
from steper.lm.shipped import SHIPPED, shipped_models
from steper.reporting.svg import shorten
from steper.store import read_json


@dataclass(frozen=True)
class RunFacts:
    """One run as its manifest and its evaluation describe it; `method` is its method's index."""

    path: Path
    method: int
    manifest: Mapping[str, Any]
    metrics: Metrics
    settings: Mapping[str, str]

    @property
    def seconds(self) -> float:
        """Wall time of the run, over all its sittings."""
        return float(self.manifest.get("seconds") or 0.0)

    @property
    def model(self) -> str:
        """The model's name, as the run's settings give it."""
        model = self.manifest.get("settings", {}).get("model", {})
        if not isinstance(model, dict):
            return str(model or "unknown")
        named = model.get("model") or f"{model.get('kind', 'unknown')} {model.get('script', '')}"
        return shorten(bare_name(str(named).strip()), 48)

    @property
    def strategy(self) -> str:
        """The strategy's name."""
        return self.settings.get("strategy.name", "unknown")

    @property
    def versions(self) -> str:
        """Package versions of the run in one line."""
        versions = self.manifest.get("versions") or {}
        return ", ".join(f"{name} {version}" for name, version in versions.items())


@dataclass(frozen=True)
class Settings:
    """Settings of all runs: `shared` ones, and `differing` ones with a value a run."""

    shared: Mapping[str, str]
    differing: Mapping[str, Sequence[str]]


def run_facts(path: Path, method: int, metrics: Metrics) -> RunFacts:
    """The facts of a run folder that has been evaluated."""
    manifest = read_json(path / MANIFEST)
    return RunFacts(path, method, manifest, metrics, flatten(manifest.get("settings") or {}))


def flatten(value: Any, name: str = "") -> dict[str, str]:
    """Nested settings as `a.b.c` with their values in JSON, strings bare, paths by last name."""
    if isinstance(value, dict) and value:
        found: dict[str, str] = {}
        for key, inner in value.items():
            found |= flatten(inner, f"{name}.{key}" if name else str(key))
        return found
    return {name: bare_name(value) if isinstance(value, str) else orjson.dumps(value).decode()}


def bare_name(value: str) -> str:
    """`shipped:NAME` for a model of ours, the last name of another absolute path, else `value`."""
    path = Path(value.removeprefix("hf:"))
    if not path.is_absolute():
        return value
    return f"{SHIPPED}{path.name}" if path.parent == shipped_models() else path.name


def shown_path(path: Path, home: Path) -> str:
    """A folder as a page in the folder `home` shows it: from there, or by its last two names.

    A page is passed on; where its maker's files lay is nobody's business.
    """
    path, home = path.absolute(), home.absolute()
    if path.is_relative_to(home):
        return path.relative_to(home).as_posix()
    return "/".join(path.parts[-2:])


def compare_settings(runs: Sequence[RunFacts]) -> Settings:
    """What the runs' settings have in common, and where they differ (– where one has none)."""
    names = dict.fromkeys(name for run in runs for name in run.settings)
    values = {name: [run.settings.get(name, "–") for run in runs] for name in names}
    return Settings(
        shared={name: found[0] for name, found in values.items() if len(set(found)) == 1},
        differing={name: found for name, found in values.items() if len(set(found)) > 1},
    )
