"""A triple (subject, relation, answer) as a statement and as a question."""

from __future__ import annotations

import re

from steper.gold.names import (
    a_or_an,
    definite,
    is_demonym,
    lower_article,
    possessive,
    quoted,
    river,
    sentence,
    when,
    where,
    with_article,
)
from steper.gold.relations import Relation, relations

_GAMES = re.compile(r".+ at the (?P<event>(?:\d{4} .*)?(?:Olympics|Games|Championships?))$")
_COUNTRY_OF_A_THING = re.compile(r"\b(Act|Party|Law|Treaty|Award|Prize|Representative)\b")
_EVENT = re.compile(r"(Siege|Battle|Treaty|Olympiad|Olympics|Conference|Championships?|Games)\b")
_ACCIDENT = re.compile(r"\b(accident|crash|collision|incident|fire|explosion|shipwreck|battle)\b")
_COUNTABLE = re.compile(
    r"(heart attack|stroke|gunshot wound|(brain )?(tumou?r|hemorrhage)|cerebral|pulmonary embolism|"
    r"myocardial infarction|drug overdose|overdose|aneurysm|subarachnoid)",
    re.I,
)


def triple_statement(subject: str, relation: str, answer: str, previous: str = "") -> str:
    """One sentence that states the triple.

    `previous` is the relation whose answer the subject is, if there is one: it tells people from
    places where the relation alone does not.
    """
    subject = quoted(subject)
    known = (
        _country(subject, relation, answer, previous)
        or _death(subject, relation, answer)
        or _special(subject, relation, answer)
    )
    if known is None:
        template = _relation(relation).statement
        known = template.format(
            s=_noun(subject, relation),
            p=possessive(subject),
            a=_object(relation, answer),
            where=where(answer),
            when=when(answer),
            kind=a_or_an(answer),
        )
    return sentence(known)


def triple_question(subject: str, relation: str, previous: str = "", answer: str = "") -> str:
    """The question that the triple's answer answers.

    `previous` as in `triple_statement`; whether a nationality or a country is asked for is as the
    `answer` says.
    """
    subject = quoted(subject)
    games = _GAMES.match(subject)
    if relation == "country" and games is not None:
        text = f"Which country were the {games['event']} held in?"
    elif relation == "country" and _COUNTRY_OF_A_THING.search(subject):
        text = f"What is the country of {definite(subject)}?"
    elif relation == "location" and _EVENT.search(subject):
        text = f"Where did {definite(subject)} take place?"
    elif relation == "country of citizenship":
        by_name = bool(answer) and not is_demonym(answer)
        text = (
            f"Which country is {subject} a citizen of?"
            if by_name
            else f"What is the nationality of {subject}?"
        )
    elif relation == "country of origin":
        text = f"Which country is {subject} from?"
    elif relation == "country":
        text = (
            f"Which country is {subject} from?"
            if previous in relations().makers
            else f"Which country is {_noun(subject, relation)} in?"
        )
    elif relation == "cause of death":
        text = f"What did {subject} die of?"
    else:
        noun = _noun(subject, relation)
        text = _relation(relation).question.format(s=noun, p=possessive(subject))
    return sentence(text)


def _relation(name: str) -> Relation:
    if name in relations().words:
        return relations().words[name]
    noun = re.sub(r"^(the|an?) ", "", name.strip())
    return Relation(f"The {noun} of {{s}} is {{a}}", f"What is the {noun} of {{s}}?")


def _noun(subject: str, relation: str) -> str:
    """The subject with the article that rivers, parties, sieges, … need; titles of works stay."""
    return definite(subject) if relation in relations().places else river(subject)


def _object(relation: str, answer: str) -> str:
    if relation == "award received" and not re.match(r"the\b", answer, re.I):
        return f"the {answer}"
    if relation == "mouth of the watercourse" and " " not in answer:
        return f"the {answer}"
    if relation in ("capital of", "mouth of the watercourse", "part of", "shares border with"):
        return definite(answer)
    if relation in ("applies to jurisdiction", "member of political party", "educated at"):
        return definite(answer)
    return lower_article(answer)


def _country(subject: str, relation: str, answer: str, previous: str) -> str | None:
    if relation not in ("country", "country of citizenship", "country of origin"):
        return None
    if is_demonym(answer):
        return f"{_noun(subject, relation)} is {answer}"
    country = with_article(answer)
    if relation == "country":
        if (games := _GAMES.match(subject)) is not None:
            return f"the {games['event']} were held in {country}"
        if _COUNTRY_OF_A_THING.search(subject):
            return f"the country of {_noun(subject, relation)} is {country}"
        if previous not in relations().makers:
            return f"{_noun(subject, relation)} is in {country}"
    if relation == "country of citizenship":
        return f"{subject} is a citizen of {country}"
    return f"{subject} is from {country}"


def _death(subject: str, relation: str, answer: str) -> str | None:
    if relation not in ("cause of death", "manner of death"):
        return None
    if answer.lower() in ("suicide", "assassination", "execution", "hanging", "drowning"):
        return f"{subject} died by {answer}"
    if _ACCIDENT.search(answer.lower()):
        return f"{subject} died in {a_or_an(answer)}"
    return f"{subject} died of {a_or_an(answer) if _COUNTABLE.match(answer) else answer}"


def _special(subject: str, relation: str, answer: str) -> str | None:
    if relation == "location" and _EVENT.search(subject):
        return f"{_noun(subject, relation)} took place {where(answer)}"
    plural = a_or_an(answer) == answer and answer.endswith("s")
    if relation == "instance of" and plural and answer.islower():
        return f"{_noun(subject, relation)} is one of the {answer}"
    return None
