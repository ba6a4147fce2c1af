from doubles import FILM, DictRetriever, drive
from steper.prompt.render import PromptSettings
from steper.records import StopReason
from steper.strategy.actions import Search
from steper.strategy.closed_book import ClosedBook
from steper.strategy.one_shot import OneShot

BARE = PromptSettings(instruction=False, demos=0)
QUESTION = "Who directed Gold Rain?"


def find(query):
    return DictRetriever(FILM).search([query], 10)[0]


def test_one_shot_searches_once():
    text = "Gold Rain is by Ann Lee. So the answer is: Ann Lee."
    record, actions = drive(OneShot(prompt=BARE), QUESTION, [text], find)
    assert isinstance(actions[0], Search)
    assert len(actions) == 2
    assert (record.answer, record.steps[0].kind) == ("Ann Lee", "agg")
    assert record.steps[0].rationale == text


def test_closed_book_searches_never():
    record, actions = drive(ClosedBook(prompt=BARE), QUESTION, ["The answer is Ann Lee."], find)
    assert len(actions) == 1
    assert record.answer == "Ann Lee"


def test_a_text_without_an_answer_is_asked_once_more():
    record, actions = drive(ClosedBook(prompt=BARE), QUESTION, ["Hm.", "Ann Lee"], find)
    assert record.answer == "Ann Lee"
    assert record.stop_reason is StopReason.NO_MARKER
    assert actions[-1].prompt.text().endswith("A: Hm. So the answer is:")
