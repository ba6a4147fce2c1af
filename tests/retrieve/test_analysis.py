import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steper.retrieve import analysis
from steper.retrieve.analysis import LUCENE_STOPWORDS, Analyzer, words
from steper.retrieve.retriever_settings import BM25Settings


def terms(text, **settings):
    return Analyzer(BM25Settings(**settings)).terms(text)


# The cases of Lucene's own TestStandardAnalyzer and TestEnglishAnalyzer, and UAX #29's rules.
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("O'Reilly, you're she's Jim's don't", ["o'reilly", "you're", "she's", "jim's", "don't"]),
        ("U.S.A. and U.S.", ["u.s.a", "and", "u.s"]),
        ("21.35 216.239.63.104 1,000,000", ["21.35", "216.239.63.104", "1,000,000"]),
        ("R2D2 C3PO B2B", ["r2d2", "c3po", "b2b"]),
        ("some-dashed-phrase AT&T", ["some", "dashed", "phrase", "at", "t"]),
        ("dogs,chase,cats ac/dc", ["dogs", "chase", "cats", "ac", "dc"]),
        ("a.1 1.a a;b 1;2 a:b 1:2", ["a", "1", "1", "a", "a", "b", "1;2", "a:b", "1", "2"]),
        ("snake_case_2 _x", ["snake_case_2", "_x"]),
        ("'quoted' word's' end.", ["quoted", "word's", "end"]),
        ("Teutberga( died 875)was", ["teutberga", "died", "875", "was"]),
        ("Ærøskøbing Żółć ÉCOLE", ["ærøskøbing", "żółć", "école"]),
        ("İstanbul", ["istanbul"]),
        ("東京 is 2x東", ["東", "京", "is", "2x", "東"]),
        ("children ’s O’Brien’s", ["children", "s", "o’brien’s"]),
        ("", []),
        (" … — !", []),
    ],
)
def test_words_are_those_of_the_standard_tokenizer(text, expected):
    assert words(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("books", ["book"]),
        ("the", []),
        ("book's books", ["book", "book"]),
        ("steven's steven’s steven＇s STEVEN'S", ["steven"] * 4),
        ("It's that's", []),
        ("us is as", ["us"]),
        ("the universities' relational conditions", ["univers", "relat", "condit"]),
    ],
)
def test_terms_are_those_of_the_english_analyzer(text, expected):
    assert terms(text) == expected


def test_the_settings_change_the_terms():
    text = "The geology was generously directed"
    assert terms(text) == ["geologi", "gener", "direct"]
    assert terms(text, stemmer="english") == ["geolog", "generous", "direct"]
    assert terms(text, stemmer="none") == ["geology", "generously", "directed"]
    assert terms(text, stopwords="none")[:1] == ["the"]


def test_each_setting_has_a_check_of_its_own():
    made = [
        Analyzer(BM25Settings(stemmer=stemmer, stopwords=stopwords)).check()
        for stemmer in ("porter", "english", "none")
        for stopwords in ("lucene", "none")
    ]
    assert len(set(made)) == len(made)
    assert Analyzer(BM25Settings()).check() == made[0]


def test_lucenes_stop_words_are_33():
    assert len(LUCENE_STOPWORDS) == 33


@given(st.text(st.characters(max_codepoint=127)))
def test_the_ascii_pattern_is_the_general_one(text):
    assert analysis._ASCII_TOKEN.findall(text.lower()) == analysis._TOKEN.findall(text.lower())


@given(st.text())
def test_words_are_pieces_of_the_text_in_order(text):
    found = words(text)
    lowered = text.replace("İ", "I").lower()
    place = 0
    for word in found:
        place = lowered.index(word, place) + len(word)
        assert re.search(r"\w", word)
        assert not re.search(r"\s", word)


@given(st.text(), st.text())
def test_a_line_break_always_ends_a_word(one, other):
    assert words(f"{one}\n{other}") == words(one) + words(other)
