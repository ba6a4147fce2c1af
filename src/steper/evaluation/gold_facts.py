"""Which facts of a question's gold annotation a text tells.

In: a Question with a decomposition, and what a step wrote. Out: its `GoldFact`s, and the positions
of those that the text tells.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from rapidfuzz import fuzz

from steper.data.world import DOMAINS
from steper.gold.alignment import fold_to_words, without_qualifier
from steper.gold.hops import GoldHop, gold_hops
from steper.gold.relations import relations
from steper.grounding import telling_words
from steper.records import Passage, Question
from steper.strategy.ircot.queries import is_reasoning
from steper.strategy.reading import with_whole_titles, without_question
from steper.strategy.stated_answer import stated_answer
from steper.text import sentences

SAME_QUESTION = 90.0
"""Questions at least this alike (0 to 100) are one."""

_NOUN_OF = re.compile(r"\b(?:the|an?) ((?:[a-z]+ )?[a-z]+) of\b", re.IGNORECASE)
_LITTLE_WORDS = """
a an and are as at by did do does for from had has have her his how in is it its of on or that the
their to was were what when where which who whom whose with
"""
_LITTLE = frozenset(_LITTLE_WORDS.split())
_ARTICLE = re.compile(r"\A(?:the|an?) ")


@dataclass(frozen=True, slots=True)
class GoldFact:
    """One fact that an answer needs, as it is looked up.

    `subjects`: names of what it is about, any of which will do; `about`: where the annotation has
    a sub-question instead, all of its names and numbers. `answer` is folded, without an article.
    `words` are those in lower case by which its relation is told.
    """

    position: int
    subjects: tuple[str, ...]
    about: frozenset[str]
    answer: str
    words: frozenset[str]
    passage: Passage

    def named_in(self, text: str) -> bool:
        """Whether a folded text names what the fact is about."""
        if self.subjects:
            return any(_in_a_row(name, text) for name in self.subjects)
        return self.about <= set(text.split())

    def answered_in(self, text: str) -> bool:
        """Whether a folded text holds the answer: in a row, or where it has a number, at all."""
        if _in_a_row(self.answer, text):
            return True
        dated = any(c.isdigit() for c in self.answer)
        return dated and set(self.answer.split()) <= set(text.split())


def gold_facts(question: Question) -> tuple[GoldFact, ...]:
    """The facts of a question's decomposition that have a gold passage and an answer.

    None without one (HotpotQA): supporting sentences tell more than what is needed.
    """
    hops = gold_hops(question)
    facts = []
    for position, (hop, own) in enumerate(zip(hops, question.decomposition, strict=False)):
        answer = _ARTICLE.sub("", fold_to_words(hop.answer), count=1)
        if hop.passage is None or not answer:
            continue
        names = _names(hop, own.subject, [hops[i].answer for i in hop.needs])
        told = fold_to_words(f"{own.relation or ''} {_lower_case(hop.statement, hop.question)}")
        facts.append(
            GoldFact(
                position=position,
                subjects=names,
                about=frozenset() if names else frozenset(telling_words(hop.question)),
                answer=answer,
                words=frozenset(told.split()) - _LITTLE,
                passage=hop.passage,
            )
        )
    return tuple(facts)


def _names(hop: GoldHop, subject: str | None, parents: Sequence[str]) -> tuple[str, ...]:
    """What a triple's subject may be called: as annotated, as the hop before found it, by title."""
    if subject is None:
        return ()
    title = hop.passage.title if hop.passage else ""
    folded = (fold_to_words(without_qualifier(name)) for name in (subject, *parents, title))
    return tuple(dict.fromkeys(_ARTICLE.sub("", name, count=1) for name in folded if name))


def _lower_case(*texts: str) -> str:
    return " ".join(word for text in texts for word in text.split() if word[:1].islower())


def _in_a_row(words: str, text: str) -> bool:
    return bool(words) and f" {words} " in f" {text} "


@dataclass(frozen=True, slots=True)
class Claim:
    """One sentence of a step; `given` is what it goes on from: the sentence before, or a query."""

    text: str
    given: str
    concludes: bool


def concludes(sentence: str) -> bool:
    """Whether a sentence only concludes: it states the answer, or begins with "Thus"."""
    return stated_answer(sentence) is not None or is_reasoning(sentence)


def claims(text: str, query: str, titles: Sequence[str] = ()) -> list[Claim]:
    """The sentences of what a step wrote that tell something: questions are left out."""
    found: list[Claim] = []
    given = query
    for line in text.splitlines():
        for sentence in with_whole_titles(sentences(line), titles):
            told = without_question(sentence)
            if told:
                found.append(Claim(told, given, concludes(told)))
                given = told
    return found


def told_in(claim: Claim, facts: Iterable[GoldFact]) -> set[int]:
    """Positions of the facts that a sentence tells.

    It holds the answer, and the subject beside it; a subject that the sentence does not name, nor
    anything else beside the answer ("He was born in 1901", "Intermediate answer: 1901"), is taken
    from what it goes on from, but for a conclusion. A sentence that tells another known relation
    by name ("the founder of") and no word of the fact's own does not tell it.
    """
    text = fold_to_words(claim.text)
    told = set()
    for fact in facts:
        if not fact.answered_in(text) or _other_relation(claim.text, fact):
            continue
        rest = _without(text, fact.answer)
        if fact.named_in(rest) or (fact.about and fact.named_in(text)):
            told.add(fact.position)
        elif not claim.concludes and not _names_others(claim.text, fact.answer):
            told |= {fact.position} if fact.named_in(fold_to_words(claim.given)) else set()
    return told


def _without(text: str, words: str) -> str:
    """A folded text without the first place where these words stand in a row."""
    return f" {text} ".replace(f" {words} ", " ", 1).strip()


def _names_others(text: str, answer: str) -> bool:
    """Whether a sentence has names or numbers beside the answer's."""
    return bool(set(telling_words(text)) - {*answer.split(), "he", "she", "his", "her", "they"})


def _other_relation(text: str, fact: GoldFact) -> bool:
    if fact.words & set(fold_to_words(text).split()):
        return False
    return any(noun[1].lower() in _relation_names() for noun in _NOUN_OF.finditer(text))


@cache
def _relation_names() -> frozenset[str]:
    """The relations of the benchmarks and of the generated worlds, by name."""
    worlds = (relation.label for domain in DOMAINS.values() for relation in domain.relations)
    return frozenset((*relations().words, *worlds))


def asked_in(text: str, question: str, facts: Iterable[GoldFact]) -> set[int]:
    """Positions of the facts that a step's question asks for, given the question of all.

    It names what the fact is about and is not the whole question over again (rapidfuzz's
    token_sort_ratio over folded texts); which relation it asks for is not looked at, because there
    are too many ways to ask.
    """
    asked = [s for line in text.splitlines() for s in sentences(line) if s.endswith("?")]
    found = set()
    for sentence in (fold_to_words(s.rpartition(": ")[2]) for s in asked):  # without "Follow up: "
        if fuzz.token_sort_ratio(sentence, fold_to_words(question)) < SAME_QUESTION:
            found |= {fact.position for fact in facts if fact.named_in(sentence)}
    return found
