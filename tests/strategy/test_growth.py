"""The engine reads all that models write in one thread: no text may keep the others waiting."""

import logging
import re
import time

import pytest

from doubles import FILM, DictRetriever, film_questions, film_script
from steper.engine import Engine
from steper.grounding import grounded_share
from steper.lm.scripted import ScriptedModel
from steper.lm.thinking import CHARACTERS_PER_TOKEN, spoken
from steper.prompt.render import PromptSettings
from steper.strategy.con.notes import what_notes_say
from steper.strategy.ircot import IRCoT, IRCoTSettings
from steper.strategy.ircot.queries import is_reasoning, without_wh_words
from steper.strategy.ircot.strategy import kept_sentence, new_sentences
from steper.strategy.reading import (
    clean_answer,
    first_line,
    plain,
    with_whole_titles,
    without_preamble,
)
from steper.strategy.sail.verification import without_verification
from steper.strategy.self_ask.pieces import parse_piece, without_told
from steper.strategy.self_rag.reflection import statement_of
from steper.strategy.stated_answer import stated_answer, without_label
from steper.text import (
    limit_words,
    normalise_space,
    sentences,
    snippet,
    strip_full_stop,
    without_surrogates,
)

READ = {
    "is_reasoning": is_reasoning,
    "without_wh_words": without_wh_words,
    "kept_sentence": kept_sentence,
    "kept_sentence, told": lambda text: kept_sentence(text, told=[text]),
    "kept_sentence, pattern": lambda text: kept_sentence(text, r"answer: (.*)"),
    "kept_sentence, titles": lambda text: kept_sentence(text, titles=["Who? Who", "Beware! A b"]),
    "with_whole_titles": lambda text: with_whole_titles(sentences(text), ["Who? Who"]),
    "new_sentences": lambda text: new_sentences(text, [text[: len(text) // 2]]),
    "stated_answer": stated_answer,
    "stated_answer, pattern": lambda text: stated_answer(text, r"answer: (.*)"),
    "without_label": without_label,
    "clean_answer": clean_answer,
    "first_line": first_line,
    "plain": plain,
    "without_preamble": without_preamble,
    "parse_piece": parse_piece,
    "statement_of": statement_of,
    "what_notes_say": what_notes_say,
    "without_verification": without_verification,
    "without_told": lambda text: without_told(text, [text[: len(text) // 2]]),
    "spoken": lambda text: spoken(text, ("\n",)),
    "sentences": sentences,
    "strip_full_stop": strip_full_stop,
    "normalise_space": normalise_space,
    "limit_words": lambda text: limit_words(text, 350),
    "snippet": lambda text: snippet(text, 100),
    "without_surrogates": without_surrogates,
    "grounded_share": lambda text: grounded_share(text, [text]),
}
"""All that the engine's thread does with what a model wrote."""

UNITS = [
    *("1", "1,", "9 + ", "1 = ", "1. ", "(1) ", "x", "é", "東。", " ", "\n", "\t ", "a\n", "Hi.\n"),
    *("Who? ", "Who ", "A. ", "U.S. ", "St. ", "No. ", "...", ". ", ", ", "- ", "> ", "*", "**"),
    *("__", "{", "}", "(", "[", "<", "|", '"', "“", "'", "`", "$", ":", "not ", "yes, "),
    *(
        "\\boxed{",
        "\\text{",
        "\\boxed{\\text{",
        "<think>",
        "</think>",
        "<think></think>",
        "<|channel|>",
    ),
    *("<|channel|>analysis<|message|>", "<answer>", "</answer>", "answer is ", "the answer is "),
    *("So the answer is: x. ", "Answer: ", "Thus ", "Sure! ", "Here is the ", "step 1: "),
    *(
        "Let's think ",
        "Follow up: ",
        "Follow up: a? Intermediate answer: b ",
        "follow up question ",
    ),
    *("Intermediate answer: x\n", "Intermediate answer: x Follow up: "),
]


QUICK = 0.002
"""Seconds below which nobody waits."""


def seconds(read, text):
    began = time.thread_time()
    read(text)
    return time.thread_time() - began


def grows_too_fast(read, unit, head, size=2500):
    """Whether a text of twice the length takes more than three times as long, at its fastest.

    The fastest of several, and in each of four rounds: whatever else the machine does adds to a
    time, and not for long.
    """
    half, whole = (head + unit * (n * size // len(unit)) for n in (1, 2))
    return seconds(read, whole) > QUICK and all(
        min(seconds(read, whole) for _ in range(6))
        > max(3 * min(seconds(read, half) for _ in range(6)), QUICK)
        for _ in range(4)
    )


@pytest.mark.parametrize("head", ["", pytest.param("Zoe ", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", READ)
def test_time_grows_no_faster_than_the_text(name, head):
    assert not [unit for unit in UNITS if grows_too_fast(READ[name], unit, head)]


def test_the_growth_of_what_is_quadratic_is_seen():
    search = re.compile(r"\d[\d,]*\s*=").search
    assert any(grows_too_fast(search, "1", "", size=700) for _ in range(9))  # beside other work


def trajectories(script, **settings):
    strategy = IRCoT(IRCoTSettings(**settings), PromptSettings(demos=0))
    engine = Engine(strategy, ScriptedModel(script), DictRetriever(FILM))
    return {t.question_id: t for t in engine.run(film_questions(3))}


def test_a_pattern_that_takes_too_long_fails_its_question_alone(monkeypatch):
    monkeypatch.setattr("steper.strategy.reading.PATTERN_SECONDS", 0.1)

    def script(request):
        return "ab" * 30 if request.question_id == "q1" else film_script(request)

    began = time.monotonic()
    found = trajectories(script, answer_pattern=r"(?:a|ab|b)+c|answer is: (.*)\.")
    assert time.monotonic() - began < 20
    assert {t.question_id for t in found.values() if t.status == "failed"} == {"q1"}
    assert "answer_pattern" in found["q1"].error
    assert found["q0"].answer == "1950"


def test_a_text_far_longer_than_asked_for_is_cut_and_counts_as_cut_off(caplog):
    caplog.set_level(logging.WARNING)
    found = trajectories(lambda request: "Who? " * 30_000, max_tokens=10)
    step = found["q0"].steps[0]
    assert len(step.raw) == 10 * CHARACTERS_PER_TOKEN
    assert step.finish == "length"
    assert "does not heed max_tokens" in caplog.text
