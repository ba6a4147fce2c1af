"""A study's file → its cells, each the settings of a pipeline.

    study: {title: Few trajectories or many, x: [trajectories]}
    data: …                                  # a pipeline's sections: what cells have in common
    cells:
      "300": {examples: {questions: 300}}    # what differs, over the common sections
      "1000": {examples: {questions: 1000}}
    quick: {seeds: [0]}                      # over all of it, with --quick

In a cell a list of names in place of `data`, `students` or `recipes` takes these of the common
section, and a strategy of another name begins with its own defaults.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from steper.errors import InputError, SettingsError, unknown_name
from steper.lm.model_settings import Settings
from steper.pipeline.config import PipelineSettings, check_names
from steper.pipeline.load import (
    STUDIES,
    Configuration,
    Place,
    apply_all,
    find_configuration,
    lines_of,
    merge,
    resolve_paths,
    settings_of,
)
from steper.store import field_error, read_yaml
from steper.strategy import DEFAULT

OWN = ("study", "cells", "quick")
SECTIONS = (*OWN, *PipelineSettings.model_fields)
NAMED = ("data", "students", "recipes")
WHOLE = ("jobs", "ray_address", "report")
PARTS = tuple(name for name in PipelineSettings.model_fields if name not in WHOLE)
"""The sections that a cell may have; the others are those of the whole study."""

Measure = Literal["tokens", "seconds", "dollars", "parameters", "trajectories"]
"""What scores are drawn against: of a question, of the student, of its training."""


class StudySettings(Settings):
    """What a study shows beside its cells."""

    title: str = Field("", description="heading of the report (none: the study's name)")
    about: str = Field("", description="what it asks, in a sentence or two, for the report")
    x: tuple[Measure, ...] = Field(
        ("tokens",),
        description="a plot of scores against each: tokens, seconds or dollars of a question, "
        "parameters of the student, trajectories learnt from",
    )
    against: dict[str, str] = Field(
        default_factory=dict,
        description="rows that are compared with another row than their cell's baseline, by the "
        "names that tables give them",
    )


@dataclass(frozen=True)
class StudyFile:
    """A study as its file has it; `cells` are in the file's order."""

    name: str
    settings: StudySettings
    cells: dict[str, PipelineSettings]

    @property
    def common(self) -> PipelineSettings:
        """The first cell, for what all have in common."""
        return next(iter(self.cells.values()))


def find_study(given: str) -> Configuration:
    """The file of that path or, where there is none, the shipped study of that name."""
    return find_configuration(given, "study", STUDIES)


def load_study(
    path: Path | str,
    overrides: Sequence[str] = (),
    base: Path | None = None,
    options: Mapping[str, str] | None = None,
    *,
    name: str | None = None,
    quick: bool = False,
) -> StudyFile:
    """The study of a YAML file, with `KEY.KEY=VALUE` overrides and `options` over it.

    Both, and `base`, are as in `steper.pipeline.load.load_settings`. `quick` puts its section of
    that name over the others; `cells` there stand in place of the file's.
    Raises InputError or SettingsError, one line with file, line and place, for whatever is wrong.
    """
    path = Path(path)
    value = read_yaml(path)
    if not isinstance(value, dict):
        raise InputError(f"{path}: sections were expected ({', '.join(SECTIONS)})")
    where = lines_of(path)
    _resolve(value, base or path.absolute().parent)
    if quick:
        where |= _lifted(where, "quick")
        _hurry(path, value, where)
    where |= apply_all(value, overrides, options)
    _check_keys(value, (), SECTIONS, path, where)
    common = {key: part for key, part in value.items() if key not in OWN}
    cells = {
        str(cell): _cell(common, str(cell), over, path, where)
        for cell, over in (_section(path, value, "cells") or {"": {}}).items()
    }
    return StudyFile(name or path.stem, _study_settings(path, value, where), cells)


