"""Question files as items: JSON lines or a JSON array, each item with its place for errors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from steper.errors import InputError
from steper.store import field_error, open_input, read_json, read_json_lines

M = TypeVar("M", bound="BenchmarkRow")


class BenchmarkRow(BaseModel):
    """Base of the raw rows of benchmark files: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


@dataclass(frozen=True, slots=True)
class Item:
    """One object of a question file and where it stands (`line 17`, `item 3`)."""

    path: Path
    place: str
    value: dict[str, Any]

    @property
    def where(self) -> str:
        """`dev.json, item 3 (id '5a7…')`, for error messages."""
        own = self.value.get("_id", self.value.get("id"))
        named = f" (id {str(own)[:60]!r})" if isinstance(own, (str, int)) else ""
        return f"{self.path}, {self.place}{named}"

    def error(self, problem: str) -> InputError:
        """The error for `problem` of this item."""
        return InputError(f"{self.where}: {problem}")

    def parse(self, row: type[M], format_name: str) -> M:
        """The item as a `row`; a missing, unknown or wrong field is an InputError."""
        try:
            return row.model_validate(self.value)
        except ValidationError as error:
            problem = field_error(error)
            raise self.error(f"{problem}{_mend(error, row, format_name)}") from None


def _mend(error: ValidationError, row: type[BenchmarkRow], format_name: str) -> str:
    first = error.errors()[0]
    known = [info.alias or name for name, info in row.model_fields.items()]
    if first["type"] == "extra_forbidden" and len(first["loc"]) == 1:
        near = get_close_matches(str(first["loc"][0]), known, n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        return f"; {meant}the fields of {format_name} are {', '.join(known)}"
    if first["type"] == "missing" and len(first["loc"]) == 1:
        needed = [info.alias or n for n, info in row.model_fields.items() if info.is_required()]
        return f"; {format_name} needs {', '.join(needed)}"
    return ""


def read_items(path: Path | str) -> Iterator[Item]:
    """Items of a JSON array (`item N`, from 1) or of JSON lines (`line N`).

    Raises InputError for a missing or empty file, broken JSON, or an item that is no object.
    """
    path = Path(path)
    with open_input(path) as file:
        start = b""
        while not start and (block := file.read(4096)):
            start = block.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if not start:
        raise InputError(f"{path} is empty; a JSON array or JSON lines were expected")
    if start != b"[":
        for number, value in read_json_lines(path):
            yield Item(path, f"line {number}", value)
        return
    for number, value in enumerate(read_json(path), start=1):
        if not isinstance(value, dict):
            raise InputError(
                f"{path}, item {number}: a JSON object was expected, not {type(value).__name__}"
            )
        yield Item(path, f"item {number}", value)
