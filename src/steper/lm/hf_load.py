"""Loading a local transformers causal LM: folder or hub name in; model, tokenizer, limits out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steper.artifact import model_digest
from steper.errors import ModelError, missing_extra
from steper.lm.model_settings import HFSettings

SMALL_PARAMETERS = 50_000_000
"""Below this, torch runs on one CPU thread: more are no faster on idle cores, and where other
processes share them their spinning made a 1M-parameter model 10 to 60 times slower, and the
training of one of 0.4M parameters 5 times."""


@dataclass(frozen=True)
class Loaded:
    """A model ready to generate.

    `window` is the longest prompt + completion in tokens, None if unlimited; `digest` identifies
    configuration, tokenizer and weights.
    """

    model: Any
    tokenizer: Any
    device: str
    dtype: str
    window: int | None
    eos: frozenset[int]
    pad: int
    digest: str


def load(name: str, settings: HFSettings) -> Loaded:
    """Load the model in folder `name`, or of that name on the Hugging Face hub.

    Raises ModelError, in one line, if there is none or it cannot be loaded, and MissingExtraError
    without torch or transformers.
    """
    try:
        import torch  # noqa: F401
        import transformers
    except ImportError as error:
        raise missing_extra(error.name or "transformers", "hf") from None
    source = _source(name)
    hub: dict[str, Any] = {
        "revision": settings.revision,
        "trust_remote_code": settings.trust_remote_code,
    }
    with one_line(name, "a causal LM"), _no_progress_bars():
        config = transformers.AutoConfig.from_pretrained(source, **hub)
        tokenizer = transformers.AutoTokenizer.from_pretrained(source, **hub)
        device = _device(settings.device)
        dtype = _dtype(settings.dtype, device, config)
        attention = (
            {} if settings.attention == "auto" else {"attn_implementation": settings.attention}
        )
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            source, dtype=dtype, output_loading_info=True, **attention, **hub
        )
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise ModelError(
            f"{name}: {len(missing)} weights are missing from its files ({missing[0]}, …)"
        )
    eos, pad = _special_tokens(model, tokenizer)
    # Only our settings decide how tokens are chosen: the model's own defaults (temperature,
    # repetition penalty, …) are left out, or the fingerprint would not say what was done.
    model.generation_config = transformers.GenerationConfig(
        eos_token_id=sorted(eos) or None, pad_token_id=pad
    )
    return Loaded(
        model=model.to(device).eval(),
        tokenizer=tokenizer,
        device=device,
        dtype=dtype,
        window=settings.context_window or window(config, tokenizer),
        eos=eos,
        pad=pad,
        digest=model_digest(_folder(source, settings)),
    )


def _source(name: str) -> str:
    """The folder or hub name to load; a folder that holds no model is a ModelError."""
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            adapter = (path / "adapter_config.json").is_file()
            what = "a LoRA adapter; merge it into its base model first" if adapter else "no model"
            raise ModelError(f"{name}: the folder has no config.json, so it holds {what}")
        return str(path)
    if path.exists():
        raise ModelError(f"{name} is a file; a transformers model folder was expected")
    if is_path(name):
        raise ModelError(f"{name}: no such folder")
    return name


def is_path(name: str) -> bool:
    """Whether a name can be a folder's alone: hub names are `model` or `owner/model`."""
    return name.startswith(("/", "./", "../", "~")) or name.count("/") > 1


@contextmanager
def one_line(name: str, kind: str) -> Iterator[None]:
    """Turn whatever loading a model of some `kind` raises into a ModelError of one line."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), "")
        what = f"cannot be loaded as {kind}"
        if isinstance(error, OSError) and not Path(name).expanduser().is_dir():
            what = "no such folder, and the Hugging Face hub does not give it"
        raise ModelError(f"{name}: {what} ({type(error).__name__}: {reason[:300]})") from error


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """No bars from transformers meanwhile, and none of the hub's warnings at each vain try."""
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging

    shown, level = logging.is_progress_bar_enabled(), hub_logging.get_verbosity()
    logging.disable_progress_bar()
    hub_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        hub_logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()


def _device(wanted: str) -> str:
    import torch

    if wanted == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(1, device=wanted)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"device {wanted!r} cannot be used here ({reason})") from None
    return wanted


def _dtype(wanted: str, device: str, config: Any) -> str:
    """bfloat16 only where it loses nothing (16-bit weights) and the hardware is fast at it.

    A checkpoint in float32 (as our own small models) keeps its precision.
    """
    import torch

    if wanted != "auto":
        return wanted
    stored = getattr(config.get_text_config(), "dtype", None) or getattr(config, "dtype", None)
    if str(stored).removeprefix("torch.") not in ("bfloat16", "float16"):
        return "float32"
    if device.startswith("cuda"):
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device == "cpu":
        # AVX512's bfloat16 alone is half as fast as float32 (numbers in docs/log.md).
        fast = getattr(torch.cpu, "_is_amx_tile_supported", bool)()
    else:
        fast = False
    return "bfloat16" if fast else "float32"


def _special_tokens(model: Any, tokenizer: Any) -> tuple[frozenset[int], int]:
    """The ids that end a text (the model's and the tokenizer's), and the id to pad with."""
    own = model.generation_config.eos_token_id
    ids = own if isinstance(own, list) else [own]
    eos = frozenset(i for i in (*ids, tokenizer.eos_token_id) if i is not None)
    pad = tokenizer.pad_token_id
    return eos, pad if pad is not None else min(eos, default=0)


def window(config: Any, tokenizer: Any) -> int | None:
    """Longest sequence in tokens that a model takes; None if unlimited."""
    limits = (
        getattr(config.get_text_config(), "max_position_embeddings", None),
        tokenizer.model_max_length,
    )
    known = [n for n in limits if isinstance(n, int) and 0 < n < 1 << 31]
    return min(known, default=None)


def _folder(source: str, settings: HFSettings) -> Path:
    if Path(source).is_dir():
        return Path(source)
    from transformers.utils import cached_file

    found = cached_file(source, "config.json", revision=settings.revision)
    return Path(str(found)).parent
