"""Doors: how a part of the package is named, whether it is ours or a user's.

A part (strategy, recipe, retriever, language model, benchmark, filter) is named by

- its short name: ours, or that of an entry point of an installed plug-in;
- `package.module:Name`, any importable module's attribute;
- the object itself, in Python.

What we ship comes through the same doors: a folder or module of the door's package is found by
looking there, so that a new one needs no edit elsewhere.
"""

from __future__ import annotations

import hashlib
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, Generic, TypeVar

from steper.errors import SettingsError, unknown_name

T = TypeVar("T")

OURS = "steper"
SPEC, CODE = "spec", "code"
"""Keys in a part's fingerprint: where a part that is not ours is found, and a hash of its code."""


@dataclass(frozen=True)
class Door(Generic[T]):
    """One kind of part: `what` it is called, the entry points' `group`, and `ours` by short name.

    `check` is given what was found and its spec; it returns the part, or None for something else.
    """

    what: str
    group: str
    ours: Callable[[], Mapping[str, T]]
    check: Callable[[Any], T | None]
    expected: str

    def names(self) -> list[str]:
        """All short names: ours first, then those of installed plug-ins."""
        return [*self.ours(), *(name for name in plugins(self.group) if name not in self.ours())]

    def find(self, spec: str) -> T:
        """The part of that name; SettingsError, one line, where there is none."""
        ours = self.ours()
        if spec in ours:
            return ours[spec]
        plugin = plugins(self.group).get(spec)
        if plugin is None and not is_path_to_code(spec):
            raise SettingsError(
                f"{unknown_name(self.what, spec, self.names())}; yours is package.module:Name"
            )
        found = self.check(load_object(self.what, plugin or spec))
        if found is None:
            raise SettingsError(f"{self.what} {spec!r} is no {self.what}: expected {self.expected}")
        return found


def parts_in(package: str, *, folders: bool = False) -> Iterator[tuple[str, Any]]:
    """(module's name, what stands in it) of a package's own modules, or of its folders."""
    for module in pkgutil.iter_modules(import_module(package).__path__):
        if module.ispkg == folders:
            for part in vars(import_module(f"{package}.{module.name}")).values():
                yield module.name, part


@cache
def plugins(group: str) -> Mapping[str, str]:
    """`package.module:Name` of each entry point of a group, by its name."""
    return {point.name: point.value for point in metadata.entry_points(group=group)}


def is_path_to_code(spec: str) -> bool:
    """Whether a spec is of the form `package.module:Name`."""
    module, colon, name = spec.partition(":")
    parts = [*module.split("."), *name.split(".")]
    return bool(colon) and all(part.isidentifier() for part in parts)


def load_object(what: str, spec: str) -> Any:
    """What `package.module:Name` names; SettingsError where the module or the name is not there.

    An error inside the module is raised as it is: it is a bug of the plug-in.
    """
    place, _, name = spec.partition(":")
    try:
        found: Any = import_module(place)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{place}.".startswith(f"{error.name}."):
            raise
        raise SettingsError(
            f"{what} {spec!r}: there is no module {error.name!r}; install it, or run the command "
            "in the folder that holds it"
        ) from None
    for part in name.split("."):
        if not hasattr(found, part):
            known = [n for n in vars(found) if not n.startswith("_")]
            raise SettingsError(f"{place}: {unknown_name(what, part, known)}")
        found = getattr(found, part)
    return found


def check_allowed(what: str, spec: str, place: str, allow_code: bool) -> None:
    """Refuse code that a folder names, and that is not the package's, unless it is allowed."""
    if not allow_code and spec.partition(".")[0] != OURS:
        raise SettingsError(
            f"{place} names the {what} {spec!r}, which is code outside this package; "
            "if you trust it, add --allow-code (allow_code=True)"
        )


def opened(part: Any, has: tuple[str, ...], wrap: Callable[[Any], T], what: str) -> T:
    """A part that has these methods as it is, a class of one made, a function wrapped as one."""
    if inspect.isclass(part):
        part = part()
    if all(hasattr(part, name) for name in has):
        found: T = part
        return found
    if callable(part):
        return wrap(part)
    raise SettingsError(
        f"{part!r} is no {what}: expected one (an object with {', '.join(has)}), a class that "
        "makes one, or a function"
    )


def is_ours(part: Any) -> bool:
    """Whether a class, function or object is the package's own."""
    return _module(part).partition(".")[0] == OURS


def origin(part: Any) -> dict[str, Any]:
    """Where a part that is not ours comes from, for fingerprints; {} for one of ours.

    `code` is a hash of its source: of the whole module, and of those beside it in its package, so
    that a helper that changes shows, too. None where there is no source to read.
    """
    if is_ours(part):
        return {}
    return {SPEC: place_of(part), CODE: _code(_kind(part))}


def fingerprint_of(part: Any) -> dict[str, Any]:
    """A part's own fingerprint, and where it comes from."""
    return {**part.fingerprint(), **origin(part)}


def place_of(part: Any) -> str:
    """`package.module:Name` of a class or function, or else of the class of an object."""
    return f"{_module(part)}:{_kind(part).__qualname__}"


def _kind(part: Any) -> Any:
    return part if inspect.isclass(part) or inspect.isroutine(part) else type(part)


def _module(part: Any) -> str:
    """The module that defines a part: a function or class, or else the class of an object."""
    return str(getattr(part, "__module__", None) or type(part).__module__)


def _code(kind: Any) -> str | None:
    classes = inspect.getmro(kind) if inspect.isclass(kind) else (kind,)
    places = dict.fromkeys(c.__module__ for c in classes if not is_ours(c))
    texts = [text for name in places for text in _sources(name, kind)]
    return hashlib.sha256(b"".join(texts)).hexdigest()[:16] if texts else None


def _sources(name: str, kind: Any) -> list[bytes]:
    """The source of a module and of those beside it in a package; of a notebook's part its own."""
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    if name in sys.stdlib_module_names:
        return []
    if file is None or name == "__main__":
        try:
            return [inspect.getsource(kind).encode()]
        except (OSError, TypeError):
            return []
    path = Path(file)
    files = sorted(path.parent.glob("*.py")) if getattr(module, "__package__", "") else [path]
    return [each.read_bytes() for each in files if each.suffix == ".py"]
