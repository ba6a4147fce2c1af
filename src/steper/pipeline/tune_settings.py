"""What a configuration says of tuning, and one combination of the values that are tried."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, field_validator

from steper.lm.model_settings import Settings

TuneMetric = Literal["em", "f1", "acc"]

SECTIONS = ("train", "examples")
"""The sections whose settings may be tried."""


class TuneSettings(Settings):
    """Settings that are chosen for each method by its scores on development questions."""

    questions: int = Field(
        500,
        ge=1,
        description="development questions that are asked: of a world's own, of data.NAME.dev, or "
        "held out of the training questions",
    )
    grid: dict[str, list[Any]] = Field(
        description="values to try by setting, such as {train.lr: [0.375e-3, 0.75e-3]}; every "
        "combination is tried, the same for each method that is trained by itself",
    )
    seed: int = Field(0, ge=0, description="the seed that the trials are trained with")
    metric: TuneMetric = Field(
        "em", description="the score on the development questions that decides: em, f1 or acc"
    )

    @field_validator("grid", mode="before")
    @classmethod
    def _dotted(cls, value: Any) -> Any:
        """`{train: {lr: [...]}}`, as `--set tune.grid.train.lr=[...]` has it, is `train.lr`."""
        if not isinstance(value, Mapping):
            return value
        flat: dict[str, Any] = {}
        for key, given in value.items():
            inner = given.items() if isinstance(given, Mapping) else ()
            flat |= {f"{key}.{name}": v for name, v in inner} if inner else {str(key): given}
        return flat

    @field_validator("grid", mode="after")
    @classmethod
    def _something(cls, value: dict[str, list[Any]]) -> dict[str, list[Any]]:
        if not value:
            raise ValueError("no setting to try; expected such as {train.lr: [0.5e-3, 1.0e-3]}")
        for key, values in value.items():
            if not values:
                raise ValueError(f"tune.grid.{key} names no value to try")
        return value

    def names(self, section: str) -> set[str]:
        """The settings of a section that are tried."""
        return {field for place in self.grid for at, field in [split(place)] if at == section}


def split(place: str) -> tuple[str, str]:
    """(section, setting) of a grid's key."""
    section, _, field = place.partition(".")
    return section, field


@dataclass(frozen=True)
class Trial:
    """One combination: values by place (`train.lr`), in the grid's order."""

    values: dict[str, Any]

    def over(self, section: str) -> dict[str, Any]:
        """Its values of a section, by setting."""
        return values_of(self.values, section)

    @property
    def name(self) -> str:
        """`train.lr=0.00075,train.epochs=3`: the name of its folder."""
        return _named(self.values)

    @property
    def built(self) -> str:
        """The same of what decides its examples; empty where nothing does."""
        return _named({f"examples.{name}": v for name, v in self.over("examples").items()})


def values_of(values: Mapping[str, Any], section: str) -> dict[str, Any]:
    """Those of a section, by setting."""
    parts = {split(place): value for place, value in values.items()}
    return {field: value for (at, field), value in parts.items() if at == section}


def _named(values: Mapping[str, Any]) -> str:
    return ",".join(
        re.sub(r"[^A-Za-z0-9._=+-]+", "-", f"{place}={value}") for place, value in values.items()
    )


def described(values: Mapping[str, Any]) -> str:
    """`lr 0.00075, epochs 3`, for tables and messages."""
    parts = ((split(place)[1].replace("_", " "), value) for place, value in values.items())
    return ", ".join(
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in parts
    )
