"""The pipelines that come with the package, by name: `small-world`, `llama-3.1-8b`, …

They stand in the repository's `recipes/` folder, which a wheel holds as `assets/recipes`.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from steper.errors import InputError, unknown_name

SUFFIX = ".yaml"

PACKAGE = Path(__file__).parents[1]
FOLDERS = (PACKAGE / "assets" / "recipes", PACKAGE.parents[1] / "recipes")
"""Of an installed package; of a checkout, or an editable install of one."""


class Configuration(NamedTuple):
    """A configuration file, and what goes with the way in which it was given."""

    path: Path
    name: str
    """What its run is called: a shipped recipe's name, or the file's without its suffix."""
    base: Path
    """Where its relative paths start: a file's own folder; for a shipped recipe, which may lie in
    site-packages, the working folder, by whichever way it was named."""


def shipped_recipes() -> dict[str, Path]:
    """Name → file of every recipe that comes with the package."""
    folder = next((folder for folder in FOLDERS if folder.is_dir()), None)
    files = folder.glob(f"*{SUFFIX}") if folder else ()
    return {path.stem: path for path in sorted(files, key=lambda path: path.stem)}


def find_configuration(given: str) -> Configuration:
    """The file of that path or, where there is none, the shipped recipe of that name.

    Raises InputError for what is neither, with the nearest names.
    """
    path = Path(given)
    known = shipped_recipes()
    if given in known and not path.is_file():
        return Configuration(known[given], given, Path.cwd())
    if _is_missing(path):
        if len(path.parts) == 1 and path.suffix not in (SUFFIX, ".yml"):
            raise InputError(unknown_name("recipe or file", given, known))
        hint = f"; the shipped recipe is called {path.stem}" if path.stem in known else ""
        raise InputError(f"{path}: no such file{hint}")
    shipped = known.get(path.stem)
    if shipped is not None and path.exists() and path.samefile(shipped):
        return Configuration(path, path.stem, Path.cwd())
    return Configuration(path, path.stem, path.absolute().parent)


def _is_missing(path: Path) -> bool:
    try:
        return not path.exists()
    except OSError:  # whoever opens it says why it cannot be read
        return False
