"""KARD's reader (Kang et al., NeurIPS 2023): explain step by step with given knowledge."""

from __future__ import annotations

from steper.prompt.words import Words
from steper.store import package_text
from steper.strategy.readers import whole_chain
from steper.strategy.single_pass import SinglePass

__all__ = ["Kard"]


class Kard(SinglePass):
    """Explain and answer from passages given as knowledge (Kang et al., 2023)."""

    name = "kard"
    words = Words(
        "kard",
        package_text(__package__, "instruction.txt"),
        whole_chain,
        shown="Knowledge:\n{passages}\n\n",
        nothing="Knowledge: None\n\n",
    )
