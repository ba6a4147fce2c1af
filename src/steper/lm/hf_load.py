"""Loading a local transformers causal LM: folder or hub name in; model, tokenizer, limits out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

from steper.errors import ModelError, missing_extra
from steper.lm.model_settings import HFSettings
from steper.lm.model_source import find_source, one_line

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
    """Load the model that `name` stands for (see `model_source`).

    Raises ModelError, in one line, if there is none or it cannot be loaded, and MissingExtraError
    without a package that it needs.
    """
    try:
        import torch  # noqa: F401
        import transformers
    except ImportError as error:
        raise missing_extra(error.name or "transformers", "hf", error) from None
    source = find_source(name)
    if settings.device_map and find_spec("accelerate") is None:
        raise missing_extra("accelerate", "train")
    hub: dict[str, Any] = {
        "revision": settings.revision,
        "trust_remote_code": settings.trust_remote_code,
    }
    with one_line(source, "a causal LM"), no_progress_bars():
        config, tokenizer = source.config(**hub), source.tokenizer(**hub)
        device = _device(settings.device)
        dtype = _dtype(settings.dtype, device, config, packed=source.gguf is not None)
        if settings.attention != "auto":
            hub["attn_implementation"] = settings.attention
        if settings.device_map:
            hub["device_map"] = settings.device_map
        model = source.model(dtype=dtype, **hub)
    eos, pad = _special_tokens(model, tokenizer)
    # Only our settings decide how tokens are chosen: the model's own defaults (temperature,
    # repetition penalty, …) are left out, or the fingerprint would not say what was done.
    model.generation_config = transformers.GenerationConfig(
        eos_token_id=sorted(eos) or None, pad_token_id=pad
    )
    if settings.device_map:
        device = str(model.device)  # where its first weights are, and so its input
    else:
        model = model.to(device)
    return Loaded(
        model=model.eval(),
        tokenizer=tokenizer,
        device=device,
        dtype=dtype,
        window=settings.context_window or window(config, tokenizer),
        eos=eos,
        pad=pad,
        digest=source.digest(settings.revision),
    )


@contextmanager
def no_progress_bars() -> Iterator[None]:
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


def _dtype(wanted: str, device: str, config: Any, packed: bool = False) -> str:
    """bfloat16 only where it loses nothing (16-bit weights) and the hardware is fast at it.

    A checkpoint in float32 (as our own small models) keeps its precision. `packed`: of a GGUF file,
    which has 16 bits or less a weight and says so nowhere in its configuration.
    """
    import torch

    if wanted != "auto":
        return wanted
    stored = getattr(config.get_text_config(), "dtype", None) or getattr(config, "dtype", None)
    if not packed and str(stored).removeprefix("torch.") not in ("bfloat16", "float16"):
        return "float32"
    if device.startswith("cuda"):
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device == "cpu":
        fast = multiplies_bfloat16_fast()
    else:
        fast = False
    return "bfloat16" if fast else "float32"


@cache
def multiplies_bfloat16_fast() -> bool:
    """Whether this CPU multiplies bfloat16 matrices at least twice as fast as float32 ones.

    Measured, in about a tenth of a second: AMX is 4 to 10 times as fast, AVX512's bfloat16 and
    emulation half as fast (numbers in docs/log.md), and what torch may use of a CPU can be
    restricted from outside. So the answer is far from the limit on all of them, as it must be: the
    dtype is part of a run's settings.
    """
    import torch

    pairs = [
        (torch.ones(256, 1024, dtype=dtype), torch.ones(1024, 1024, dtype=dtype))
        for dtype in (torch.bfloat16, torch.float32)
    ]
    best = [float("inf")] * len(pairs)
    for _ in range(6):
        for n, (left, right) in enumerate(pairs):
            start = time.perf_counter()
            torch.mm(left, right)
            best[n] = min(best[n], time.perf_counter() - start)
    return 2 * best[0] < best[1]


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
