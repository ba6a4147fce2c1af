"""Sections of a configuration that are checked by hand, and what fields a section may have."""

from __future__ import annotations

from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from steper.errors import SettingsError

M = TypeVar("M", bound=BaseModel)


class SectionError(SettingsError):
    """A bad value inside a section that is checked by hand; `place` leads to the section."""

    def __init__(self, place: tuple[str | int, ...], error: ValidationError, cls: Any) -> None:
        super().__init__(str(error))
        self.place, self.error, self.cls = place, error, cls


class PlacedError(SettingsError):
    """A wrong value that the setting at `place` has."""

    def __init__(self, place: tuple[str | int, ...], problem: str) -> None:
        super().__init__(problem)
        self.place = place


def checked_section(cls: type[M], values: dict[str, Any], place: tuple[str | int, ...]) -> M:
    """The settings that a section holds; SectionError at its `place` where a value is bad."""
    try:
        return cls.model_validate(values)
    except ValidationError as error:
        raise SectionError(place, error, cls) from None


def known_fields(cls: Any, place: tuple[str | int, ...]) -> list[str]:
    """The names that a section may have: the fields of the model at `place` below `cls`."""
    annotation = cls
    for part in place:
        model = _model(annotation)
        if model is not None:
            field = model.model_fields.get(str(part))
            annotation = field.annotation if field else None
        else:
            annotation = get_args(annotation)[1] if get_origin(annotation) is dict else None
    found = _model(annotation)
    return list(found.model_fields) if found else []


def _model(annotation: Any) -> type[BaseModel] | None:
    """The settings class that an annotation is, alone or as `Class | None`."""
    inside = () if get_origin(annotation) is dict else get_args(annotation)
    for candidate in (annotation, *inside):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None
