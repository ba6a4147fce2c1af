"""A sentence and a question for each relation of Wikidata that the benchmarks use.

In the templates {s} is the subject, {p} its possessive and {a} the answer. A relation that is not
listed is worded by its name: "The {relation} of {s} is {a}." What depends on the kind of answer
(dates, countries, places) is in `triples`.
"""

from __future__ import annotations

from typing import NamedTuple


class Relation(NamedTuple):
    """How a relation reads: a statement without its full stop, and a question."""

    statement: str
    question: str


def _role(noun: str, asks: str = "Who") -> Relation:
    return Relation(f"The {noun} of {{s}} is {{a}}", f"{asks} is the {noun} of {{s}}?")


def _verb(statement: str, question: str) -> Relation:
    return Relation(statement, question)


def _of_what(noun: str) -> Relation:
    return _role(noun, "What")


_WHO = """
director performer composer father mother spouse child sibling author producer creator editor
screenwriter architect presenter publisher developer manufacturer owner operator distributor
conductor illustrator librettist cinematographer lyricist designer chairperson
"""
WHO_ROLES = tuple(_WHO.split())

RELATIONS: dict[str, Relation] = {
    **{noun: _role(noun) for noun in WHO_ROLES},
    "child": _verb("A child of {s} is {a}", "Who is the child of {s}?"),
    "sibling": _verb("A sibling of {s} is {a}", "Who is the sibling of {s}?"),
    "publisher": _verb("{s} was published by {a}", "Who published {s}?"),
    "developer": _verb("{s} was developed by {a}", "Who developed {s}?"),
    "manufacturer": _verb("{s} was made by {a}", "Who made {s}?"),
    "operator": _verb("{s} is operated by {a}", "Who operates {s}?"),
    "distributor": _verb("{s} was distributed by {a}", "Who distributed {s}?"),
    "designer": _verb("{s} was designed by {a}", "Who designed {s}?"),
    "designed by": _verb("{s} was designed by {a}", "Who designed {s}?"),
    "lyrics by": _verb("The lyrics of {s} were written by {a}", "Who wrote the lyrics of {s}?"),
    "founded by": _verb("{s} was founded by {a}", "Who founded {s}?"),
    "doctoral advisor": _role("doctoral advisor"),
    "head of government": _role("head of government"),
    "head of state": _role("head of state"),
    "chief executive officer": _role("chief executive officer"),
    "director / manager": _role("manager"),
    "head coach": _role("head coach"),
    "cast member": _verb("A cast member of {s} is {a}", "Who is a cast member of {s}?"),
    "characters": _verb("A character of {s} is {a}", "Who is a character of {s}?"),
    "voice actor": _verb("{s} is voiced by {a}", "Who voices {s}?"),
    "student of": _verb("{s} was a student of {a}", "Who was the teacher of {s}?"),
    "student": _verb("A student of {s} was {a}", "Who was a student of {s}?"),
    "influenced by": _verb("{s} was influenced by {a}", "Who influenced {s}?"),
    "partner": _verb("The partner of {s} is {a}", "Who is the partner of {s}?"),
    "unmarried partner": _verb("The partner of {s} is {a}", "Who is the partner of {s}?"),
    "relative": _verb("A relative of {s} is {a}", "Who is a relative of {s}?"),
    "stepparent": _role("stepparent"),
    "named after": _verb("{s} was named after {a}", "Who or what was {s} named after?"),
    "discoverer or inventor": _verb("{s} was discovered by {a}", "Who discovered {s}?"),
    "owned by": _verb("{s} is owned by {a}", "Who owns {s}?"),
    "parent organization": _of_what("parent organization"),
    "parent company": _of_what("parent company"),
    "subsidiary": _verb("A subsidiary of {s} is {a}", "What is a subsidiary of {s}?"),
    "production company": _of_what("production company"),
    "record label": _of_what("record label"),
    "original broadcaster": _verb("{s} was first broadcast by {a}", "Who first broadcast {s}?"),
    "original network": _verb("{s} was first broadcast by {a}", "Which network broadcast {s}?"),
    "licensed to broadcast to": _verb(
        "{s} is licensed to broadcast to {a}", "Where is {s} licensed to broadcast to?"
    ),
    "educated at": _verb("{s} was educated at {a}", "Where was {s} educated?"),
    "employer": _verb("{s} worked for {a}", "Who did {s} work for?"),
    "award received": _verb("The award that {s} received is {a}", "Which award did {s} receive?"),
    "nominated for": _verb("{s} was nominated for {a}", "What was {s} nominated for?"),
    "position held": _verb("{s} held the position of {a}", "Which position did {s} hold?"),
    "field of work": _of_what("field of work"),
    "religion": _of_what("religion"),
    "native language": _of_what("native language"),
    "language of work or name": _of_what("language"),
    "original language of film or TV show": _of_what("original language"),
    "official language": _of_what("official language"),
    "languages spoken, written or signed": _verb(
        "A language of {s} is {a}", "Which language does {s} speak?"
    ),
    "ethnic group": _of_what("ethnic group"),
    "noble title": _of_what("noble title"),
    "family": _verb("{s} belongs to the family {a}", "Which family does {s} belong to?"),
    "noble family": _verb("{s} belongs to {a}", "Which noble family does {s} belong to?"),
    "military branch": _verb("{s} served in {a}", "Which military branch did {s} serve in?"),
    "conflict": _verb("{s} took part in {a}", "Which conflict did {s} take part in?"),
    "member of": _verb("{s} is a member of {a}", "What is {s} a member of?"),
    "member of political party": _verb(
        "{s} is a member of {a}", "Which political party is {s} a member of?"
    ),
    "member of sports team": _verb(
        "{s} is a member of the team {a}", "Which sports team is {s} a member of?"
    ),
    "sport": _verb("The sport of {s} is {a}", "Which sport does {s} belong to?"),
    "league": _verb("{s} plays in the league {a}", "Which league does {s} play in?"),
    "part of": _verb("{s} is part of {a}", "What is {s} part of?"),
    "has part": _verb("A part of {s} is {a}", "What is a part of {s}?"),
    "part of the series": _verb("{s} is part of the series {a}", "Which series is {s} part of?"),
    "follows": _verb("{s} follows {a}", "What does {s} follow?"),
    "followed by": _verb("{s} is followed by {a}", "What is {s} followed by?"),
    "replaces": _verb("{s} replaced {a}", "What did {s} replace?"),
    "replaced by": _verb("{s} was replaced by {a}", "What was {s} replaced by?"),
    "based on": _verb("{s} is based on {a}", "What is {s} based on?"),
    "present in work": _verb("{s} appears in {a}", "Which work does {s} appear in?"),
    "genre": _of_what("genre"),
    "instrument": _verb("{s} plays the instrument {a}", "Which instrument does {s} play?"),
    "platform": _verb("{s} was released for {a}", "Which platform was {s} released for?"),
    "capital": _of_what("capital"),
    "capital of": _verb("{s} is the capital of {a}", "What is {s} the capital of?"),
    "continent": _verb("{s} is on the continent of {a}", "Which continent is {s} on?"),
    "shares border with": _verb(
        "{s} shares a border with {a}", "What does {s} share a border with?"
    ),
    "located in or next to body of water": _verb(
        "{s} is located in or next to {a}", "Which body of water is {s} located in or next to?"
    ),
    "mouth of the watercourse": _verb("{s} flows into {a}", "What does {s} flow into?"),
    "tributary": _verb("A tributary of {s} is {a}", "What is a tributary of {s}?"),
    "mountain range": _verb(
        "{s} is part of the mountain range {a}", "Which mountain range is {s} part of?"
    ),
    "highest point": _of_what("highest point"),
    "crosses": _verb("{s} crosses {a}", "What does {s} cross?"),
    "twinned administrative body": _verb("{s} is twinned with {a}", "What is {s} twinned with?"),
    "applies to jurisdiction": _verb(
        "{s} applies to the jurisdiction of {a}", "Which jurisdiction does {s} apply to?"
    ),
    "basin country": _of_what("basin country"),
    "time zone": _of_what("time zone"),
    "parent taxon": _of_what("parent taxon"),
}

