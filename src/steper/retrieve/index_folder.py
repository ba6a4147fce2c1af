"""An index on disk: one folder, written whole or not at all, checked before it is used."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from steper.artifact import remembered, replacing_folder
from steper.errors import InputError, RetrievalError
from steper.retrieve.retriever_settings import BM25Settings
from steper.store import field_error, sha256_file, write_json

FORMAT = 2
READABLE = (1, FORMAT)
MANIFEST_FILE, LUCENE_FILE = "index.json", "lucene.json"
KIND = "steper bm25 index"
SMALL_BYTES = 64 << 20
"""Indexes up to this size are read through whenever they are opened, larger ones once a state."""


class IndexManifest(BaseModel):
    """What `index.json` says of an index.

    `files` are the bytes of each other file of the folder, by its path inside it, `sha256` the
    checksums of the same files; format 1 has none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str = KIND
    format: int = FORMAT
    settings: BM25Settings
    analyzer_check: str
    passages: int = Field(ge=1)
    terms: int = Field(ge=1)
    corpus_sha256: str
    made_by: dict[str, Any]
    files: dict[str, int]
    sha256: dict[str, str] = {}

    @model_validator(mode="after")
    def _all_checksums(self) -> IndexManifest:
        if self.format > 1 and self.sha256.keys() != self.files.keys():
            raise ValueError("files and sha256 do not name the same files")
        return self


def check_target(path: Path) -> None:
    """Raise InputError where no index can be written: at a file, or a folder of other things."""
    if path.is_dir():
        ours = any((path / name).is_file() for name in (MANIFEST_FILE, LUCENE_FILE))
        if any(path.iterdir()) and not ours:
            raise InputError(
                f"{path} is a folder that is not an index; name another folder, or empty this one"
            )
    elif path.exists() or path.is_symlink():
        raise InputError(f"{path} is a file; an index is a folder: name another")
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise InputError(f"{path} cannot be written: {above} is not a folder that may be written")


@contextmanager
def replacing_index(path: Path) -> Iterator[Path]:
    """A new folder that takes the place of the index at `path`, which may not be something else."""
    check_target(path)
    with replacing_folder(path) as new:
        yield new


def write_manifest(folder: Path, manifest: IndexManifest) -> None:
    """Write `index.json`, with size and checksum of every other file; the folder's last file."""
    found = {
        file.relative_to(folder).as_posix(): file
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
    sizes = {name: file.stat().st_size for name, file in found.items()}
    checksums = {name: sha256_file(file) for name, file in found.items()}
    full = manifest.model_copy(update={"files": sizes, "sha256": checksums})
    write_json(folder / MANIFEST_FILE, full.model_dump(mode="json"))


def read_manifest(path: Path) -> IndexManifest:
    """The manifest of the index at `path`, its files checked to be there and whole.

    Raises InputError where there is no index, RetrievalError where it cannot be used.
    """
    make = f"make one with: steper index --corpus FILE --out {path}"
    if not path.exists():
        raise InputError(f"{path}: no such index; {make}")
    if not path.is_dir():
        raise InputError(f"{path} is a file; an index is a folder: make one with: steper index")
    file = path / MANIFEST_FILE
    if not file.is_file():
        raise InputError(f"{path} is not an index (it has no {MANIFEST_FILE}); {make}")
    again = f"build it again: steper index --corpus FILE --out {path}"
    try:
        value = orjson.loads(file.read_bytes())
    except ValueError:
        raise RetrievalError(f"{file} is damaged (not JSON); {again}") from None
    manifest = _validated(value, path, again)
    for name, size in manifest.files.items():
        _check_file(path / name, size, again)
    _check_contents(path, manifest, again)
    return manifest


def _validated(value: Any, path: Path, again: str) -> IndexManifest:
    if not isinstance(value, dict) or value.get("kind") != KIND:
        raise InputError(f"{path} is not a steper index: its {MANIFEST_FILE} is something else")
    version = value.get("format")
    if version not in READABLE:
        newer = isinstance(version, int) and version > FORMAT
        mend = "update steper, or " + again if newer else again
        raise RetrievalError(
            f"{path} has index format {version}, this version of steper reads {FORMAT}; {mend}"
        )
    try:
        return IndexManifest.model_validate(value)
    except ValidationError as error:
        raise RetrievalError(
            f"{path / MANIFEST_FILE} is damaged ({field_error(error)}); {again}"
        ) from None


def _check_file(file: Path, size: int, again: str) -> None:
    if not file.is_file():
        raise RetrievalError(f"{file} is missing: the index is damaged; {again}")
    found = file.stat().st_size
    if found != size:
        raise RetrievalError(
            f"{file} has {found} bytes where {size} are expected: the index is damaged; {again}"
        )


def _check_contents(path: Path, manifest: IndexManifest, again: str) -> None:
    """Compare checksums: what is damaged without another size is found before it is searched."""

    def check() -> str:
        for name, checksum in manifest.sha256.items():
            if sha256_file(path / name) != checksum:
                raise RetrievalError(
                    f"{path / name} does not hold what was written: the index is damaged; {again}"
                )
        return "whole"

    if sum(manifest.files.values()) <= SMALL_BYTES:
        check()
    else:
        remembered(path, [path / name for name in (MANIFEST_FILE, *manifest.sha256)], check)
