"""One keeper of folders: who may write one, what it was made with, whether it is whole.

Run folders, examples, trainings, indexes and pipelines are all written through this module: a lock
for one process at a time, the settings that a folder was made with, a folder that appears whole or
not at all, and digests by which the contents of a folder are known again.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import orjson

from steper.errors import InputError, SettingsError, needing_room, writing_to
from steper.redaction import without_secrets
from steper.store import feed, sha256_file, write_json

log = logging.getLogger(__name__)

MANIFEST, LOCK, WORK = "manifest.json", ".lock", ".work"

MODEL_FILES = (".json", ".safetensors", ".bin", ".jinja", ".model", ".txt", ".gguf")

LOCK_TRIES = 100
RACY_NS = 2_000_000_000
KNOWN_FOLDERS = 256
SLOW_BYTES = 1 << 30

_TEMPORARY = re.compile(r"\.(.+)\.[a-z0-9_]{8}\.tmp")
"""What `atomic_writer` calls an unfinished file."""


class Lock:
    """The right to write a folder, for one process at a time; a killed one loses it, too.

    `file` is held by `flock`. Who finds it taken gets `refusal` as an InputError.
    """

    def __init__(self, file: Path, refusal: str) -> None:
        self.file = file
        self.refusal = refusal
        self._fd: int | None = None

    def take(self) -> None:
        """Take the lock; its folder is made where it is missing."""
        for _ in range(LOCK_TRIES):
            with suppress(FileNotFoundError):  # its last holder removed it just now
                self._try()
            if self._fd is not None:
                return
        raise InputError(f"{self.file}: cannot be locked, for it vanishes again and again")

    def _try(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(self.file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A file that was removed between the two calls is nobody's lock any more.
            if os.path.samestat(os.fstat(fd), self.file.stat()):
                self._fd = fd
        except BlockingIOError:
            raise InputError(self.refusal) from None
        finally:
            if self._fd is None:
                os.close(fd)

    def release(self) -> None:
        """Let go; once is enough."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> Lock:
        self.take()
        return self

    def __exit__(self, *error: object) -> None:
        self.release()


def lock_folder(folder: Path, refusal: str, files: Collection[str]) -> Lock:
    """Take a folder for writing; what a killed process left unfinished of `files` is removed.

    Only temporary files of these names, which nobody writes without the lock, are touched.
    """
    lock = Lock(folder / LOCK, f"{folder}: {refusal}")
    with writing_to(folder):
        lock.take()
        for path in folder.iterdir():
            found = _TEMPORARY.fullmatch(path.name)
            if found and found[1] in files:
                path.unlink(missing_ok=True)
    return lock


def begun(folder: Path, kind: str) -> bool:
    """Whether the folder has a manifest.

    Raises InputError where it is a file, or holds other things than `kind` ("a run folder").
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; {kind} was expected")
    if (folder / MANIFEST).exists():
        return True
    names = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    passing = (LOCK, WORK)
    strange = [name for name in names if name not in passing and not _TEMPORARY.fullmatch(name)]
    if strange:
        raise InputError(
            f"{folder} holds {strange[0]!r} and no {MANIFEST}: not {kind}; "
            "name an empty or new folder"
        )
    return False


def as_json(value: dict[str, Any]) -> dict[str, Any]:
    """The value as JSON would give it back, without the keys in its web addresses."""
    plain: dict[str, Any] = without_secrets(orjson.loads(orjson.dumps(value)))
    return plain


def settings_hash(settings: dict[str, Any]) -> str:
    """Short hash of settings."""
    return hashlib.sha256(orjson.dumps(settings, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def differing(old: Any, new: Any, name: str = "") -> Iterator[str]:
    """`name is A there, B now` for each setting that differs."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from differing(old.get(key), new.get(key), f"{name}.{key}" if name else key)
    elif old != new:
        yield f"{name} is {_short(old)} there, {_short(new)} now"


def _short(value: Any) -> str:
    text = orjson.dumps(value).decode()
    return text if len(text) <= 60 else text[:57] + "…"


def listed(differences: Sequence[str]) -> str:
    """The first three differences in one line."""
    return "; ".join(differences[:3]) + (" …" if len(differences) > 3 else "")


