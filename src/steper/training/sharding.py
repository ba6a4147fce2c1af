"""How several processes are to share a student's weights: DeepSpeed's ZeRO, or torch's FSDP.

In: the setting `sharding` (a shipped configuration's name, or a file), or `trainer` with what
transformers takes. Out: transformers' arguments, checked: a configuration may not set what steper
sets itself, and its exports must be whole. Needs neither torch nor DeepSpeed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steper.errors import SettingsError, unknown_name
from steper.store import read_yaml

PACKAGE = Path(__file__).parents[1]
RECIPE_FOLDERS = (PACKAGE / "assets" / "recipes", PACKAGE.parents[1] / "recipes")
"""Where the recipes are: of an installed package; of a checkout, or an editable install of one."""

SHIPPED_SHARDING = {"zero3": "zero3.json", "fsdp2": "fsdp2.yaml"}
"""Shipped configurations, by name; they stand among the recipes."""

OURS = (
    "train_batch_size",
    "train_micro_batch_size_per_gpu",
    "gradient_accumulation_steps",
    "gradient_clipping",
    "bf16.enabled",
    "fp16.enabled",
    "optimizer.params.lr",
    "optimizer.params.betas",
    "optimizer.params.eps",
    "optimizer.params.weight_decay",
)
"""What a DeepSpeed configuration says `auto` for: steper's settings decide it."""

WHOLE_EXPORT = "stage3_gather_16bit_weights_on_model_save"
"""Without it DeepSpeed writes the shards of stage 3 alone (of any dtype, whatever its name)."""


@dataclass(frozen=True)
class Sharding:
    """What was asked for: `kind` is none, ZeRO-0 … ZeRO-3, FSDP1 or FSDP2, as `in_force` says it.

    `arguments` are transformers' own.
    """

    kind: str = "none"
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def deepspeed(self) -> bool:
        """Whether DeepSpeed does it."""
        return self.kind.startswith("ZeRO")


def asked_sharding(sharding: str | None, trainer: dict[str, Any]) -> Sharding:
    """What `sharding`, or else `trainer` with transformers' arguments, asks for.

    Raises InputError or SettingsError, in one line, for a configuration that cannot be heeded.
    """
    if sharding is not None:
        path = _file(sharding)
        if path.suffix == ".json":
            return _zero(read_yaml(path), str(path))
        return _fsdp(read_yaml(path), str(path))
    if given := trainer.get("deepspeed"):
        return _zero(*_contents(given, "trainer.deepspeed"))
    if trainer.get("fsdp"):
        config, place = _contents(trainer.get("fsdp_config") or {}, "trainer.fsdp_config")
        return _fsdp(config, place, trainer["fsdp"])
    return Sharding()


def is_shipped(sharding: str) -> bool:
    """Whether a value of the setting is a shipped configuration's name."""
    return sharding in SHIPPED_SHARDING


def _file(sharding: str) -> Path:
    if is_shipped(sharding):
        folder = next((folder for folder in RECIPE_FOLDERS if folder.is_dir()), None)
        if folder is None:
            raise SettingsError(
                f"sharding {sharding}: this installation has no recipes; name a file"
            )
        return folder / SHIPPED_SHARDING[sharding]
    path = Path(sharding).expanduser()
    if path.suffix not in (".json", ".yaml", ".yml"):
        raise SettingsError(unknown_name("sharding or file", sharding, SHIPPED_SHARDING))
    return path


def _contents(given: Any, name: str) -> tuple[Any, str]:
    """A configuration that is given itself, or by its file (JSON is YAML, too); and its place."""
    return (read_yaml(given), str(given)) if isinstance(given, str) else (given, name)


def _zero(config: Any, place: str) -> Sharding:
    if not isinstance(config, dict):
        raise SettingsError(f"{place}: a DeepSpeed configuration, a mapping, was expected")
    config = dict(config)
    for key in OURS:
        value = _at(config, key)
        if value not in (None, "auto"):
            raise SettingsError(
                f'{place}: {key} is {value!r}, which steper\'s own settings decide; say "auto"'
            )
    if "scheduler" in config:
        raise SettingsError(
            f"{place}: scheduler: the settings schedule and warmup decide it; leave it out"
        )
    kind = _at(config, "optimizer.type")
    if kind is not None and str(kind).lower() not in ("adam", "adamw"):
        raise SettingsError(
            f"{place}: optimizer.type is {kind!r}, but the setting optimizer is adamw; leave it out"
        )
    zero = config.get("zero_optimization", {})
    if not isinstance(zero, dict):
        raise SettingsError(f"{place}: zero_optimization is {zero!r}; a mapping was expected")
    stage = zero.get("stage", 0)
    if type(stage) is not int or not 0 <= stage <= 3:
        raise SettingsError(
            f"{place}: zero_optimization.stage is {stage!r}; 0, 1, 2 or 3 was expected"
        )
    if stage == 3 and _at(config, f"zero_optimization.{WHOLE_EXPORT}") is not True:
        raise SettingsError(
            f"{place}: zero_optimization.{WHOLE_EXPORT} must be true; without it the student could "
            "not be exported"
        )
    # DeepSpeed takes what is left out for its own default (no clipping), not for ours.
    for key in OURS[:4]:
        config.setdefault(key, "auto")
    for key in ("bf16", "fp16"):
        config.setdefault(key, {"enabled": "auto"})
    return Sharding(f"ZeRO-{stage}", {"deepspeed": config})


def _at(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = config.get(part) if isinstance(config, dict) else None
    return config


def _fsdp(config: Any, place: str, fsdp: Any = True) -> Sharding:
    if not isinstance(config, dict):
        raise SettingsError(f"{place}: settings of FSDP, a mapping, were expected")
    version = config.get("version", config.get("fsdp_version", 2))
    if type(version) is not int or version not in (1, 2):
        raise SettingsError(f"{place}: version is {version!r}; 1 or 2 was expected")
    return Sharding(f"FSDP{version}", {"fsdp": fsdp, "fsdp_config": dict(config)})
