import pytest

from steper.gold.names import (
    a_or_an,
    bare,
    definite,
    is_demonym,
    sentence,
    when,
    where,
    with_article,
)


@pytest.mark.parametrize("value", ["American", "British", "Swiss", "Sri Lankan", "Anglo-Irish"])
def test_demonyms(value):
    assert is_demonym(value)


@pytest.mark.parametrize(
    "value",
    ["India", "Japan", "Pakistan", "U.S.", "Mali", "Bosnia and Herzegovina", "Qing dynasty"],
)
def test_countries_are_no_demonyms(value):
    assert not is_demonym(value)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("United States", "the United States"),
        ("U.S.", "the U.S."),
        ("Qing dynasty", "the Qing dynasty"),
        ("The Netherlands", "the Netherlands"),
        ("France", "France"),
    ],
)
def test_countries_with_articles(name, told):
    assert with_article(name) == told


def test_places_with_articles():
    assert definite("Bubye River") == "the Bubye River"
    assert definite("Siege of Cassel") == "the Siege of Cassel"
    assert definite("Paris") == "Paris"
    assert where("University of Kansas") == "at the University of Kansas"
    assert where("near Salem") == "near Salem"
    assert where("in London") == "in London"
    assert where("western New York") == "in western New York"
    assert where("60th parallel south") == "at the 60th parallel south"


@pytest.mark.parametrize(
    ("date", "told"),
    [
        ("October 5, 1987", "on October 5, 1987"),
        ("24 August 1886", "on 24 August 1886"),
        ("2012", "in 2012"),
        ("September 1875", "in September 1875"),
        ("c. 1420", "c. 1420"),
        ("3 a.m.", "at 3 a.m."),
        ("under Trajan", "under Trajan"),
    ],
)
def test_dates(date, told):
    assert when(date) == told


def test_nouns_and_bare_answers():
    assert a_or_an("land-grant university") == "a land-grant university"
    assert a_or_an("actor") == "an actor"
    assert a_or_an("university") == "a university"
    assert a_or_an("hotels") == "hotels"
    assert bare("in London") == "London"
    assert bare('under "North Africa."') == "North Africa"
    assert bare("the Church of England") == "the Church of England"


def test_sentences_are_closed_once():
    assert sentence("it is in the the U.S.") == "It is in the U.S."
    assert sentence("who is  #x 's mother ?") == "Who is #x's mother?"
    assert sentence("iPod was released in 2001") == "iPod was released in 2001."
