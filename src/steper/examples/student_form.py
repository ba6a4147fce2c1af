"""How a student is addressed: as a chat, or by text to continue."""

from __future__ import annotations

from typing import Any

from steper.errors import ModelError, brief_reason, missing_extra
from steper.lm.model_source import find_source
from steper.prompt.segments import Form


def student_form(model: str) -> Form:
    """`chat` where the model's tokenizer has a chat template, else `plain`.

    Raises as `model_tokenizer` does.
    """
    return "chat" if getattr(model_tokenizer(model), "chat_template", None) else "plain"


def model_tokenizer(model: str, **options: Any) -> Any:
    """The tokenizer of what `lm.model_source` finds; the options are those of `from_pretrained`.

    Raises ModelError where there is none, MissingExtraError without transformers.
    """
    try:
        return find_source(model.removeprefix("hf:")).tokenizer(**options)
    except ImportError as error:
        raise missing_extra("transformers", "hf", error) from None
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"{model}: its tokenizer cannot be read ({brief_reason(error, 200)})"
        ) from None
