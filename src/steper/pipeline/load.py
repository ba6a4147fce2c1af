"""A pipeline's configuration → settings: its file, overrides, paths, and errors with their place.

The pipelines that come with the package (`small-world`, `llama-3.1-8b`, …) go by their names. They
stand in the repository's `recipes/` folder, which a wheel holds as `assets/recipes`.

Relative paths in a file are relative to its folder (those of a shipped recipe to the working
folder), those in overrides to the working folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import ValidationError

from steper.errors import InputError, SettingsError, unknown_name
from steper.lm.shipped import without_scheme
from steper.pipeline.config import BASE_DEMOS, PipelineSettings
from steper.pipeline.data_settings import AUTO
from steper.pipeline.sections import PlacedError, SectionError, known_fields
from steper.pipeline.tuning import check_tuning
from steper.recipes import RECIPES
from steper.retrieve.opening import names_code
from steper.store import field_error, read_yaml
from steper.training.sharding import RECIPE_FOLDERS, SHIPPED_SHARDING, is_shipped

Place = tuple[str | int, ...]
"""The keys and numbers that lead to a value."""

SUFFIX = ".yaml"

STUDIES = "studies"
"""Below that folder: the studies that come with the package."""

PATHS = (
    "data.*.questions",
    "data.*.test",
    "data.*.dev",
    "data.*.aliases",
    "data.*.pretrained_on",
    "data.*.corpus",
    "teacher.model",
    "students.*.model",
    "evaluate.teacher_model",
    "evaluate.further.*.questions",
    "evaluate.further.*.aliases",
    "evaluate.further.*.corpus",
    "train.reranker",
    "recipes.*.train.reranker",
    "train.teacher",
    "recipes.*.train.teacher",
    "train.sharding",
    "recipes.*.train.sharding",
    "train.trainer.deepspeed",
    "recipes.*.train.trainer.deepspeed",
    "train.trainer.fsdp_config",
    "recipes.*.train.trainer.fsdp_config",
)
"""The settings that hold paths; models and corpora may be other things, too."""


class Configuration(NamedTuple):
    """A configuration file, and what goes with the way in which it was given."""

    path: Path
    name: str
    """What its run is called: a shipped recipe's name, or the file's without its suffix."""
    base: Path
    """Where its relative paths start: a file's own folder; for a shipped recipe, which may lie in
    site-packages, the working folder, by whichever way it was named."""


def shipped_recipes(below: str = "") -> dict[str, Path]:
    """Name → file of every recipe that comes with the package; `below`: of a folder of them."""
    folder = next((folder for folder in RECIPE_FOLDERS if folder.is_dir()), None)
    files = (folder / below).glob(f"*{SUFFIX}") if folder else ()
    found = (path for path in files if path.name not in SHIPPED_SHARDING.values())
    return {path.stem: path for path in sorted(found, key=lambda path: path.stem)}


def find_configuration(given: str, what: str = "recipe", below: str = "") -> Configuration:
    """The file of that path or, where there is none, the shipped recipe (a study) of that name.

    Raises InputError for what is neither, with the nearest names.
    """
    path = Path(given)
    known = shipped_recipes(below)
    if given in known and not path.is_file():
        return Configuration(known[given], given, Path.cwd())
    if _is_missing(path):
        if len(path.parts) == 1 and path.suffix not in (SUFFIX, ".yml"):
            raise InputError(unknown_name(f"{what} or file", given, known))
        hint = f"; the shipped {what} is called {path.stem}" if path.stem in known else ""
        raise InputError(f"{path}: no such file{hint}")
    shipped = known.get(path.stem)
    if shipped is not None and path.is_file() and path.samefile(shipped):
        return Configuration(path, path.stem, Path.cwd())
    return Configuration(path, path.stem, path.absolute().parent)


def _is_missing(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):  # whoever opens it says why it cannot be read (links in a circle)
        return False
    return False


def load_settings(
    path: Path | str,
    overrides: Sequence[str] = (),
    base: Path | None = None,
    options: Mapping[str, str] | None = None,
) -> PipelineSettings:
    """The settings of a YAML file with `KEY.KEY=VALUE` overrides over them.

    The file's relative paths start from `base`; None: from its folder. `options` are overrides,
    too: KEY → VALUE, each given by an option `--KEY` of its own.
    Raises InputError or SettingsError, one line with file, line and place, for whatever is wrong.
    """
    path = Path(path)
    value = read_yaml(path)
    if not isinstance(value, dict):
        known = ", ".join(PipelineSettings.model_fields)
        raise InputError(f"{path}: sections were expected ({known})")
    resolve_paths(value, base or path.absolute().parent)
    return settings_of(value, path, apply_all(value, overrides, options))


def apply_all(
    value: dict[str, Any], overrides: Sequence[str], options: Mapping[str, str] | None
) -> dict[Place, str]:
    """Put overrides and options over a raw configuration, in place; what was given where."""
    given = {_apply(value, text, f"--set {text}"): f"--set {text}" for text in overrides}
    for key, text in (options or {}).items():
        given[_apply(value, f"{key}={text}", f"--{key} {text}")] = f"--{key}"
    return given


def settings_of(value: dict[str, Any], path: Path, given: Mapping[Place, str]) -> PipelineSettings:
    """The settings that a raw configuration holds, its paths absolute.

    Errors name the place by `given`, or by its line in the file at `path`. See `load_settings`.
    """
    try:
        settings = PipelineSettings.model_validate(value)
        _check_sections(settings)
    except SectionError as error:
        raise _located(path, error.error, error.place, error.cls, given) from None
    except ValidationError as error:
        raise _located(path, error, (), PipelineSettings, given) from None
    except PlacedError as error:
        raise SettingsError(f"{_source(path, error.place, str(error), given)}: {error}") from None
    return settings


@contextmanager
def _at(*place: str) -> Iterator[None]:
    """Give a place to a SettingsError that has none."""
    try:
        yield
    except (SectionError, PlacedError):
        raise
    except SettingsError as error:
        raise PlacedError(place, str(error)) from None


def resolve_paths(value: dict[str, Any], base: Path) -> None:
    """Make the paths of a raw configuration absolute, in place; `base` is what they start from."""
    for pattern in PATHS:
        *above, name = pattern.split(".")
        for section in _sections(value, above):
            given = section.get(name)
            if isinstance(given, str):
                section[name] = _resolved(name, given, base)
            elif isinstance(given, list):
                section[name] = [_resolved(name, str(each), base) for each in given]


def _sections(value: Any, keys: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The sections at a place below a raw value; the key `*` stands for any."""
    if isinstance(value, dict) and not keys:
        yield value
    elif isinstance(value, dict):
        for key in value if keys[0] == "*" else keys[:1]:
            yield from _sections(value.get(key), keys[1:])


