"""Iter-RetGen (Shao et al., Findings of EMNLP 2023): write all, search with it, write anew.

Differs from the paper: the next query is what was written, without the question in front of it,
and passages of earlier searches stay.
"""

from __future__ import annotations

from dataclasses import replace

from steper.strategy.one_shot import OneShot
from steper.strategy.single_pass import SinglePass

__all__ = ["IterRetGen"]


class IterRetGen(SinglePass):
    """Reason to the end, search with what was written, and write it anew (Shao et al., 2023)."""

    name = "iter_retgen"
    words = replace(OneShot.words, name=name)
