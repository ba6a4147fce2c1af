"""Questions with their gold chains: 2Wiki's four types, from two to four hops.

Every entity of a chain, the answer included, belongs to the part that the question is made for.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from steper.data.world.facts import Facts
from steper.data.world.passages import WorldPassage
from steper.data.world.schema import (
    YEAR,
    BridgeComparison,
    Domain,
    Relation,
    SameComparison,
    YearComparison,
)

MIX = {"compositional": 0.5, "comparison": 0.18, "bridge_comparison": 0.22, "inference": 0.1}
"""Share of each question type."""

BY_YEAR = 0.25
"""Share of the comparisons that compare years; the others ask whether two things are the same.

The shipped models learn which of two years is first, but hardly whose year it is (docs/log.md), so
more of them would add noise to every comparison of methods on these worlds.
"""

_ID = re.compile(r"([a-z_]+-\d+)-(train|dev|test)-\d{5,}")

_MISSES = 2000
"""Draws in a row without a new question after which a part counts as exhausted."""

MIN_YEARS_APART = 5
"""Compared years differ by at least this much."""


def world_of(question_id: str) -> str:
    """The generated world that a question of this id is about (`culture-11`); "" for others.

    Its file has a benchmark's format.
    """
    found = _ID.fullmatch(question_id)
    return found[1] if found else ""


@dataclass(frozen=True)
class WorldHop:
    """One link of a gold chain: what to ask, what the encyclopedia says, and where."""

    sub_question: str
    rationale: str
    subject: str
    relation: str
    answer: str
    title: str
    sentence: int


@dataclass(frozen=True)
class WorldQuestion:
    """A question, its answer and its gold chain."""

    id: str
    type: str
    part: str
    question: str
    answer: str
    hops: tuple[WorldHop, ...]

    @property
    def gold_titles(self) -> tuple[str, ...]:
        """Titles of the gold passages, in the order in which the chain needs them."""
        return tuple(dict.fromkeys(hop.title for hop in self.hops))


@dataclass(frozen=True)
class _QuestionDraft:
    type: str
    question: str
    answer: str
    hops: tuple[WorldHop, ...]


class QuestionMaker:
    """Draws questions about one part of a world."""

    def __init__(
        self,
        domain: Domain,
        facts: Facts,
        passages: dict[str, WorldPassage],
        rng: random.Random,
    ) -> None:
        self._domain = domain
        self._facts = facts
        self._passages = passages
        self._rng = rng
        self._relations: dict[str, list[Relation]] = {}
        for relation in domain.relations:
            self._relations.setdefault(relation.subject, []).append(relation)
        self._entities = list(facts.entities)
        self._makers: dict[str, Callable[[], _QuestionDraft | None]] = {
            "compositional": self._compositional,
            "comparison": self._comparison,
            "bridge_comparison": self._bridge,
            "inference": self._inference,
        }

    def make(self, count: int, part: str, prefix: str) -> list[WorldQuestion]:
        """`count` different questions; raises ValueError if the part cannot give that many."""
        seen: set[str] = set()
        questions: list[WorldQuestion] = []
        misses = 0
        while len(questions) < count and misses < _MISSES:
            misses += 1
            kind = self._rng.choices(list(MIX), list(MIX.values()))[0]
            draft = self._makers[kind]()
            if draft is None or draft.question in seen:
                continue
            misses = 0
            seen.add(draft.question)
            questions.append(
                WorldQuestion(
                    f"{prefix}-{part}-{len(questions):05d}",
                    draft.type,
                    part,
                    draft.question,
                    draft.answer,
                    draft.hops,
                )
            )
        if len(questions) < count:
            raise ValueError(f"the {part} part gives only {len(questions)} questions")
        return questions

    def one_hop(self, title: str) -> list[tuple[str, WorldHop]]:
        """Every single question that the passage `title` answers, with its hop."""
        found = []
        for relation in self._relations[self._facts.entities[title]]:
            hop = self._hop(title, relation)
            if hop is not None:
                found.append((self._rng.choice(relation.asks).format(x=title), hop))
        return found

    def _hop(self, subject: str, relation: Relation) -> WorldHop | None:
        value = self._facts.get(subject, relation.name)
        sentence = self._passages[subject].stated.get(relation.name)
        if value is None or sentence is None:
            return None
        return WorldHop(
            sub_question=relation.asks[0].format(x=subject),
            rationale=relation.rationale.format(s=subject, o=value),
            subject=subject,
            relation=relation.name,
            answer=value,
            title=subject,
            sentence=sentence,
        )

    def _compositional(self) -> _QuestionDraft | None:
        length = self._rng.choice((2, 3, 4))
        entity = self._rng.choice(self._entities)
        hops: list[WorldHop] = []
        relations: list[Relation] = []
        visited = {entity}
        for index in range(length):
            options = [
                r
                for r in self._relations.get(self._facts.entities[entity], ())
                if r not in relations and (r.nouns or index == length - 1)
            ]
            if not options:
                return None
            relation = self._rng.choice(options)
            hop = self._hop(entity, relation)
            if hop is None or hop.answer in visited:
                return None
            hops.append(hop)
            relations.append(relation)
            entity = hop.answer
            visited.add(entity)
        if self._is_inference(relations):
            return None
        phrase = hops[0].subject
        for relation in relations[:-1]:
            phrase = self._rng.choice(relation.nouns).format(x=phrase)
        question = self._rng.choice(relations[-1].asks).format(x=phrase)
        return _QuestionDraft("compositional", question, hops[-1].answer, tuple(hops))

    def _is_inference(self, relations: list[Relation]) -> bool:
        names = tuple(r.name for r in relations)
        return any(names == rule.relations for rule in self._domain.inferences)

    def _inference(self) -> _QuestionDraft | None:
        rule = self._rng.choice(self._domain.inferences)
        first, second = (self._domain.relation(name) for name in rule.relations)
        subject = self._rng.choice(self._facts.of_type(first.subject))
        one = self._hop(subject, first)
        two = self._hop(one.answer, second) if one is not None else None
        if one is None or two is None or two.answer == subject:
            return None
        question = self._rng.choice(rule.phrasings).format(x=subject)
        return _QuestionDraft("inference", question, two.answer, (one, two))

    def _comparison(self) -> _QuestionDraft | None:
        rules: tuple[YearComparison | SameComparison, ...] = self._domain.same_comparisons
        if self._rng.random() < BY_YEAR:
            rules = self._domain.year_comparisons
        rule = self._rng.choice(rules)
        relation = self._domain.relation(rule.relation)
        subjects = self._facts.of_type(relation.subject)
        if isinstance(rule, SameComparison):
            return self._same(rule.phrasings, "comparison", subjects, [relation])
        return self._years(rule, "comparison", subjects, [relation])

    def _bridge(self) -> _QuestionDraft | None:
        by_year = self._rng.random() < BY_YEAR
        rules = [r for r in self._domain.bridge_comparisons if bool(r.first) == by_year]
        rule = self._rng.choice(rules)
        path = [self._domain.relation(rule.bridge), self._domain.relation(rule.relation)]
        subjects = self._facts.of_type(path[0].subject)
        if path[1].object != YEAR:
            return self._same(rule.same, "bridge_comparison", subjects, path)
        return self._years(rule, "bridge_comparison", subjects, path)

    def _chain(self, subject: str, path: list[Relation]) -> list[WorldHop] | None:
        hops: list[WorldHop] = []
        for relation in path:
            hop = self._hop(hops[-1].answer if hops else subject, relation)
            if hop is None:
                return None
            hops.append(hop)
        return hops

    def _pair(
        self, subjects: list[str], path: list[Relation]
    ) -> tuple[list[WorldHop], list[WorldHop]] | None:
        if len(subjects) < 2:
            return None
        a, b = self._rng.sample(subjects, 2)
        left, right = self._chain(a, path), self._chain(b, path)
        if left is None or right is None:
            return None
        if len({hop.title for hop in (*left, *right)}) < 2 * len(path):
            return None
        return left, right

    def _years(
        self,
        rule: YearComparison | BridgeComparison,
        kind: str,
        subjects: list[str],
        path: list[Relation],
    ) -> _QuestionDraft | None:
        pair = self._pair(subjects, path)
        if pair is None:
            return None
        left, right = pair
        gap = int(left[-1].answer) - int(right[-1].answer)
        if abs(gap) < MIN_YEARS_APART:
            return None
        want_first = self._rng.random() < 0.5
        a, b = left[0].subject, right[0].subject
        phrasing = self._rng.choice(rule.first if want_first else rule.later)
        answer = a if (gap < 0) == want_first else b
        return _QuestionDraft(kind, phrasing.format(a=a, b=b), answer, _interleave(left, right))

    def _same(
        self, phrasings: tuple[str, ...], kind: str, subjects: list[str], path: list[Relation]
    ) -> _QuestionDraft | None:
        want_same = self._rng.random() < 0.5
        for _ in range(200):
            pair = self._pair(subjects, path)
            if pair is None:
                continue
            left, right = pair
            if (left[-1].answer == right[-1].answer) == want_same:
                a, b = left[0].subject, right[0].subject
                question = self._rng.choice(phrasings).format(a=a, b=b)
                answer = "yes" if want_same else "no"
                return _QuestionDraft(kind, question, answer, _interleave(left, right))
        return None


def _interleave(left: list[WorldHop], right: list[WorldHop]) -> tuple[WorldHop, ...]:
    return tuple(hop for pair in zip(left, right, strict=True) for hop in pair)
