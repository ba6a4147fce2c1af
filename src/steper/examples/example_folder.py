"""A folder of step examples: written whole or not at all, and read again.

manifest.json      recipe, settings, prompt settings, weights, counts, hashes of the inputs
examples.jsonl     one StepExample a line, those of one trajectory in a row
rankings.jsonl     what a reranker of the students learns, where the recipe has one (KARD)
messages.jsonl, messages.parquet, hf/     exports, where they were asked for
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steper.artifact import (
    MANIFEST,
    as_json,
    begun,
    changed_files,
    check_settings,
    replacing_folder,
    settings_hash,
    warn_of_changes,
)
from steper.errors import InputError
from steper.examples.build import Build
from steper.examples.build_counts import BuildCounts
from steper.examples.export import EXPORTS, Export
from steper.examples.step_example import StepExample
from steper.examples.verdicts import VERDICTS, recorded
from steper.recipes.base import Ranking
from steper.records import SCHEMA_VERSION
from steper.store import (
    provenance,
    read_json,
    read_records,
    sha256_file,
    write_json,
    write_jsonl,
)
from steper.text import brief

log = logging.getLogger(__name__)

EXAMPLES, RANKINGS = "examples.jsonl", "rankings.jsonl"


@dataclass(frozen=True)
class ExampleFolder:
    """A folder of step examples to read from."""

    path: Path

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return brief("ExampleFolder", repr(str(self.path)))

    @property
    def manifest(self) -> dict[str, Any]:
        """Recipe, weights, settings, counts; InputError where this is no folder of examples."""
        if not (self.path / MANIFEST).exists():
            raise InputError(f"{self.path} is no folder of examples: it has no {MANIFEST}")
        manifest = read_json(self.path / MANIFEST)
        if not isinstance(manifest, dict) or manifest.get("content") != "step examples":
            raise InputError(f"{self.path / MANIFEST}: not the manifest of step examples")
        made_with = manifest.get("settings")
        if not isinstance(made_with, dict) or settings_hash(made_with) != manifest.get(
            "settings_hash"
        ):
            raise InputError(
                f"{self.path / MANIFEST}: its settings were changed since it was written; build "
                "the examples anew"
            )
        return manifest

    def warn_of_changes(self) -> None:
        """A line for each file that is not what `steper build` wrote."""
        warn_of_changes(self.path, self.manifest)

    def examples(self) -> Iterator[StepExample]:
        """All examples; a bad line is named by file, line and field, a file without any, too."""
        path, example = self.path / EXAMPLES, None
        for example in read_records(path, StepExample):
            yield example
        if example is None:
            raise InputError(f"{path} holds no examples; build them anew")

    def rankings(self) -> Iterator[Ranking]:
        """What a reranker learns; none where the recipe has none."""
        path = self.path / RANKINGS
        return read_records(path, Ranking) if path.exists() else iter(())


@dataclass(frozen=True)
class Written:
    """The folder, what went into it, and whether it had been there already."""

    folder: ExampleFolder
    counts: BuildCounts
    exports: tuple[Export, ...]
    up_to_date: bool

    def __fspath__(self) -> str:
        return str(self.folder.path)

    def __repr__(self) -> str:
        counts = self.counts
        made = f"{counts.examples} examples", f"{counts.kept} of {counts.trajectories} trajectories"
        return brief("Written", repr(str(self.folder.path)), *made)


def write_examples(
    build: Build,
    out: Path,
    *,
    exports: Sequence[Export] = (),
    overwrite: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Written:
    """Write the examples of `build` to the folder `out`, with exports.

    `progress` is told the number of trajectories so far.

    A folder made of the same inputs with the same settings is left as it is, if it has the exports.
    Raises SettingsError where `out` holds other examples, InputError where it holds something else,
    no example is left or another process is writing it; `out` is then as it was, and what a judge
    said by then is kept beside it for the next attempt.
    """
    folder = ExampleFolder(out)
    fingerprint = as_json(build.fingerprint)
    with replacing_folder(out) as new:
        old = _there(folder, fingerprint, overwrite)
        if old is not None and set(exports) <= set(old["exports"]):
            counts = BuildCounts(**old["counts"])
            return Written(folder, counts, tuple(old["exports"]), up_to_date=True)
        wanted = tuple(e for e in EXPORTS if e in exports or (old and e in old["exports"]))
        # Closed before the journal is: what a judge is asked meanwhile ends with it.
        with recorded(build.judge, new.parent / VERDICTS, overwrite), closing(iter(build)) as made:
            write_jsonl(new / EXAMPLES, _telling(build, made, progress) if progress else made)
        if not build.counts.examples:
            reasons = _reasons(build.counts)
            raise InputError(
                f"{build.run.path}: no example is left ({reasons}){_without_gold(build.counts)}"
            )
        if build.recipe.rank is not None:
            write_jsonl(new / RANKINGS, build.rankings())
        for export in wanted:
            EXPORTS[export](ExampleFolder(new).examples(), new)
        sums = {p.name: sha256_file(p) for p in (new / EXAMPLES, new / RANKINGS) if p.exists()}
        write_json(new / MANIFEST, {**_manifest(build, fingerprint, wanted), "sha256": sums})
    return Written(folder, build.counts, wanted, up_to_date=False)


def _without_gold(counts: BuildCounts) -> str:
    """What to do where gold answers are missing."""
    if "no_gold_answer" not in counts.dropped:
        return ""
    return (
        "; without gold answers, choose by other filters: --correct none with --consistent 0.6 "
        "(several samples a question), --min-grounded 0.8, or --judged answer --judge MODEL"
    )


def _there(
    folder: ExampleFolder, fingerprint: dict[str, Any], overwrite: bool
) -> dict[str, Any] | None:
    """The manifest of the same examples in the folder; None where they are to be made."""
    if not begun(folder.path, "a folder of examples"):
        return None
    old = folder.manifest
    if overwrite:
        return None
    check_settings(folder.path, old.get("settings"), fingerprint)
    for path in changed_files(folder.path, old):
        log.warning("%s: changed since it was written; the examples are made anew", path)
        return None
    return old


def _telling(
    build: Build, made: Iterable[StepExample], progress: Callable[[int], None]
) -> Iterator[StepExample]:
    for example in made:
        progress(build.counts.trajectories)
        yield example


def _manifest(
    build: Build, fingerprint: dict[str, Any], exports: Sequence[Export]
) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "content": "step examples",
        "recipe": build.recipe.name,
        "weights": build.recipe.weights,
        "settings_hash": settings_hash(fingerprint),
        "settings": fingerprint,
        "run": {"path": str(build.run.path), "settings": build.run.manifest["settings"]},
        "exports": list(exports),
        "counts": build.counts.as_dict(),
        **provenance(),
    }


def _reasons(counts: BuildCounts) -> str:
    dropped = ", ".join(f"{n} × {reason}" for reason, n in counts.dropped.items())
    return f"{counts.trajectories} trajectories: {dropped}" if dropped else "no trajectories"
