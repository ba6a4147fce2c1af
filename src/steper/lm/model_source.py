"""What stands behind a model's name: a folder, a hub name, a GGUF file, a LoRA adapter on its base.

In: the name that a user gives. Out: what transformers loads from there. Inference, training and
whoever needs a tokenizer alone all find a model here.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson

from steper.artifact import model_digest
from steper.errors import ModelError, SteperError, brief_reason, missing_extra
from steper.lm.shipped import without_scheme
from steper.store import read_json

ADAPTER_CONFIG, GENERATION_CONFIG = "adapter_config.json", "generation_config.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
GGUF = ".gguf"
BASE = "base_model_name_or_path"
"""Where an adapter's configuration names the model that it was trained on."""

_PART = re.compile(r"-\d{5}-of-\d{5}\.gguf$")


@dataclass(frozen=True)
class ModelSource:
    """What to load for a `name`.

    `weights` is a folder or hub name, `gguf` the file in it where the weights are packed so;
    `adapter` is the folder of a LoRA adapter, which is merged into the weights once they are there.
    """

    name: str
    weights: str
    gguf: str | None = None
    adapter: Path | None = None

    def __str__(self) -> str:
        return self.name if self.adapter is None else f"{self.name} (LoRA of {self.weights})"

    @property
    def _file(self) -> dict[str, str]:
        return {"gguf_file": self.gguf} if self.gguf else {}

    def config(self, **options: Any) -> Any:
        """Its transformers configuration; the options are those of `from_pretrained`."""
        from transformers import AutoConfig

        with _reading("config.json"):
            return AutoConfig.from_pretrained(self.weights, **self._file, **options)

    def tokenizer(self, **options: Any) -> Any:
        """Its tokenizer: the adapter's own where it has one."""
        from transformers import AutoTokenizer

        with _reading("tokenizer.json and tokenizer_config.json"):
            if self.adapter is not None and (self.adapter / TOKENIZER_CONFIG).is_file():
                return AutoTokenizer.from_pretrained(self.adapter, **options)
            return AutoTokenizer.from_pretrained(self.weights, **self._file, **options)

    def model(self, **options: Any) -> Any:
        """The causal LM, unpacked and merged; ModelError where some of its weights are missing."""
        import transformers

        if self.gguf and hasattr(transformers, "GgufConfig"):  # older ones always unpack
            options["quantization_config"] = transformers.GgufConfig(dequantize=True)
        with _no_unpacking_bar(), _reading("weights, config.json and generation_config.json"):
            model, info = transformers.AutoModelForCausalLM.from_pretrained(
                self.weights, output_loading_info=True, **self._file, **options
            )
        if info["missing_keys"]:
            missing = sorted(info["missing_keys"])
            raise ModelError(
                f"{self}: {len(missing)} weights are missing from its files ({missing[0]}, …)"
            )
        return model if self.adapter is None else merge_adapter(model, self.adapter)

    def digest(self, revision: str | None = None) -> str:
        """What its files are known by; those of a hub name are in the hub's cache by now."""
        folder = Path(self.weights).expanduser()
        if not folder.is_dir():
            from transformers.utils import cached_file

            found = cached_file(self.weights, self.gguf or "config.json", revision=revision)
            folder = Path(str(found)).parent
        base = model_digest(folder / self.gguf if self.gguf else folder)
        return base if self.adapter is None else _joined(model_digest(self.adapter), base)


@contextmanager
def _no_unpacking_bar() -> Iterator[None]:
    """Without the bar over a GGUF file's tensors, which no setting of transformers turns off."""
    from transformers import modeling_gguf_pytorch_utils as unpacking

    bar = unpacking.tqdm
    unpacking.tqdm = partial(bar, disable=True)
    try:
        yield
    finally:
        unpacking.tqdm = bar


def find_source(name: str) -> ModelSource:
    """What to load for a model's name.

    Raises ModelError, in one line, where a path leads to no model or an adapter's base is gone,
    MissingExtraError where a package is missing that such files need.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return _adapter(name, path) if (path / ADAPTER_CONFIG).is_file() else _folder(name, path)
    if name.endswith(GGUF):
        return _gguf(name, path)
    if path.exists():
        raise ModelError(
            f"{name} is a file; a transformers model folder or a .gguf file was expected"
        )
    if is_path(name):
        raise ModelError(f"{name}: no such folder")
    return ModelSource(name, name)


def check_source(name: str) -> ModelSource:
    """`find_source`, with a look into the files: configuration, index and headers of the weights.

    Nothing is asked of the hub. Raises ModelError, in one line, for files that cannot be loaded.
    """
    source = find_source(name)
    folder = Path(source.weights).expanduser()
    if source.gguf or not folder.is_dir():
        return source
    if not isinstance(read_json(folder / "config.json"), dict):
        raise ModelError(f"{folder / 'config.json'}: not the configuration of a model")
    if index := next(iter(sorted(folder.glob("model*.safetensors.index.json"))), None):
        value = read_json(index)
        names = value.get("weight_map") if isinstance(value, dict) else None
        for part in sorted(set(names.values())) if isinstance(names, dict) else ():
            if not (folder / str(part)).is_file():
                raise ModelError(f"{index} names {part}, which is not there; put it beside it")
    if count_stored_parameters(folder) is None and not any(folder.glob("pytorch_model*.bin")):
        raise ModelError(f"{name}: the folder has no weights (model.safetensors)")
    return source


def is_path(name: str) -> bool:
    """Whether a name can be a folder's alone: hub names are `model` or `owner/model`."""
    return name.startswith(("/", "./", "../", "~")) or name.count("/") > 1


