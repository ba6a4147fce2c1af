"""Whether several servers serve one model, by what they say at /models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from steper.lm.base import FatalModelError
from steper.lm.openai_address import CONNECT_SECONDS, without_password

TOLD = ("max_model_len", "meta")
"""What vLLM and SGLang, and llama.cpp, tell of a model beside its name."""

MEND = "all addresses in base_url must serve one model"


def check_same_model(
    name: str,
    model: str,
    urls: Sequence[str],
    keys: Sequence[str],
    hide: Callable[[Any], Any],
) -> None:
    """Refuse servers of which one does not serve `model` as the others do.

    A server that takes any name (llama.cpp) must list what the others list. Raises FatalModelError.
    """
    listed = [_models(name, url, key, hide) for url, key in zip(urls, keys, strict=True)]
    first, *others = zip(map(without_password, urls), listed, strict=True)
    by_name = any(model in models for models in listed)
    for address, models in (first, *others):
        if by_name and model not in models:
            serves = ", ".join(map(repr, sorted(models)[:3])) or "nothing"
            raise FatalModelError(f"{name}: {address} serves {serves}, not {model!r}; {MEND}")
    for address, models in others:
        there, here = (_told(m, model) if by_name else m for m in (first[1], models))
        if there != here:
            raise FatalModelError(
                f"{name}: {address} serves another model than {first[0]}: {_short(here)}, not "
                f"{_short(there)}; {MEND}"
            )


def _told(models: dict[str, dict[str, Any]], model: str) -> dict[str, Any]:
    return {key: models[model].get(key) for key in TOLD}


def _short(value: Any) -> str:
    return str(value)[:100]


def _models(name: str, url: str, key: str, hide: Callable[[Any], Any]) -> dict[str, dict[str, Any]]:
    """What a server says of each model that it serves, by name. Raises FatalModelError."""
    import httpx

    address = httpx.URL(url)
    try:
        reply = httpx.get(
            address.copy_with(path=f"{address.path.rstrip('/')}/models"),
            headers={"authorization": f"Bearer {key}"},
            timeout=CONNECT_SECONDS,
        )
        reply.raise_for_status()
        rows = hide(reply.json())["data"]
        return {
            str(row["id"]): {told: row.get(told) for told in TOLD} for row in rows if row.get("id")
        }
    except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError) as error:
        why = " ".join(hide(str(error)).split())[:200]
        raise FatalModelError(
            f"{name}: {without_password(url)} does not say at /models what it serves "
            f"({type(error).__name__}: {why}), so nobody can tell whether it serves the same model "
            "as the others; take it out of base_url"
        ) from None
