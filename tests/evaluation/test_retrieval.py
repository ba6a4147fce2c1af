"""Paragraph recall per step: which passage counts as gold, and what has been found up to a step."""

import pytest

from steper.evaluation.retrieval import coverage, normalize_title, same_passage
from steper.records import Hit, Passage, Question, Step, StopReason, Trajectory

GOLD_A = Passage.make("Ada Lovelace", "Ada Lovelace wrote the first program for an engine.")
GOLD_B = Passage.make("London", "London is the capital of England and lies on the Thames.")
OTHER = [Passage.make(f"Other {i}", f"Nothing about it, number {i}.") for i in range(4)]


def a_step(index, hits=(), context=(), kind="exp"):
    found = tuple(Hit(passage_id=p.id, score=1.0, rank=r) for r, p in enumerate(hits, start=1))
    return Step(index=index, kind=kind, query="q", hits=found, context=tuple(p.id for p in context))


def a_trajectory(*steps, passages):
    return Trajectory(
        question_id="q1",
        question="Where did she live?",
        strategy="ircot",
        layout="passages_first",
        model="scripted",
        steps=steps,
        passages=passages,
        status="answered",
        stop_reason=StopReason.ANSWERED,
    )


def a_question(**fields):
    return Question(id="q1", text="Where did she live?", gold=(GOLD_A, GOLD_B), **fields)


def test_counts_grow_step_by_step():
    trajectory = a_trajectory(
        a_step(1, hits=[GOLD_A, OTHER[0]], context=[GOLD_A, OTHER[0]]),
        a_step(2, hits=[GOLD_A, OTHER[1]], context=[GOLD_A, OTHER[0], OTHER[1]]),
        # The cap kept London out of the prompt: retrieved, not shown.
        a_step(3, hits=[GOLD_B, OTHER[2]], context=[GOLD_A, OTHER[0], OTHER[1]]),
        passages=(GOLD_A, GOLD_B, *OTHER[:3]),
    )
    found = coverage(a_question(benchmark="hotpotqa"), trajectory)
    assert found.gold == 2
    assert found.retrieved == (1, 1, 2)
    assert found.shown == (1, 1, 1)
    assert found.passages == (2, 3, 5)
    assert found.relevant == (1, 1, 2)


def test_no_steps_and_no_gold():
    empty = a_trajectory(passages=())
    assert coverage(a_question(), empty).retrieved == ()
    assert coverage(Question(id="q1", text="?"), empty) is None


def test_step_without_search_keeps_the_count():
    trajectory = a_trajectory(a_step(1, hits=[GOLD_B]), a_step(2), passages=(GOLD_B,))
    assert coverage(a_question(), trajectory).retrieved == (1, 1)


@pytest.mark.parametrize(
    ("title", "same"),
    [("ada  LOVELACE", True), ("Ada_Lovelace", True), ("Ada Byron", False)],
)
def test_titles_are_enough_where_they_are_unique(title, same):
    found = Passage(id="x", title=title, text="Another snapshot of the article.")
    assert same_passage(GOLD_A, found, "hotpotqa") is same
    assert same_passage(GOLD_A, found, "2wikimultihopqa") is same
    assert same_passage(GOLD_A, found, "musique") is False


def test_musique_wants_the_text_alike_too():
    near = Passage(id="x", title="Ada lovelace", text=GOLD_A.text.replace("first", "1st"))
    far = Passage(id="y", title="Ada Lovelace", text="She was born in 1815 to a poet.")
    elsewhere = Passage(id="z", title="Engines", text=GOLD_A.text)
    assert same_passage(GOLD_A, near, "musique")
    assert not same_passage(GOLD_A, far, "musique")
    assert not same_passage(GOLD_A, elsewhere, "generic")
    assert same_passage(GOLD_A, far.model_copy(update={"id": GOLD_A.id}), "musique")


def test_passages_without_title_are_told_apart_by_text():
    one, two = Passage(id="1", title="", text="One thing."), Passage(id="2", title="", text="Two!")
    assert not same_passage(one, two, "hotpotqa")
    assert same_passage(one, one.model_copy(update={"id": "3"}), "hotpotqa")


def test_html_entities_in_titles():
    assert normalize_title("Simon &amp; Garfunkel") == normalize_title("simon & garfunkel")
