"""What a small world is made of: name patterns, entity types, relations and question rules.

A *domain* is data, not code: two of them stand in `domains/` (`culture`, the one students are
distilled on, and `ood`, out of domain: other types, other relations). Everything else in this
package reads a `Domain` and knows nothing of films or ships.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

YEAR = "year"
"""Object type of a relation whose objects are years (one token each, see `YEARS`)."""

YEARS = (1900, 1999)
"""First and last year that any passage may name."""


@dataclass(frozen=True)
class Relation:
    """One relation, with its wordings.

    `nouns`: noun phrases for the inside of a question, `{x}` being an entity or a phrase.
    `asks`: whole questions about `{x}`; the first one is also the sub-question of Self-Ask.
    `rationale`: the sentence of the gold chain, with `{s}` and `{o}`.
    `elder`: the object died well before the subject.
    `maker`: for a year, the relation to the person who was grown up by then.
    """

    name: str
    subject: str
    object: str
    rationale: str
    asks: tuple[str, ...]
    nouns: tuple[str, ...] = ()
    occupation: str | None = None
    elder: bool = False
    maker: str | None = None

    @property
    def label(self) -> str:
        """The relation in an evidence triple, as its rationale words it: "founder", "seat"."""
        found = re.match(r"The (.+?) of \{s\}", self.rationale)
        return found[1] if found else self.name.replace("_", " ")


@dataclass(frozen=True)
class SentenceSpec:
    """One sentence of a passage: the relations it states and its phrasings.

    A phrasing holds `{s}` (the entity), optionally `{occupation}`, and one `{name}` per relation.
    """

    relations: tuple[str, ...]
    phrasings: tuple[str, ...]


@dataclass(frozen=True)
class EntityType:
    """A kind of entity: how many names it has and how its passage is written.

    `passage` is a list of sentences, each a list of alternatives: the first alternative
    whose relations all have a value is written, a sentence with none is left out.
    """

    name: str
    count: int
    passage: tuple[tuple[SentenceSpec, ...], ...]
    occupations: tuple[str, ...] = ()


@dataclass(frozen=True)
class YearComparison:
    """`relation` compared between two entities; phrasings for the lesser and the greater year."""

    relation: str
    first: tuple[str, ...]
    later: tuple[str, ...]


@dataclass(frozen=True)
class SameComparison:
    """Whether two entities share the object of `relation`: yes or no."""

    relation: str
    phrasings: tuple[str, ...]


@dataclass(frozen=True)
class BridgeComparison:
    """Two entities, each led by `bridge` to another entity, compared by a year or an object."""

    bridge: str
    relation: str
    first: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    same: tuple[str, ...] = ()


@dataclass(frozen=True)
class InferenceRule:
    """A named composition of two relations, such as a paternal grandfather."""

    relations: tuple[str, str]
    phrasings: tuple[str, ...]


@dataclass(frozen=True)
class Domain:
    """A whole kind of world."""

    name: str
    types: tuple[EntityType, ...]
    relations: tuple[Relation, ...]
    values: dict[str, tuple[str, ...]] = field(default_factory=dict)
    year_comparisons: tuple[YearComparison, ...] = ()
    same_comparisons: tuple[SameComparison, ...] = ()
    bridge_comparisons: tuple[BridgeComparison, ...] = ()
    inferences: tuple[InferenceRule, ...] = ()
    families: bool = False

    def relation(self, name: str) -> Relation:
        """The relation called `name`."""
        return next(r for r in self.relations if r.name == name)

    def type(self, name: str) -> EntityType:
        """The entity type called `name`."""
        return next(t for t in self.types if t.name == name)