def _resolved(name: str, value: str, base: Path) -> str:
    """A path from `base`; what is no path (auto, an address, a hub name) stays."""
    if name == "corpus" and (value == AUTO or "://" in value or names_code(value)):
        return value
    if name == "sharding" and is_shipped(value):
        return value
    if name in ("model", "teacher_model", "reranker", "teacher"):
        scheme = "vllm:" if value.startswith("vllm:") else ""
        plain = without_scheme(value)
        folder = base / Path(plain).expanduser()
        is_path = plain.startswith((".", "~")) or folder.is_dir()
        return f"{scheme}{os.path.realpath(folder)}" if is_path else value
    return os.path.realpath(base / Path(value).expanduser())


def _apply(value: dict[str, Any], override: str, given: str) -> Place:
    """Set in a raw configuration what `KEY.KEY=VALUE` says (VALUE is YAML); returns the place.

    Errors say that it was `given` so.
    """
    key, equals, text = override.partition("=")
    place = tuple(part.strip() for part in key.split("."))
    if not equals or not all(place):
        raise SettingsError(f"{given}: KEY.KEY=VALUE was expected, such as train.epochs=1")
    try:
        new = yaml.safe_load(text)
    except yaml.YAMLError:
        raise SettingsError(f"{given}: the value is not YAML") from None
    for part in reversed(place):
        new = {part: new}
    resolve_paths(new, Path.cwd())
    merge(value, new)
    return place


def merge(into: dict[str, Any], new: dict[str, Any]) -> None:
    """Put the values of one raw configuration over another's, section by section, in place."""
    for key, value in new.items():
        old = into.get(key)
        if key == "recipes" and isinstance(old, list):
            old = into[key] = {name: {} for name in old}
        if isinstance(value, dict) and isinstance(old, dict):
            merge(old, value)
        else:
            into[key] = value


