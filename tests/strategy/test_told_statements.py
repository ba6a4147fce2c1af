"""What steps state, and what of it a passage can support."""

import pytest

from steper.records import Step
from steper.strategy import STRATEGIES
from steper.strategy.statements import what_is_told


def stated(name, *texts):
    steps = [Step(index=n, kind="exp", rationale=text) for n, text in enumerate(texts, start=1)]
    found = STRATEGIES.find(name)().statements(steps, "1950")
    return [(s.text, s.tells, s.step.index) for s in found]


def test_self_ask_states_each_follow_up_with_its_answer():
    """Over what the follow-up found, which is the passages of the step that answers."""
    first, second = "Follow up: Who directed Gold Rain?", "Follow up: When was Ann Lee born?"
    assert stated(
        "self_ask",
        first,
        f"Intermediate answer: Ann Lee\n{second}",
        "Intermediate answer: 1950\nSo the final answer is: 1950",
    ) == [
        (f"{first}\nIntermediate answer: Ann Lee", "Who directed Gold Rain? Ann Lee", 2),
        (f"{second}\nIntermediate answer: 1950", "When was Ann Lee born? 1950", 3),
        ("So the final answer is: 1950", "So the final answer is: 1950", 3),
    ]


def test_a_follow_up_without_an_answer_tells_nothing():
    ask = "Follow up: Who directed Gold Rain?"
    assert stated("self_ask", ask, "So the final answer is: 1950")[0] == (ask, "", 1)
    assert stated("self_ask", ask) == [(ask, "", 1)]


def test_a_sentence_a_step_without_the_clause_that_asks():
    text = "Ann Lee directed Gold Rain; next, when was Ann Lee born?"
    assert stated("ircot", text) == [(text, "Ann Lee directed Gold Rain", 1)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Who is Ann Lee?", ""),
        ("It was Ann. Who is she?", "It was Ann."),
        ("Who Is It? is a film.", "Who Is It? is a film."),
    ],
)
def test_what_a_text_asks_is_not_told(text, told):
    assert what_is_told(text, ["Who Is It?"]) == told
