"""Errors a user can mend.

Every error that the user's input, settings or surroundings can cause is a `SteperError`: its text
is one line that says what, where, the value, what was expected and how to mend it. The command
line prints that line and exits 2. Anything else that is raised is a bug and keeps its traceback.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path


class SteperError(Exception):
    """Base of all errors that the user can mend; `str(error)` is one clear line."""


class InputError(SteperError):
    """A file or value given by the user is not what was expected."""


class SettingsError(SteperError):
    """Settings contradict each other, or contradict those that a run folder was made with."""


class MissingExtraError(SteperError):
    """An optional dependency is not installed; the text names the extra that holds it."""


class ModelError(SteperError):
    """A language model could not be loaded or did not answer."""


class RetrievalError(SteperError):
    """A retriever could not be reached, or its index does not fit its settings."""


class QuestionDropped(Exception):
    """One question cannot be carried on, for a reason that belongs in its record (no fault).

    Raised by a teacher that cannot know the next step (a gold passage was not retrieved). The
    engine records the trajectory as dropped with `reason`.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
WRITERS_WORDS = (
    *(f"(os error {code})" for code in NO_ROOM),
    "PytorchStreamWriter failed",
    "unexpected pos",
)
"""How safetensors and torch say that a file cannot be written; they raise no OSError."""


@contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """What the system refuses (no room, no right to write) as an InputError that names `path`."""
    try:
        yield
    except OSError as error:
        raise _not_written(path, error) from None


@contextmanager
def needing_room(path: Path) -> Iterator[None]:
    """A full disk as an InputError that names `path`, whichever library met it; nothing else."""
    try:
        yield
    except Exception as error:
        if not lacks_room(error):
            raise
        raise _not_written(path, error) from None


def lacks_room(error: Exception) -> bool:
    """Whether something could not be written for want of room: disk, quota, largest file."""
    if isinstance(error, OSError):
        return error.errno in NO_ROOM
    return any(words in str(error) for words in WRITERS_WORDS)


def _not_written(path: Path, error: Exception) -> InputError:
    reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
    mend = "; make room, and give the same command again" if lacks_room(error) else ""
    return InputError(f"{path}: cannot be written ({reason}){mend}")


def brief_reason(error: BaseException, longest: int) -> str:
    """The first line of what an error says, and the next if it ends in ":", as one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    first = lines[0] if lines else ""
    return " ".join(lines[: 1 + first.endswith(":")])[:longest]


def unknown_name(what: str, name: str, known: Iterable[str]) -> str:
    """One line for an unknown name, with the nearest known ones."""
    known = sorted(known)
    near = get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
    return f"unknown {what} {name!r}; {hint}"


def missing_extra(package: str, extra: str, error: ImportError | None = None) -> MissingExtraError:
    """The error for an optional `package` that the extra `extra` installs.

    `error` is what its import raised: a package that is there, but does not fit the others, is not
    called missing.
    """
    if error is None or isinstance(error, ModuleNotFoundError):
        what, install = "is not installed", "pip install"
    else:
        what = f"cannot be imported ({brief_reason(error, 300).rstrip('.')})"
        install = "pip install --upgrade"
    return MissingExtraError(
        f"this needs the package {package}, which {what}: {install} 'steper[{extra}]'"
    )
