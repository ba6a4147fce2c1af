"""A pipeline's configuration file → settings: YAML, overrides, paths, and errors with their place.

Relative paths in the file are relative to its folder (those of a shipped recipe to the working
folder), those in overrides to the working folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from steper.errors import InputError, SettingsError, unknown_name
from steper.pipeline.config import AUTO, PipelineSettings, SectionError, known_fields
from steper.recipes import RECIPES
from steper.retrieve.opening import names_code
from steper.store import field_error, open_input

Place = tuple[str | int, ...]

DATA_PATHS = ("questions", "test", "aliases", "corpus")


def load_settings(
    path: Path | str, overrides: Sequence[str] = (), base: Path | None = None
) -> PipelineSettings:
    """The settings of a YAML file with `KEY.KEY=VALUE` overrides over them.

    The file's relative paths start from `base`; None: from its folder.
    Raises InputError or SettingsError, one line with file, line and place, for whatever is wrong.
    """
    path = Path(path)
    value, lines = _read_yaml(path)
    resolve_paths(value, base or path.absolute().parent)
    given: dict[Place, str] = {}
    for override in overrides:
        place = _apply(value, override)
        given[place] = override
    try:
        settings = PipelineSettings.model_validate(value)
        _check_sections(settings)
    except SectionError as error:
        raise _located(path, error.error, error.place, error.cls, lines, given) from None
    except ValidationError as error:
        raise _located(path, error, (), PipelineSettings, lines, given) from None
    return settings


def _read_yaml(path: Path) -> tuple[dict[str, Any], dict[Place, int]]:
    """The file's value, and the line of each of its places."""
    with open_input(path) as file:
        text = file.read().decode("utf-8", errors="replace")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "cannot be read"
        raise InputError(f"{path}{line}: not YAML ({problem})") from None
    if not isinstance(value, dict):
        known = ", ".join(PipelineSettings.model_fields)
        raise InputError(f"{path}: sections were expected ({known})")
    return value, dict(_places(node, ()))


def _places(node: Any, place: Place) -> Iterator[tuple[Place, int]]:
    yield place, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, inner in node.value:
            here = (*place, key.value)
            for found, line in _places(inner, here):
                yield found, key.start_mark.line + 1 if found == here else line
    elif isinstance(node, yaml.SequenceNode):
        for number, inner in enumerate(node.value):
            yield from _places(inner, (*place, number))


def resolve_paths(value: dict[str, Any], base: Path) -> None:
    """Make the paths of a raw configuration absolute, in place; `base` is what they start from."""
    for data in _sections(value.get("data")):
        for name in DATA_PATHS:
            if name in data:
                data[name] = _resolved(name, data[name], base)
    for section in (value.get("teacher"), *_sections(value.get("students"))):
        if isinstance(section, dict) and "model" in section:
            section["model"] = _resolved("model", section["model"], base)
    for section in (value.get("train"), *_trained(value.get("recipes"))):
        trainer = section.get("trainer") if isinstance(section, dict) else None
        if isinstance(trainer, dict) and isinstance(trainer.get("deepspeed"), str):
            trainer["deepspeed"] = _resolved("deepspeed", trainer["deepspeed"], base)
    asked = value.get("evaluate")
    if isinstance(asked, dict) and "teacher_model" in asked:
        asked["teacher_model"] = _resolved("model", asked["teacher_model"], base)


def _trained(recipes: Any) -> list[Any]:
    return [method.get("train") for method in _sections(recipes)]


def _sections(value: Any) -> list[dict[str, Any]]:
    return [v for v in value.values() if isinstance(v, dict)] if isinstance(value, dict) else []


def _resolved(name: str, value: Any, base: Path) -> Any:
    """A path from `base`; what is no path (auto, an address, a hub name) stays."""
    if not isinstance(value, str) or (
        name == "corpus" and (value == AUTO or "://" in value or names_code(value))
    ):
        return value
    if name == "model":
        folder = base / Path(value.removeprefix("hf:")).expanduser()
        is_path = value.startswith((".", "~", "hf:.", "hf:~")) or folder.is_dir()
        return str(folder.resolve()) if is_path else value
    return str((base / Path(value).expanduser()).resolve())


def _apply(value: dict[str, Any], override: str) -> Place:
    """Set what `KEY.KEY=VALUE` says; VALUE is YAML. Returns the place."""
    key, equals, text = override.partition("=")
    place = tuple(part.strip() for part in key.split("."))
    if not equals or not all(place):
        raise SettingsError(f"--set {override}: KEY.KEY=VALUE was expected, such as train.epochs=1")
    try:
        new = yaml.safe_load(text)
    except yaml.YAMLError:
        raise SettingsError(f"--set {override}: the value is not YAML") from None
    holder: dict[str, Any] = {}
    inner = holder
    for part in place[:-1]:
        inner = inner.setdefault(part, {})
    inner[place[-1]] = new
    resolve_paths(holder, Path.cwd())
    _merge(value, holder)
    return place


def _merge(into: dict[str, Any], new: dict[str, Any]) -> None:
    for key, value in new.items():
        old = into.get(key)
        if key == "recipes" and isinstance(old, list):
            old = into[key] = {name: {} for name in old}
        if isinstance(value, dict) and isinstance(old, dict):
            _merge(old, value)
        else:
            into[key] = value


def _check_sections(settings: PipelineSettings) -> None:
    """Check what pydantic alone cannot: the strategy's and the recipes' own settings."""
    _ = settings.strategy_settings
    for method, own in settings.recipes.items():
        RECIPES.find(own.recipe or method)
        settings.example_settings(method)
        settings.filter_settings(method)
        for name in ("recipe", "seed"):
            if name in own.examples or name in own.train:
                raise SettingsError(
                    f"recipes.{method}: {name} cannot be set there; `recipe` stands beside it, "
                    "and `seeds` are common to all"
                )
        settings.train_settings(method, settings.seeds[0])
    if settings.baseline not in settings.recipes and settings.baseline not in ("base", "teacher"):
        known = [*settings.recipes, "base", "teacher"]
        raise SettingsError(
            f"evaluate.baseline: {unknown_name('method', settings.baseline, known)}"
        )


def _located(
    path: Path,
    error: ValidationError,
    base: Place,
    cls: Any,
    lines: dict[Place, int],
    given: dict[Place, str],
) -> SettingsError:
    """The first problem as one line: file and line, or the override; the field; what is wrong."""
    first = error.errors()[0]
    place = (*base, *first["loc"])
    where = _where(path, place, lines, given)
    dotted = ".".join(str(part) for part in place)
    if first["type"] == "extra_forbidden":
        name = str(first["loc"][-1])
        known = known_fields(cls, first["loc"][:-1])
        above = ".".join(str(part) for part in place[:-1])
        return SettingsError(
            f"{where}: {unknown_name(f'setting of {above}' if above else 'section', name, known)}"
        )
    problem = field_error(error)
    inside = ".".join(str(part) for part in first["loc"])
    problem = problem.removeprefix(f"{inside}: ") if inside else problem
    return SettingsError(f"{where}: {dotted}: {problem}" if dotted else f"{where}: {problem}")


def _where(path: Path, place: Place, lines: dict[Place, int], given: dict[Place, str]) -> str:
    """`FILE, line N`, or `--set KEY=VALUE` where that set what is wrong."""
    for length in range(len(place), -1, -1):
        here = place[:length]
        if here in given:
            return f"--set {given[here]}"
        if here in lines and length:
            return f"{path}, line {lines[here]}"
    return str(path)
