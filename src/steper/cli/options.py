"""Command-line options made from settings classes: one default, one description, in one place.

Every field of a settings class becomes an option that is None unless given. What is given goes over
the configuration file's value, which goes over the class's default.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Optional, TypeVar, get_origin

from cyclopts import Group, Parameter
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from steper.errors import InputError, SettingsError, unknown_name
from steper.store import field_error, read_yaml

M = TypeVar("M", bound=BaseModel)

FROZEN = ConfigDict(frozen=True)
FLAT = Parameter(name="*")
"""A parameter whose fields are options of their own."""
NO_EMPTY = Parameter(negative_iterable="")
"""A parameter that may be given several times, and has no flag for an empty list."""
SWITCH = Parameter(negative="")
"""A flag that has no opposite."""


def options(cls: type[BaseModel], skip: Iterable[str] = ()) -> Any:
    """A class with the fields of a settings class, all optional.

    Fields that hold a dictionary can stand in the configuration file alone.
    """
    fields: dict[str, Any] = {}
    for name, info in cls.model_fields.items():
        if name in skip or get_origin(info.annotation) is dict:
            continue
        shown = _shown(info.get_default(call_default_factory=True))
        text = f"{(info.description or name).rstrip('.')}. [default: {shown}]"
        kind: Any = Annotated[Optional[info.annotation], NO_EMPTY]  # noqa: UP045
        fields[name] = (kind, Field(None, description=text))
    return create_model(f"{cls.__name__}Options", __config__=FROZEN, **fields)


def _shown(default: Any) -> str:
    """A default as one types it."""
    if default is None or isinstance(default, bool):
        return str(default).lower()
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)


def grouped(groups: Mapping[str, tuple[str, Any]], base: type[BaseModel] | None = None) -> Any:
    """A class of (title in the help, class of `options`) by section, or `base` with others."""
    fields: dict[str, Any] = {}
    for section, (title, cls) in groups.items():
        shown = Parameter(name="*", group=Group(title, sort_key=10))
        fields[section] = (Annotated[Optional[cls], shown], None)  # noqa: UP045
    if base is not None:
        return create_model(base.__name__, __base__=base, **fields)
    return create_model("Options", __config__=FROZEN, **fields)


class Chosen:
    """What the sections of a configuration file and the options given set.

    `own` are a trained student's settings by section, which stand below both.
    """

    def __init__(
        self, sections: Iterable[str], config: Path | None, given: BaseModel | None
    ) -> None:
        self.file = read_config(config, sections)
        self.given: dict[str, Any] = given.model_dump(exclude_none=True) if given else {}
        self.own: dict[str, dict[str, Any]] = {}
        self._config = config

    def values(self, section: str) -> dict[str, Any]:
        """A section's values, unchecked."""
        return {
            **self.own.get(section, {}),
            **self.file.get(section, {}),
            **self.given.get(section, {}),
        }

    def settings(self, section: str, cls: type[M], **more: Any) -> M:
        """A section's settings; SettingsError that names where what is wrong was given."""
        try:
            return cls.model_validate({**more, **self.values(section)})
        except ValidationError as error:
            field = str(error.errors()[0]["loc"][0]) if error.errors()[0]["loc"] else ""
            problem = field_error(error)
            if field in self.given.get(section, {}):
                raise SettingsError(f"{_option(field)}{problem.removeprefix(field)}") from None
            names = {field} if field else _words(problem)
            place = " and ".join(self._places(section, names))
            raise SettingsError(f"{place}: {problem}" if place else problem) from None

    def _places(self, section: str, names: set[str]) -> Iterator[str]:
        """Where settings of these names were given: the student's folder, the file, options."""
        given, file, own = (at.get(section, {}) for at in (self.given, self.file, self.own))
        in_file = names & (file.keys() - given.keys())
        if names & (own.keys() - file.keys() - given.keys()) and not in_file:
            yield "the student's own settings"
        if in_file:
            yield f"{self._config}, section {section}"
        yield from (_option(name) for name in given if name in names)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


def read_config(path: Path | None, sections: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The sections of a YAML configuration file; a missing one is empty, an unknown one refused."""
    known = list(sections)
    value = read_yaml(path) if path else None
    if value and not isinstance(value, dict):
        raise InputError(f"{path}: sections were expected ({', '.join(known)})")
    found: dict[str, dict[str, Any]] = {name: {} for name in known}
    for name, section in (value or {}).items():
        if name not in known:
            raise InputError(f"{path}: {unknown_name('section', str(name), known)}")
        if not isinstance(section or {}, dict):
            raise InputError(f"{path}: section {name} must hold settings, not {section!r}")
        found[name] = section or {}
    return found


def given(**options: str | None) -> dict[str, str]:
    """Those options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def at_least(least: int, **numbers: int | None) -> None:
    """SettingsError for an option whose number is given and smaller."""
    for name, number in numbers.items():
        if number is not None and number < least:
            raise SettingsError(f"{_option(name)} is {number}; at least {least} was expected")
