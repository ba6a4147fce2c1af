import pytest

from steper.lm.base import Completion
from steper.strategy.ircot.queries import is_reasoning, without_wh_words
from steper.strategy.stated_answer import stated_answer
from steper.text import (
    brief,
    counted,
    sentences,
    snippet,
    strip_full_stop,
    without_surrogates,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("He was born in St. Louis. He moved.", ["He was born in St. Louis.", "He moved."]),
        ("The U.S. Army won. It left.", ["The U.S. Army won.", "It left."]),
        ("It is in the U.S. The capital is far.", ["It is in the U.S.", "The capital is far."]),
        ("Dr. King met J. F. Kennedy. Fine.", ["Dr. King met J. F. Kennedy.", "Fine."]),
        ("It cost $3.5 million. Wow.", ["It cost $3.5 million.", "Wow."]),
        ("Robert Downey Jr. starred in it. So.", ["Robert Downey Jr. starred in it.", "So."]),
        ('"What is Love?" was sung by Haddaway.', ['"What is Love?" was sung by Haddaway.']),
    ],
)
def test_sentences_survive_abbreviations(text, expected):
    assert sentences(text) == expected


def test_no_sentence_in_nothing():
    assert sentences(" \n ") == []


def test_what_there_is_none_of_is_not_counted_aloud():
    assert counted({"init": 12, "exp": 0, "agg": 3}) == "12 init, 3 agg"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("So the answer is: Paris.", "Paris"),
        ("so the ANSWER IS Paris", "Paris"),
        ("So the answer is: the U.S.", "the U.S."),
        ("So the answer is: Robert Downey Jr.", "Robert Downey Jr."),
        ("So the answer is: U.S..", "U.S."),
        ("So the final answer is: 3.5.", "3.5"),
        ("So the answer is: **Paris**.", "Paris"),
        ("So the answer is: Paris.\nQ: next", "Paris"),
        ("So the answer is:", ""),
        ("So the answer is: No.", "No"),
        ("So the answer is: It is by Bo. So the answer is: Bo.", "Bo"),
        ("So the answer is A. So the answer is B.", "B"),
        ("So the answer is: It is Oslo and Rome, and the answer is: no.", "no"),
        ("So it is Oslo and Oslo, and the answer is: yes.", "yes"),
        ("So the answer is:\nThe answer is: Paris.", "Paris"),
        ("So the answer is: The Answer Is Blowing.", "The Answer Is Blowing"),
        ("So the answer is: What the Answer is: A Memoir.", "What the Answer is: A Memoir"),
        ("So the answer is: Paris.\nQ: next\nA: So the answer is: Rome.", "Paris"),
        ("Paris is nice.", None),
    ],
)
def test_stated_answer(text, answer):
    assert stated_answer(text) == answer


def test_stated_answer_keeps_colons():
    assert stated_answer("The answer is: Alien: Covenant.") == "Alien: Covenant"


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("Thus, it is Paris.", True),
        ("So the film is older.", True),
        ("Therefore X.", True),
        ("Hence, Y", True),
        ("That is, Z.", True),
        ("1990 - 1950 = 40", True),
        ("Sofia is the capital of Bulgaria.", False),
        ("Thusis is in Switzerland.", False),
        ("Paris is in France.", False),
    ],
)
def test_reasoning_sentences(sentence, expected):
    assert is_reasoning(sentence) is expected


def test_wh_words_are_taken_out():
    assert without_wh_words("Who is the director of Jaws, and when?") == "the director of Jaws, and"


def test_full_stop_of_an_abbreviation_stays():
    assert strip_full_stop("Acme Inc.") == "Acme Inc."
    assert strip_full_stop("a spirit.") == "a spirit"


def test_a_snippet_ends_at_a_word():
    assert snippet("a  b\nc", 300) == "a b c"
    assert snippet("one two three", 9) == "one two…"
    assert len(snippet("word " * 100, 300)) <= 300


def test_a_brief_is_one_line():
    assert brief("Run", "'runs/m1'", "2\nquestions") == "Run('runs/m1', 2 questions)"
    assert brief("Run", "x" * 200) == "Run(" + "x" * 94 + "…)"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("Ann \ud83d", "Ann \ufffd"), ("\ud83d\ude00", "😀"), ("\udc00É", "\ufffdÉ"), ("Ann", "Ann")],
)
def test_lone_surrogates_become_what_utf8_can_hold(text, expected):
    assert without_surrogates(text) == expected
    assert Completion(text=text).text == expected
