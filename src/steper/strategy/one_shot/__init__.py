"""Retrieve once with the question, then reason and answer."""

from __future__ import annotations

from steper.prompt.words import Words
from steper.store import package_text
from steper.strategy.readers import whole_chain
from steper.strategy.single import SingleStep

__all__ = ["OneShot"]


class OneShot(SingleStep):
    """Retrieve once with the question, then reason and answer."""

    name = "one_shot"
    words = Words("one_shot", package_text(__package__, "instruction.txt"), whole_chain)
