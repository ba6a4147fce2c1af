"""The small models that come with the package, by name."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from steper.errors import ModelError, unknown_name

SHIPPED = "shipped:"
"""What their names begin with."""

LOCAL = ("hf:", "vllm:")
"""What the specs of models begin with whose weights are a folder's or of the hub."""


def shipped_models() -> Path:
    """The folder of the models that come with the package; there may be none."""
    return Path(str(resources.files("steper") / "assets" / "models"))


def locate_model(spec: str | Path) -> str:
    """A model's spec with `shipped:NAME` replaced by the folder inside the package.

    Raises ModelError for a name that is not shipped.
    """
    spec = str(spec)
    if not spec.startswith(SHIPPED):
        return spec
    name = spec.removeprefix(SHIPPED)
    folder = shipped_models()
    there = sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
    if name in there and (folder / name / "config.json").exists():
        return str(folder / name)
    if there:
        raise ModelError(unknown_name("shipped model", name, there))
    raise ModelError(f"{spec}: no models come with this installation; name a folder or hub name")


def model_folder(spec: str | Path) -> Path:
    """Where a model's folder is, if its spec stands for one; nothing is there for a hub name.

    Raises ModelError for a name that is not shipped.
    """
    return Path(without_scheme(locate_model(spec))).expanduser()


def without_scheme(spec: str) -> str:
    """The folder or hub name of a local model's spec; any other spec as it is."""
    scheme, _, rest = spec.partition(":")
    return rest if f"{scheme}:" in LOCAL else spec