def _check_sections(settings: PipelineSettings) -> None:
    """Check what pydantic alone cannot: the strategy's and the recipes' own settings."""
    with _at("strategy", "name"):
        _ = settings.strategy_settings
    settings.check_also()
    with _at("evaluate", "base_demos"):
        prompt = settings.base_demos()
    for method, method_settings in settings.recipes.items():
        with _at("recipes", method):
            recipe = RECIPES.find(method_settings.recipe or method)
            if settings.trains_on(method) and method_settings.states_of is None:
                what = "preference pairs" if recipe.learns == "pairs" else "students' own steps"
                raise SettingsError(
                    f"recipes.{method}: {recipe.name} learns {what}; name the method whose "
                    "students are trained on, such as states_of: steper"
                )
            teacher = method_settings.train.get("teacher", settings.train.teacher)
            if recipe.learns == "own" and teacher is None:
                raise SettingsError(
                    f"recipes.{method}: {recipe.name} is to be judged by a teacher, token by "
                    "token; set train: {divergence: jsd, teacher: MODEL}"
                )
            _check_method(settings, method)
    known = [*settings.recipes, "base", "teacher", *[BASE_DEMOS] * (prompt is not None)]
    if settings.baseline not in known:
        with _at("evaluate", "baseline"):
            raise SettingsError(
                f"evaluate.baseline: {unknown_name('method', settings.baseline, known)}"
            )
    check_tuning(settings)


def _check_method(settings: PipelineSettings, method: str) -> None:
    own = settings.recipes[method]
    settings.example_settings(method)
    settings.filter_settings(method)
    for name in ("recipe", "seed"):
        if name in own.examples or name in own.train:
            raise SettingsError(
                f"recipes.{method}: {name} cannot be set there; `recipe` stands beside it, "
                "and `seeds` are common to all"
            )
    for student in settings.students:
        settings.train_settings(method, settings.seeds[0], student)


def _located(
    path: Path, error: ValidationError, base: Place, cls: Any, given: Mapping[Place, str]
) -> SettingsError:
    """The first problem as one line: file and line, or the override; the field; what is wrong."""
    first = error.errors()[0]
    place = (*base, *first["loc"])
    where = _source(path, place, first["msg"], given)
    if first["type"] == "extra_forbidden":
        *section, name = map(str, place)
        known = known_fields(cls, first["loc"][:-1])
        what = f"setting of {'.'.join(section)}" if section else "section"
        return SettingsError(f"{where}: {unknown_name(what, name, known)}")
    problem = field_error(error)
    inside = ".".join(str(part) for part in first["loc"])
    problem = problem.removeprefix(f"{inside}: ") if inside else problem
    dotted = ".".join(str(part) for part in place)
    named = not dotted or where == f"--{dotted}"
    return SettingsError(f"{where}: {problem}" if named else f"{where}: {dotted}: {problem}")


def _source(path: Path, place: Place, problem: str, given: Mapping[Place, str]) -> str:
    """Where the value at a place was given: an override at or around it, else the file's line.

    What is wrong with a whole section is the doing of the overrides inside it that the `problem`
    names, if any, else of the setting that it spells out.
    """
    words = set(re.findall(r"\w+", problem))
    inside = {at: source for at, source in given.items() if at[: len(place)] == place and at}
    named = [s for at, s in inside.items() if s.startswith("--") and str(at[-1]) in words]
    spelt = [at for at in inside if len(at) > 1 and ".".join(map(str, at)) in problem]
    if (named or spelt) and place not in given:
        return " and ".join(named) or inside[max(spelt, key=len)]
    sources = {**lines_of(path), **given}
    above = (place[:length] for length in range(len(place), -1, -1))
    return next((sources[here] for here in above if here in sources), str(path))


def lines_of(path: Path) -> dict[Place, str]:
    """`FILE, line N` for each place in a YAML file; what has a key stands in its key's line."""

    def walk(node: yaml.Node, place: Place) -> Iterator[tuple[Place, str]]:
        inside: list[tuple[yaml.Node, str | int, yaml.Node]] = []
        if isinstance(node, yaml.MappingNode):
            inside = [(key, key.value, inner) for key, inner in node.value]
        elif isinstance(node, yaml.SequenceNode):
            inside = [(inner, number, inner) for number, inner in enumerate(node.value)]
        for begin, name, inner in inside:
            line = f"{path}, line {begin.start_mark.line + 1}"
            yield (*place, name), line
            if place == ("tune", "grid"):
                yield (*place, *str(name).split(".")), line  # train.lr is train: {lr: …}
            yield from walk(inner, (*place, name))

    node = yaml.compose(path.read_text("utf-8", errors="replace"), Loader=yaml.SafeLoader)
    return dict(walk(node, ())) if node else {}
