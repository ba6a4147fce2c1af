"""The facts of one part of a world: who did what, sampled from a seed."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

from steper.data.world.names import is_woman
from steper.data.world.schema import YEAR, YEARS, Domain, Relation

_GENERATION_GAP = 25
_WORKING_AGE = (20, 50)
_DRAWS = 4
"""Candidates of which the least mentioned becomes the object: keeps hubs rare."""


@dataclass
class Facts:
    """Entities of one part: types, occupations and facts `(subject, relation) → object`."""

    entities: dict[str, str]
    occupations: dict[str, str] = field(default_factory=dict)
    facts: dict[tuple[str, str], str] = field(default_factory=dict)
    mentions: Counter[str] = field(default_factory=Counter)
    _by_type: dict[str, list[str]] = field(default_factory=dict, repr=False)

    def of_type(self, type_name: str) -> list[str]:
        """The entities of a type, in inventory order."""
        if type_name not in self._by_type:  # asked for at every fact
            named = [name for name, kind in self.entities.items() if kind == type_name]
            self._by_type[type_name] = named
        return list(self._by_type[type_name])

    def get(self, subject: str, relation: str) -> str | None:
        """The object of a fact, or None where the world does not tell it."""
        return self.facts.get((subject, relation))


def sample_facts(domain: Domain, names: dict[str, tuple[str, ...]], rng: random.Random) -> Facts:
    """New facts about `names` (type → names)."""
    facts = Facts({name: kind for kind, group in names.items() for name in group})
    for entity_type in domain.types:
        for name in names[entity_type.name] if entity_type.occupations else ():
            facts.occupations[name] = rng.choice(entity_type.occupations)
    if domain.families:
        _found_families(facts, rng)
    for relation in domain.relations:
        for subject in facts.of_type(relation.subject):
            if (subject, relation.name) in facts.facts:
                continue
            if domain.families and relation.name in ("father", "mother", "spouse"):
                continue
            value = _sample_object(domain, facts, relation, subject, rng)
            if value is not None:
                facts.facts[(subject, relation.name)] = value
    return facts


def _sample_object(
    domain: Domain, facts: Facts, relation: Relation, subject: str, rng: random.Random
) -> str | None:
    if relation.object == YEAR:
        maker = facts.get(subject, relation.maker) if relation.maker else None
        born = facts.get(maker, "birth_year") if maker else None
        if born is None:
            return str(rng.randint(*YEARS))
        return str(min(YEARS[1], int(born) + rng.randint(*_WORKING_AGE)))
    if relation.object in domain.values:
        return rng.choice(domain.values[relation.object])
    choices = [name for name in facts.of_type(relation.object) if name != subject]
    if relation.occupation is not None:
        fitting = [n for n in choices if facts.occupations.get(n) == relation.occupation]
        choices = fitting or choices
    if relation.elder:
        year = int(facts.facts[(subject, "death_year")])
        choices = [n for n in choices if int(facts.facts[(n, "death_year")]) < year - 10]
    if not choices:
        return None
    drawn = rng.sample(choices, min(_DRAWS, len(choices)))
    least = min(drawn, key=facts.mentions.__getitem__)
    facts.mentions[least] += 1
    return least


def _found_families(facts: Facts, rng: random.Random) -> None:
    """Three generations: couples marry within one, and have children in the next."""
    people = facts.of_type("person")
    rng.shuffle(people)
    generations = [people[index::3] for index in range(3)]
    parents: list[tuple[str, str]] = []
    for index, generation in enumerate(generations):
        start = YEARS[0] + index * _GENERATION_GAP
        for person in generation:
            year = start + rng.randrange(_GENERATION_GAP - 5)
            facts.facts[(person, "birth_year")] = str(year)
            if parents:
                father, mother = rng.choice(parents)
                facts.facts[(person, "father")] = father
                facts.facts[(person, "mother")] = mother
        parents = _marry(facts, generation, rng)


def _marry(facts: Facts, generation: list[str], rng: random.Random) -> list[tuple[str, str]]:
    men = [person for person in generation if not is_woman(person)]
    women = [person for person in generation if is_woman(person)]
    rng.shuffle(women)
    couples = []
    for man, woman in zip(men, women, strict=False):
        father = facts.get(man, "father")
        if father is not None and father == facts.get(woman, "father"):
            continue
        facts.facts[(man, "spouse")] = woman
        facts.facts[(woman, "spouse")] = man
        couples.append((man, woman))
    return couples
