"""Command-line options made from settings classes: one default, one description, in one place.

Every field of a settings class becomes an option that is None unless given. What is given goes over
the configuration file's value, which goes over the class's default.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Optional, TypeVar, get_origin

import orjson
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from steper.errors import InputError, SettingsError, unknown_name
from steper.store import field_error, open_input

M = TypeVar("M", bound=BaseModel)


def options(name: str, classes: Iterable[type[BaseModel]], skip: Iterable[str] = ()) -> Any:
    """A class whose fields are those of all `classes`, optional; shared names stand once.

    Fields that hold a dictionary can stand in the configuration file alone.
    """
    fields: dict[str, Any] = {}
    for cls in classes:
        for field, info in cls.model_fields.items():
            if field in skip or field in fields or get_origin(info.annotation) is dict:
                continue
            default = info.get_default(call_default_factory=True)
            shown = _shown(default)
            text = f"{(info.description or field).rstrip('.')}. [default: {shown}]"
            fields[field] = (Optional[info.annotation], Field(None, description=text))  # noqa: UP045
    return create_model(name, __config__=ConfigDict(frozen=True), **fields)


def _shown(default: Any) -> str:
    """A default as one types it."""
    if default is None or isinstance(default, bool):
        return str(default).lower()
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)


def given(values: BaseModel | None) -> dict[str, Any]:
    """The options that were given."""
    return {k: v for k, v in values.model_dump().items() if v is not None} if values else {}


def merge(cls: type[M], section: dict[str, Any], values: dict[str, Any], place: str) -> M:
    """Settings of `cls` from a configuration section and the options given over it.

    Options of `values` that the class does not have are not its own and are passed over.
    """
    mine = {k: v for k, v in values.items() if k in cls.model_fields}
    try:
        return cls.model_validate({**section, **mine})
    except ValidationError as error:
        field = str(error.errors()[0]["loc"][0]) if error.errors()[0]["loc"] else ""
        problem = field_error(error)
        if field not in mine:  # the file's, or options that do not go together
            raise SettingsError(f"{place}, {problem}" if section else problem) from None
        raise SettingsError(f"--{field.replace('_', '-')}{problem.removeprefix(field)}") from None


def read_config(path: Path | None, sections: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The sections of a YAML configuration file; a missing one is empty, an unknown one refused."""
    known = list(sections)
    if path is None:
        return {name: {} for name in known}
    with open_input(path) as file:
        try:
            value = yaml.safe_load(file)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = f", line {mark.line + 1}" if mark else ""
            problem = getattr(error, "problem", None) or "cannot be read"
            raise InputError(f"{path}{line}: not YAML ({problem})") from None
    value = (
        {k: {} if v is None else v for k, v in value.items()} if isinstance(value, dict) else value
    )
    value = value or {}
    if not isinstance(value, dict):
        raise InputError(f"{path}: sections were expected ({', '.join(known)})")
    for name, section in value.items():
        if name not in known:
            raise InputError(f"{path}: {unknown_name('section', str(name), known)}")
        if not isinstance(section, dict):
            raise InputError(f"{path}: section {name} must hold settings, not {section!r}")
    return {name: value.get(name, {}) for name in known}


def one_line(value: Any) -> str:
    """A value as compact JSON."""
    return orjson.dumps(value).decode()
