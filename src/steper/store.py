"""Files: JSON lines read with every bad line named, written atomically, each with its manifest."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from functools import cache
from glob import escape as glob_escape
from importlib import metadata, resources
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import IO, Any, TypeVar

import orjson
import yaml
from pydantic import BaseModel, ValidationError

from steper.errors import InputError, SettingsError, writing_to
from steper.redaction import each_string
from steper.text import without_surrogates

R = TypeVar("R", bound=BaseModel)

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""What Windows programs put before UTF-8 text."""

DEEPEST = 50
"""Levels of a configuration file, at most."""

MANIFEST_PACKAGES = ("steper", "bm25s", "torch", "transformers", "openai")


@contextmanager
def atomic_writer(path: Path | str) -> Iterator[IO[bytes]]:
    """A binary file that appears at `path` whole, on success, or not at all.

    What killed writers of `path` left is removed. Raises InputError where the system does not let
    it be written.
    """
    path = Path(path)
    with writing_to(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = _locked_temporary(path)
        try:
            with os.fdopen(handle, "wb") as out:
                yield out
                out.flush()
                os.fsync(out.fileno())
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _locked_temporary(path: Path) -> tuple[int, Path]:
    """A temporary file beside `path`, locked as long as it is open: so it is known to be in use."""
    for left in path.parent.glob(f".{glob_escape(path.name)}.????????.tmp"):
        with suppress(OSError), left.open("rb") as file:
            flock(file, LOCK_EX | LOCK_NB)
            left.unlink()
    while True:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        with suppress(OSError):  # where nothing can be locked, nothing is removed either
            flock(handle, LOCK_EX)
        if Path(name).exists():  # else another process took it for what is left of a killed one
            return handle, Path(name)
        os.close(handle)


def dump_line(value: BaseModel | dict[str, Any]) -> bytes:
    """One JSON line, with its newline."""
    data = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    return orjson.dumps(data, option=orjson.OPT_APPEND_NEWLINE)


def write_jsonl(path: Path | str, rows: Iterable[BaseModel | dict[str, Any]]) -> int:
    """Write all rows atomically; returns how many there were."""
    count = 0
    with atomic_writer(path) as out:
        for row in rows:
            out.write(dump_line(row))
            count += 1
    return count


def cut_unfinished_line(fd: int) -> int:
    """Cut off what a crash left of a file's last line; returns the file's length."""
    size, end = os.fstat(fd).st_size, 0
    if size:
        with mmap(fd, 0, access=ACCESS_READ) as whole:
            end = whole.rfind(b"\n") + 1
    if end != size:
        os.ftruncate(fd, end)
    return end


def check_out(out: Path | str, *inputs: Path | str) -> None:
    """Raise InputError where `out` is one of the `inputs`: it would be gone before it is read."""
    place = os.path.realpath(out)  # Path.resolve raises at links in a circle
    for one in inputs:
        if os.path.realpath(one) == place:
            raise InputError(f"--out {out} is what is to be read; name another place")


def write_json(path: Path | str, value: Any) -> None:
    """Write one indented JSON value atomically."""
    with atomic_writer(path) as out:
        out.write(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def open_input(path: Path | str) -> IO[bytes]:
    """Open a file the user named; a missing or unreadable one is an InputError."""
    path = Path(path)
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder; a file was expected")
        return path.open("rb")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def read_json(path: Path | str) -> Any:
    """The JSON value of a file; broken JSON is named by file, line and column."""
    with open_input(path) as file:
        return parse_json(path, file.read())


def parse_json(path: Path | str, text: bytes, *, foreign: bool = False) -> Any:
    """The JSON value of a file's text, which may begin with a byte-order mark.

    `foreign`: of a file of the user's, see `_foreign_json`.
    """
    text = text.removeprefix(BYTE_ORDER_MARK)
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if foreign and (value := _foreign_json(text)) is not None:
            return value
        raise _not_json(path, text, error) from None


def _foreign_json(text: bytes) -> Any:
    """The value of what Python's `json` writes and JSON has not: NaN, halves of a character (�).

    None where that cannot read it either.
    """
    try:
        return each_string(json.loads(text.decode("utf-8")), without_surrogates)
    except (ValueError, RecursionError):
        return None


def _not_json(
    path: Path | str, text: bytes, error: orjson.JSONDecodeError, line: int | None = None
) -> InputError:
    """The error for a file's text, or `line` of it: that it is no JSON, or first no UTF-8.

    orjson says of the latter "surrogates not allowed", and that of the first column.
    """
    try:
        text.decode("utf-8")
    except UnicodeDecodeError as wrong:
        before = text[: wrong.start]
        byte = wrong.start - before.rfind(b"\n") - 1
        place = line or before.count(b"\n") + 1
        return InputError(
            f"{path}, line {place}: not UTF-8 (byte {byte} is "
            f"{text[wrong.start]:#x}); save the file as UTF-8"
        )
    place = line or error.lineno
    return InputError(f"{path}, line {place}, column {error.colno}: not JSON ({error.msg})")


def read_json_lines(path: Path | str) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) of each non-blank line; a bad line is named."""
    with open_input(path) as file:
        yield from parse_json_lines(path, file)


def parse_json_lines(
    path: Path | str, lines: Iterable[bytes], *, foreign: bool = False
) -> Iterator[tuple[int, dict[str, Any]]]:
    """`read_json_lines` of a file's lines; the first may begin with a byte-order mark.

    `foreign`: of a file of the user's, see `_foreign_json`.
    """
    for number, line in enumerate(lines, start=1):
        line = line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line
        if not line.strip():
            continue
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            value = _foreign_json(line) if foreign else None
            if value is None:
                raise _not_json(path, line, error, number) from None
        if not isinstance(value, dict):
            raise InputError(
                f"{path}, line {number}: a JSON object was expected, not {type(value).__name__}"
            )
        yield number, value


def read_yaml(path: Path | str) -> Any:
    """The YAML value of a file; what is no YAML is named by file and line."""
    with open_input(path) as file:
        text = file.read().decode("utf-8", errors="replace")
    try:
        value = yaml.safe_load(text)
        _check_nesting(value)
        return value
    except RecursionError:
        raise InputError(f"{path}: its values are nested too deeply, or in themselves") from None
    except ValueError as error:  # a date that there is not, a number of too many digits
        raise InputError(f"{path}: not YAML ({error})") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "cannot be read"
        raise InputError(f"{path}{line}: not YAML ({problem})") from None


def _check_nesting(value: Any, depth: int = 0) -> None:
    """Raise RecursionError where an anchor of YAML holds itself, or nothing could go so deep."""
    if depth > DEEPEST:
        raise RecursionError
    for item in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        _check_nesting(item, depth + 1)


def package_text(package: str, name: str) -> str:
    """The text file `name` that stands beside the modules of `package`, without outer space."""
    return resources.files(package).joinpath(name).read_text(encoding="utf-8").strip()


def package_yaml(package: str, name: str) -> Any:
    """The YAML value of a file that stands beside the modules of `package`."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where it is built
    return yaml.load(package_text(package, name), loader)


def field_error(error: ValidationError) -> str:
    """The first problem of a validation error as `field: problem, not VALUE`."""
    first = error.errors()[0]
    field = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]
    ).lstrip(".")
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        return f"{field}: unknown field"
    if first["type"] == "missing":
        return f"{field}: required field is missing"
    shown = repr(first["input"])
    if not field or isinstance(first["input"], dict):  # of a whole section it says enough itself
        return f"{field}: {message}".removeprefix(": ")
    return f"{field}: {message}, not {shown[:80]}"