def _folder(name: str, path: Path) -> ModelSource:
    if (path / "config.json").is_file():
        _check_beside(path)
        return ModelSource(name, str(path))
    packed = sorted(path.glob(f"*{GGUF}"))
    hint = f"; name the file: {packed[0]}" if packed else ""
    raise ModelError(f"{name}: the folder has no config.json, so it holds no model{hint}")


def _check_beside(folder: Path) -> None:
    """Refuse files beside a model's weights that transformers passes over, or fails on later.

    Raises ModelError, or InputError for what is no JSON, each with the file and the field.
    """
    for name in (GENERATION_CONFIG, TOKENIZER_CONFIG, "tokenizer.json", "special_tokens_map.json"):
        if os.path.lexists(folder / name) and not (folder / name).is_file():
            raise ModelError(f"{folder / name}: a file was expected")
    for name, fields, fits, expected in (
        (GENERATION_CONFIG, ("eos_token_id", "pad_token_id"), _are_ids, "an id, or a list of ids,"),
        (TOKENIZER_CONFIG, ("model_max_length",), _is_number, "a number"),
    ):
        values = read_json(folder / name) if (folder / name).is_file() else {}
        if not isinstance(values, dict):
            raise ModelError(f"{folder / name}: a JSON object was expected")
        for field in fields:
            if (value := values.get(field)) is not None and not fits(value):
                raise ModelError(f"{folder / name}: {field} is {value!r}; {expected} was expected")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _are_ids(value: Any) -> bool:
    ids = value if isinstance(value, list) else [value]
    return all(type(one) is int for one in ids)


def _gguf(name: str, path: Path) -> ModelSource:
    if _PART.search(name):
        raise ModelError(
            f"{name} is a part of a model, and transformers reads whole ones; join the parts: "
            "llama-gguf-split --merge FIRST-PART.gguf WHOLE.gguf"
        )
    for package in ("gguf", "accelerate"):
        if find_spec(package) is None:
            raise missing_extra(package, "gguf")
    if path.is_file():
        return ModelSource(name, str(path.parent), path.name)
    owner, _, rest = name.partition("/")
    model, _, file = rest.partition("/")
    if owner in (".", "..", "~", "") or not model or "/" in file or not file:
        raise ModelError(f"{name}: no such file")
    return ModelSource(name, f"{owner}/{model}", file)  # of the hub: OWNER/MODEL/FILE.gguf


def _adapter(name: str, path: Path) -> ModelSource:
    _check_beside(path)
    found = find_source(base_of(path))
    if found.adapter is not None:
        raise ModelError(
            f"{name}: its base model {found.name} is a LoRA adapter itself; merge that one first"
        )
    if not any((path / file).is_file() for file in ADAPTER_WEIGHTS):
        raise ModelError(
            f"{name}: the folder has {ADAPTER_CONFIG} and no {ADAPTER_WEIGHTS[0]}, so the "
            "adapter's weights are missing; put that file there"
        )
    return replace(found, name=name, adapter=path)


def base_of(adapter: Path) -> str:
    """The base model of an adapter's folder: where it names it, else beside the adapter.

    Only a base that was named by its path is looked for beside it: a folder that happens to be
    called like a model of the hub is another model.
    """
    file = adapter / ADAPTER_CONFIG
    value = read_json(file)
    named = value.get(BASE) if isinstance(value, dict) else None
    if not isinstance(named, str) or not named:
        raise ModelError(f"{file}: {BASE} is {named!r}; the adapter's base model was expected")
    beside = adapter.resolve().parent / Path(named).name
    if Path(named).expanduser().exists() or not is_path(named):
        return named
    if beside.exists():
        return str(beside)
    raise ModelError(
        f"{adapter}: a LoRA adapter, and its base model {named} is gone; put it back or beside the "
        f"adapter ({beside}), or say in {ADAPTER_CONFIG} where it is ({BASE})"
    )


