"""A sentence and a question for each relation of Wikidata that the benchmarks use.

They stand in `relations.yaml`. A relation that is not listed is worded by its name: "The {relation}
of {s} is {a}." What depends on the kind of answer (dates, countries, places) is in `triples`.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from steper.records import Record
from steper.store import package_yaml


class Relation(NamedTuple):
    """How a relation reads: a statement without its full stop, and a question."""

    statement: str
    question: str


class Relations(Record):
    """`words` by relation; whose answers are `dates` or `makers`, whose subjects `places`."""

    words: dict[str, Relation]
    dates: frozenset[str]
    makers: frozenset[str]
    places: frozenset[str]


@cache
def relations() -> Relations:
    """What `relations.yaml` says."""
    return Relations.model_validate(package_yaml(__package__, "relations.yaml"))