IN_PLACE: dict[str, Relation] = {
    "located in the administrative territorial entity": _verb(
        "{s} is located {where}", "Which administrative territory is {s} located in?"
    ),
    "location": _verb("{s} is located {where}", "Where is {s} located?"),
    "headquarters location": _verb(
        "The headquarters of {s} are {where}", "Where are the headquarters of {s}?"
    ),
    "location of formation": _verb("{s} was formed {where}", "Where was {s} formed?"),
    "place of birth": _verb("{s} was born {where}", "Where was {s} born?"),
    "place of death": _verb("{s} died {where}", "Where did {s} die?"),
    "place of burial": _verb("{s} was buried {where}", "Where was {s} buried?"),
    "place of detention": _verb("{s} was detained {where}", "Where was {s} detained?"),
    "residence": _verb("{s} lived {where}", "Where did {s} live?"),
    "work location": _verb("{s} worked {where}", "Where did {s} work?"),
    "filming location": _verb("{s} was filmed {where}", "Where was {s} filmed?"),
    "narrative location": _verb("{s} is set {where}", "Where is {s} set?"),
}

ON_DATE: dict[str, Relation] = {
    "date of birth": _verb("{s} was born {when}", "When was {s} born?"),
    "date of death": _verb("{s} died {when}", "When did {s} die?"),
    "publication date": _verb("{s} was released {when}", "When was {s} released?"),
    "inception": _verb("{s} was founded {when}", "When was {s} founded?"),
    "start time": _verb("{s} began {when}", "When did {s} begin?"),
    "end time": _verb("{s} ended {when}", "When did {s} end?"),
    "point in time": _verb("{s} took place {when}", "When did {s} take place?"),
}

CLASSES: dict[str, Relation] = {
    "instance of": _verb("{s} is {kind}", "What is {s} an instance of?"),
    "occupation": _verb("{s} is {kind}", "What is the occupation of {s}?"),
    "subclass of": _verb("{s} is {kind}", "What kind of thing is {s}?"),
}