def merge_adapter(model: Any, adapter: Path) -> Any:
    """The base model with the adapter of a folder merged into it, and its end of turn taken over.

    Merged, because a plain model is as fast as its base, and the same whoever merges it. Raises
    ModelError where it cannot be, or where some of its weights have no place in that base.
    """
    try:
        import peft
    except ImportError as error:
        raise missing_extra("peft", "train", error) from None
    from transformers import GenerationConfig

    make_room(model, learnt_tokens(adapter))
    with quiet_peft():
        loaded = peft.PeftModel.from_pretrained(model, str(adapter))
        if not hasattr(loaded, "merge_and_unload"):
            kind = read_json(adapter / ADAPTER_CONFIG).get("peft_type")
            raise ModelError(
                f"{adapter}: {ADAPTER_CONFIG} has peft_type {kind}, which cannot be merged into "
                "its base model; an adapter that can was expected, such as LORA"
            )
        # Of a first loading peft tells what did not fit by a warning alone.
        _check_fit(adapter, loaded.load_adapter(str(adapter), "default"))
        merged = loaded.merge_and_unload()
    merged.requires_grad_(True)  # peft froze the base
    if (adapter / GENERATION_CONFIG).is_file():
        merged.generation_config = GenerationConfig.from_pretrained(adapter)
    return merged


def learnt_tokens(adapter: Path) -> list[int]:
    """The ids of tokens whose embeddings an adapter's folder holds whole."""
    found = read_json(adapter / ADAPTER_CONFIG).get("trainable_token_indices") or []
    lists = found.values() if isinstance(found, dict) else [found]
    return sorted({id for ids in lists for id in ids})


def make_room(model: Any, tokens: Sequence[int]) -> None:
    """Give the model embeddings for tokens that were added, where it has none to spare."""
    wanted = max(tokens, default=-1) + 1
    if wanted > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(wanted)


def _check_fit(adapter: Path, result: Any) -> None:
    """Refuse an adapter by what peft says of its loading: weights that found no place, or none."""
    learnt = ("lora_", "trainable_tokens_")
    strange = [key for key in result.unexpected_keys if any(name in key for name in learnt)]
    for keys, what in (
        (result.missing_keys, "weights of the adapter are missing from its files"),
        (strange, "weights in its files have no place in the base model"),
    ):
        if keys:
            own = f"; its files have {strange[0]}" if strange and keys is not strange else ""
            raise ModelError(
                f"{adapter}: {len(keys)} {what} ({min(keys)}, …){own}; the adapter was "
                f"trained on another model than {BASE} in its {ADAPTER_CONFIG} names, or saved "
                "under other names"
            )


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Without peft's warnings: that it asks transformers by a name that will be gone in 6, and of
    missing weights, which are an error here.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(?s).*missing adapter keys", UserWarning)
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        yield


def local_digest(model: str) -> str | None:
    """What the files of a folder or GGUF file are known by; None for any other model's spec.

    An adapter's digest has that of its base in it, where that one is local, too.
    """
    path = Path(without_scheme(model)).expanduser()
    if not (path.is_dir() or (path.suffix == GGUF and path.is_file())):
        return None
    if not (path / ADAPTER_CONFIG).is_file():
        return model_digest(path)
    return _joined(model_digest(path), local_digest(base_of(path)) or "")


def count_stored_parameters(folder: Path) -> int | None:
    """The numbers in the weights of a model's folder; None where it has no safetensors.

    The headers alone are read: 8 bytes of length, then JSON with each tensor's shape. Raises
    ModelError where a file has none, or is shorter than it says.
    """
    files = sorted(folder.glob("model*.safetensors"))
    shapes = (v["shape"] for path in files for v in _tensors(path))
    return sum(map(math.prod, shapes)) if files else None


def _tensors(path: Path) -> list[dict[str, Any]]:
    """What the header of a safetensors file says of each tensor."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            header = orjson.loads(file.read(min(length, path.stat().st_size)))
            tensors = [v for name, v in header.items() if name != "__metadata__"]
            whole = 8 + length + max((v["data_offsets"][1] for v in tensors), default=0)
        except (ValueError, LookupError, TypeError, AttributeError):
            raise ModelError(f"{path}: not a file of weights (safetensors), or damaged") from None
    if (size := path.stat().st_size) < whole:
        raise ModelError(f"{path}: cut off after {size:,} of {whole:,} bytes; copy it anew")
    return tensors


def _joined(adapter: str, base: str) -> str:
    return hashlib.sha256(f"{adapter}\0{base}".encode()).hexdigest()


@contextmanager
def _reading(files: str) -> Iterator[None]:
    """Note at what goes wrong meanwhile which files of the model were read."""
    try:
        yield
    except Exception as error:
        error.model_files = files  # type: ignore[attr-defined]
        raise


@contextmanager
def one_line(name: object, kind: str) -> Iterator[None]:
    """Turn whatever loading a model of some `kind` raises into a ModelError of one line."""
    try:
        yield
    except SteperError:
        raise
    except Exception as error:
        files = getattr(error, "model_files", None)
        what = f"cannot be loaded as {kind}" + (f", while reading its {files}" if files else "")
        if isinstance(error, OSError) and not Path(str(name)).expanduser().exists():
            what = "no such folder, and the Hugging Face hub does not give it"
        raise ModelError(
            f"{name}: {what} ({type(error).__name__}: {brief_reason(error, 300)})"
        ) from error