def _resolve(value: dict[str, Any], base: Path) -> None:
    """Make the paths of a study absolute, those of its cells and of `quick`, too."""
    resolve_paths(value, base)
    cells = value.get("cells")
    for cell in cells.values() if isinstance(cells, dict) else ():
        if isinstance(cell, dict):
            resolve_paths(cell, base)
    if isinstance(value.get("quick"), dict):
        _resolve(value["quick"], base)


def _lifted(where: Mapping[Place, str], *above: str) -> dict[Place, str]:
    """The places below a section, as if they stood at the top."""
    depth = len(above)
    below = {place: at for place, at in where.items() if len(place) > depth}
    return {place[depth:]: at for place, at in below.items() if place[:depth] == above}


def _hurry(path: Path, value: dict[str, Any], where: Mapping[Place, str]) -> None:
    """Put section `quick` over the others, in place."""
    quick = _section(path, value, "quick")
    _check_keys(quick, (), [key for key in SECTIONS if key != "quick"], path, where)
    if "cells" in quick:
        value["cells"] = quick.pop("cells")
    merge(value, quick)


def _section(path: Path, value: dict[str, Any], name: str) -> dict[str, Any]:
    found = value.get(name) or {}
    if not isinstance(found, dict):
        raise InputError(f"{path}: section {name} must hold settings, not {found!r}")
    return found


def _check_keys(
    value: dict[str, Any],
    place: Place,
    known: Sequence[str],
    path: Path,
    where: Mapping[Place, str],
) -> None:
    for key in value:
        if key not in known:
            line = where.get((*place, str(key)), str(path))
            inside = f"section of {'.'.join(map(str, place))}" if place else "section"
            raise SettingsError(f"{line}: {unknown_name(inside, str(key), known)}")


def _study_settings(path: Path, value: dict[str, Any], where: Mapping[Place, str]) -> StudySettings:
    try:
        given = {k: v for k, v in _section(path, value, "study").items() if v is not None}
        return StudySettings.model_validate(given)
    except ValidationError as error:
        place = ("study", *error.errors()[0]["loc"])
        line = next((where[place[:n]] for n in (2, 1) if place[:n] in where), str(path))
        raise SettingsError(f"{line}: study.{field_error(error)}") from None


def _cell(
    common: dict[str, Any], cell: str, over: Any, path: Path, where: Mapping[Place, str]
) -> PipelineSettings:
    """The settings of a cell: the common sections with its own over them."""
    place = ("cells", cell)
    line = where.get(place, str(path))
    over = {} if over is None else over
    if not isinstance(over, dict):
        raise InputError(f"{line}: cell {cell} must hold sections, not {over!r}")
    _check_keys(over, place, PARTS, path, where)
    try:
        check_names({cell: None} if cell else {})
        value = put_over(common, over)
    except ValueError as error:
        raise SettingsError(f"{line}: cells.{cell}: {error}") from None
    return settings_of(value, path, {**where, **_lifted(where, *place)})


def put_over(common: dict[str, Any], cell: dict[str, Any]) -> dict[str, Any]:
    """The common sections with a cell's over them; see the module for lists and strategies.

    Raises ValueError for a name that the common section lacks.
    """
    value, over = deepcopy(common), deepcopy(cell)
    for section in NAMED:
        if isinstance(over.get(section), list):
            value[section] = _picked(section, value.get(section), over.pop(section))
    own, shared = over.get("strategy"), value.get("strategy")
    if isinstance(own, dict) and isinstance(shared, dict):
        name = shared.get("name", DEFAULT)
        if own.get("name", name) != name:
            del value["strategy"]
    merge(value, over)
    return value


def _picked(section: str, common: Any, names: list[Any]) -> dict[str, Any]:
    """Those of a common section that are named; a recipe may be named for the first time."""
    known = common if isinstance(common, dict) else {name: {} for name in common or ()}
    for name in names:
        if name not in known and section != "recipes":
            raise ValueError(unknown_name(f"one of {section}", str(name), map(str, known)))
    return {name: known.get(name, {}) for name in names}
