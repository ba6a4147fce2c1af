"""Files as items: each row with its place for errors, checked against its format's fields.

A field that the format does not have is not read, and named once for the whole file; a field that
it needs and that is missing is an error, which names the field that may have been meant.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    ValidationError,
    model_validator,
)

from steper.data.rows import read_rows
from steper.errors import InputError
from steper.store import field_error

log = logging.getLogger(__name__)

M = TypeVar("M", bound="BenchmarkRow")


def _filled(text: str) -> str:
    if not text.strip():
        raise ValueError("a text that is not blank was expected")
    return text


Filled = Annotated[str, AfterValidator(_filled)]
"""A text that is not blank."""


class BenchmarkRow(BaseModel):
    """Base of the raw rows of files; fields that it does not know are kept apart as extra ones."""

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, row: Any) -> Any:
        """Parquet writes null where a row has no such field."""
        if not isinstance(row, dict) or None not in row.values():
            return row
        needed = _names(cls, needed=True)
        return {name: v for name, v in row.items() if v is not None or name in needed}


def _names(row: type[BenchmarkRow], *, needed: bool = False) -> list[str]:
    """The fields of a row as files name them; with `needed` those that must be there."""
    fields = row.model_fields.items()
    return [info.alias or name for name, info in fields if info.is_required() or not needed]


@dataclass
class Ignored:
    """Fields of a file's rows that its format does not have, each with how many rows have it.

    A field of an inner row stands under its path, `paragraphs[].note`. `meant` are known fields of
    a like name that a row with the field lacked.
    """

    rows: Counter[str] = field(default_factory=Counter)
    meant: dict[str, str] = field(default_factory=dict)

    def add(self, row: BenchmarkRow) -> None:
        """Count the extra fields of a row and of the rows in it, once each."""
        if names := dict(_extras(row, "")):
            self.rows.update(names.keys())
            self.meant.update({name: near for name, near in names.items() if near})

    def warn(self, path: Path) -> None:
        """Log one line that names them all, if there are any."""
        if self.rows:
            hints = (f" (did you mean {n}?)" if (n := self.meant.get(f)) else "" for f in self.rows)
            named = ", ".join(name + hint for name, hint in zip(self.rows, hints, strict=True))
            log.warning("%s: fields that are not read: %s", path, named)


def _extras(row: BenchmarkRow, place: str) -> Iterator[tuple[str, str | None]]:
    """(path of an extra field, the field that may be meant) of a row and of the rows in it."""
    for name in row.model_extra or ():
        absent = set(_names(type(row))) - _given(row)
        yield f"{place}{name}", next(iter(get_close_matches(name, absent, n=1)), None)
    for name, value in vars(row).items():
        if isinstance(value, list) and value and isinstance(value[0], BenchmarkRow):
            for one in value:
                yield from _extras(one, f"{place}{name}[].")
        elif isinstance(value, BenchmarkRow):
            yield from _extras(value, f"{place}{name}.")


def _given(row: BenchmarkRow) -> set[str]:
    known = type(row).model_fields
    return {known[name].alias or name for name in row.model_fields_set if name in known}


@dataclass(frozen=True, slots=True)
class Item:
    """One object of a file and where it stands (`line 17`, `item 3`, `row 5`)."""

    path: Path
    place: str
    value: dict[str, Any]
    ignored: Ignored = field(default_factory=Ignored, compare=False, repr=False)

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
        """The item as a `row`; a missing or wrong field is an InputError.

        Fields that the format does not have go to `ignored`.
        """
        try:
            parsed = row.model_validate(self.value)
        except ValidationError as error:
            problem = field_error(error)
            raise self.error(f"{problem}{_mend(error, row, self, format_name)}") from None
        self.ignored.add(parsed)
        return parsed


def _mend(error: ValidationError, row: type[BenchmarkRow], item: Item, format_name: str) -> str:
    """What to do about a missing field: the one that may be meant by it, and those needed."""
    first = error.errors()[0]
    if first["type"] != "missing":
        return ""
    *outer, missing = first["loc"]
    needed = ", ".join(_names(row, needed=True))
    needs = "" if outer else f"; {format_name} needs {needed}"
    return meant(first["input"], [str(missing)], None if outer else row) + needs


def meant(value: Any, missing: Sequence[str], row: type[BenchmarkRow] | None = None) -> str:
    """`; did you mean text by txt?` where a field of `value` is nearly one of those missing.

    Fields of `row` are never meant for others.
    """
    known = set(_names(row)) if row else set()
    for name in value if isinstance(value, dict) else ():
        if name not in known and (near := get_close_matches(str(name), missing, n=1)):
            return f"; did you mean {near[0]} by {name}?"
    return ""


def read_items(path: Path | str, *, tables: bool = False) -> Iterator[Item]:
    """The rows of a file as items (see `rows.read_rows`); they share their `ignored`."""
    path = Path(path)
    ignored = Ignored()
    for place, row in read_rows(path, tables=tables):
        yield Item(path, place, row, ignored)