def check_settings(folder: Path, old: Any, new: Any, verb: str = "made") -> None:
    """Raise SettingsError, saying which differ, where a folder was made with other settings."""
    if differences := list(differing(without_secrets(old), new)):
        raise SettingsError(
            f"{folder} was {verb} with other settings: {listed(differences)}. "
            "Use another --out, or --overwrite to begin anew"
        )


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A new folder that takes the place of `path` on success, where something was put into it.

    It is made in a work folder beside `path`, of which one process at a time holds the lock: a
    second one is refused (InputError). What a killed process left in there is removed first, and
    the folder that it was about to replace put back. Journals beside the new folder stay until one
    succeeds.
    """
    path = Path(os.path.realpath(path))  # a link to a folder stays, and the folder is replaced
    work = path.with_name(f".{path.name}.steper.tmp")
    made = [folder for folder in path.parents if not folder.exists()]
    lock = Lock(work / LOCK, f"{path}: another steper process is writing it")
    with writing_to(path):
        lock.take()
    try:
        _clear(work, path)
        new = work / "new"
        with writing_to(path):
            new.mkdir()
        with needing_room(path):
            yield new
        if any(new.iterdir()):
            with writing_to(path):
                _put(new, path, work / "old")
        for left in work.iterdir():
            if left.is_file() and left != lock.file:
                left.unlink()
    finally:
        try:
            _clear(work, path)
        finally:
            lock.file.unlink(missing_ok=True)
            lock.release()
            for folder in (work, *made):
                with suppress(OSError):  # not empty, or another process's by now
                    folder.rmdir()


def _put(new: Path, path: Path, old: Path) -> None:
    """Let a whole folder take the place of `path`; what was there is kept as `old`."""
    _sync(*new.rglob("*"), new)
    if path.exists():
        path.rename(old)
    new.rename(path)
    _sync(path.parent)


def _clear(work: Path, path: Path) -> None:
    """Empty a work folder; an old folder that nothing took the place of goes back to `path`."""
    old = work / "old"
    if old.exists() and not path.exists():
        old.rename(path)
    for folder in (old, work / "new"):
        shutil.rmtree(folder, ignore_errors=True)


def _sync(*paths: Path) -> None:
    """Force files and folders to the disk."""
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def model_digest(model: Path) -> str:
    """SHA-256 over names, sizes and contents of configuration, tokenizer and weight files.

    `model` is a folder, or a file that holds all of these (GGUF).

    Every byte counts: a checkpoint of the same training may differ in few. What decides a student's
    prompts counts, too (`steper.json`); how it was made (manifest, log, checkpoints) does not.
    """
    folder = model.is_dir()
    files = sorted(p for p in model.iterdir() if _counts(p)) if folder else [model]

    def read() -> str:
        digest = hashlib.sha256()
        for path in files:
            digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
            feed(digest, path)
        return digest.hexdigest()

    return remembered(model, files, read)


def _counts(path: Path) -> bool:
    return path.suffix in MODEL_FILES and path.name != MANIFEST and path.is_file()


def file_checksum(path: Path) -> str:
    """Hex SHA-256 of a file's bytes, which are read once for each state of it."""
    return remembered(path, [path], lambda: sha256_file(path))


def model_checksums(folder: Path) -> dict[str, str]:
    """Name → SHA-256 of each file that a model's digest counts."""
    files = (path for path in sorted(folder.iterdir()) if _counts(path))
    return {path.name: file_checksum(path) for path in files}


def changed_files(folder: Path, manifest: Mapping[str, Any]) -> list[Path]:
    """The files of a folder that are not what its manifest has checksums of, such as edited ones.

    Folders of before have no checksums. What cannot be read is for whoever reads it to tell.
    """
    checksums = manifest.get("sha256")
    known = checksums.items() if isinstance(checksums, dict) else ()
    there = ((folder / str(name), checksum) for name, checksum in known)
    return [path for path, sha in there if not path.is_file() or file_checksum(path) != sha]


def settings_changed(manifest: Mapping[str, Any]) -> bool:
    """Whether the settings in a manifest are not those that it has a hash of."""
    made_with, known = manifest.get("settings"), manifest.get("settings_hash")
    return bool(known) and isinstance(made_with, dict) and settings_hash(made_with) != known


def warn_of_changes(folder: Path, manifest: Mapping[str, Any], gone: bool = False) -> None:
    """One line for each file of a finished folder that is not what was written.

    Of missing ones only where `gone`: where nothing else would tell. The settings in the manifest
    count as one.
    """
    if settings_changed(manifest):
        log.warning(
            "%s: its settings were changed since it was written; they are read as they are",
            folder / MANIFEST,
        )
    for path in changed_files(folder, manifest):
        if path.is_file():
            log.warning("%s: changed since it was written; it is read as it is", path)
        elif gone:
            log.warning("%s: missing or unreadable, but it was written", path)


def remembered(folder: Path, files: Sequence[Path], read: Callable[[], str]) -> str:
    """What `read` makes of the contents of a folder's files, read once for each state of them.

    A state is each file's name, size and times. Kept in the user's cache folder; nothing is kept
    of files that changed within two seconds before: another change could leave the same times.
    """
    began, state, key = time.time_ns(), _state(folder, files), str(folder.resolve())
    known = _known().get(key)
    if isinstance(known, dict) and known.get("files") == state and known.get("value"):
        return str(known["value"])
    size = sum(row[1] for row in state)
    if size > SLOW_BYTES:
        log.info("%s: reading all of its %.1f GB, once for this state", folder, size / 1e9)
    value = read()
    newest = max((at for row in state for at in row[2:]), default=0)
    if newest < began - RACY_NS and _state(folder, files) == state:
        _remember(key, {"files": state, "value": value})
    return value


def _state(folder: Path, files: Sequence[Path]) -> list[list[Any]]:
    """[name, size, mtime, ctime] of each file."""
    found = ((path.relative_to(folder).as_posix(), path.stat()) for path in files)
    return [[name, s.st_size, s.st_mtime_ns, s.st_ctime_ns] for name, s in found]


def _cache_file() -> Path:
    """Raises RuntimeError where there is no home."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "steper" / "digests.json"


def _known() -> dict[str, Any]:
    try:
        value = orjson.loads(_cache_file().read_bytes())
    except (OSError, RuntimeError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _remember(key: str, entry: dict[str, Any]) -> None:
    """Keep an entry, the newest last; where that cannot be done the files are read again."""
    entries = {k: v for k, v in _known().items() if k != key}
    entries[key] = entry
    with suppress(InputError, RuntimeError, TypeError):
        write_json(_cache_file(), dict(list(entries.items())[-KNOWN_FOLDERS:]))