def validated(cls: type[R], values: dict[str, Any], file: Path | str = "") -> R:
    """Settings of a class; SettingsError, one line, for what it does not have or allow.

    `file`: where the values are from, for the error to name.
    """
    try:
        return cls.model_validate(values)
    except ValidationError as error:
        place = [str(file)] if file else []
        if error.errors()[0]["loc"]:
            place.append(cls.__name__)
        raise SettingsError(": ".join([*place, field_error(error)])) from None


def as_settings(cls: type[R], given: BaseModel | Mapping[str, Any] | None, **more: Any) -> R:
    """Settings of a class from an object of it, or from values; `more` goes over them."""
    if isinstance(given, cls) and not more:
        return given
    return validated(cls, {**as_values(given), **more})


def as_values(given: BaseModel | Mapping[str, Any] | None) -> dict[str, Any]:
    """Settings as values by name."""
    return given.model_dump() if isinstance(given, BaseModel) else dict(given or {})


def read_records(path: Path | str, record: type[R]) -> Iterator[R]:
    """Validated records of a JSON-lines file; a bad one is named by file, line and field."""
    with open_input(path) as file:
        yield from parse_records(path, file, record)


def parse_records(path: Path | str, lines: Iterable[bytes], record: type[R]) -> Iterator[R]:
    """`read_records` of a file's lines."""
    for number, value in parse_json_lines(path, lines):
        try:
            yield record.model_validate(value)
        except ValidationError as error:
            raise InputError(f"{path}, line {number}: {field_error(error)}") from None


def sha256_file(path: Path | str) -> str:
    """Hex SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    feed(digest, Path(path))
    return digest.hexdigest()


def feed(digest: hashlib._Hash, path: Path) -> None:
    """Add a file's bytes to a digest."""
    with open_input(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """The commit of the package's own checkout, when it is run from one."""
    here = Path(__file__).resolve().parent
    try:
        done = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


@cache
def provenance() -> dict[str, Any]:
    """Versions and commit that a manifest records."""
    versions = {name: found for name in MANIFEST_PACKAGES if (found := _version(name))}
    return {"versions": versions, "git_commit": _git_commit()}
