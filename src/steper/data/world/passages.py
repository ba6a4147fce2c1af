"""Passages: what the encyclopedia says about each entity."""

from __future__ import annotations

import random
from dataclasses import dataclass

from steper.data.world.facts import Facts
from steper.data.world.schema import Domain


@dataclass(frozen=True)
class WorldPassage:
    """One article: its sentences, and which sentence states which relation."""

    title: str
    part: str
    sentences: tuple[str, ...]
    stated: dict[str, int]

    @property
    def text(self) -> str:
        """The article as one string."""
        return " ".join(self.sentences)


def write_passages(
    domain: Domain, facts: Facts, part: str, rng: random.Random
) -> dict[str, WorldPassage]:
    """The article of every entity, by title."""
    passages = {}
    for title, kind in facts.entities.items():
        values = {
            relation.name: value
            for relation in domain.relations
            if relation.subject == kind and (value := facts.get(title, relation.name)) is not None
        }
        sentences: list[str] = []
        stated: dict[str, int] = {}
        for alternatives in domain.type(kind).passage:
            spec = next(
                (a for a in alternatives if all(name in values for name in a.relations)), None
            )
            if spec is None:
                continue
            stated.update(dict.fromkeys(spec.relations, len(sentences)))
            phrasing = rng.choice(spec.phrasings)
            sentences.append(
                phrasing.format(s=title, occupation=facts.occupations.get(title, ""), **values)
            )
        passages[title] = WorldPassage(title, part, tuple(sentences), stated)
    return passages
