r"""What models write, as they write it, and what the strategies make of it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from doubles import FILM, DictRetriever, drive, film_questions
from steper.data import load_questions
from steper.engine import Engine
from steper.evaluation.official_scores import normalize_answer
from steper.lm.base import leads_up, truncate_at_stop
from steper.lm.scripted import ScriptedModel
from steper.prompt.render import PromptSettings
from steper.records import StopReason
from steper.strategy.actions import Generate, Search
from steper.strategy.closed_book import ClosedBook
from steper.strategy.ircot import IRCoT, IRCoTSettings
from steper.strategy.ircot.strategy import kept_sentence
from steper.strategy.one_shot import OneShot
from steper.strategy.readers import READERS
from steper.strategy.reading import clean_answer, without_preamble
from steper.strategy.replay import Replay
from steper.strategy.self_ask import SelfAsk, SelfAskSettings
from steper.strategy.self_ask.pieces import parse_piece
from steper.strategy.single import SingleSettings
from steper.strategy.stated_answer import stated_answer, told_before_answer

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
SAMPLES = ("hotpotqa_sample.json", "2wikimultihopqa_sample.json", "musique_sample.jsonl")

BARE = PromptSettings(instruction=False, demos=0)
QUESTION = "When was the director of Gold Rain born?"
BY = "Gold Rain was directed by Ann Lee."
BORN = "Ann Lee was born in 1950."
ASK = "Follow up: Who directed Gold Rain?"


def find(query):
    return DictRetriever(FILM).search([query], 10)[0]


def ircot(**settings):
    return IRCoT(IRCoTSettings(**settings), BARE, "chat")


def self_ask(**settings):
    return SelfAsk(SelfAskSettings(**settings), BARE, "chat")


once = {"max_steps": 1, "force_answer": False}
forced = {"max_steps": 1}
PLACES = {
    "ircot": (ircot(**once), ()),
    "ircot, step 2": (ircot(max_steps=2, force_answer=False), (BY,)),
    "ircot, forced": (ircot(**forced), (BY,)),
    "ircot, direct reader": (ircot(**once, reader="direct"), (BY,)),
    "ircot, cot reader": (ircot(**once, reader="cot"), (BY,)),
    "self_ask": (self_ask(**once), ()),
    "self_ask, forced": (self_ask(**forced), (ASK,)),
    "one_shot": (OneShot(SingleSettings(force_answer=False), BARE), ()),
    "closed_book": (ClosedBook(SingleSettings(force_answer=False), BARE), ()),
}
"""Strategies, and what was written before the text in question."""

IS = "So the answer is:"
FINAL = "So the final answer is:"

ROWS = [
    # List marks, labels, preambles, emphasis: IRCoT keeps the sentence.
    ("ircot", f"1. {BY}\n2. {BORN}", BY, None),
    ("ircot", f"1. {BY} 2. {BORN}", BY, None),
    ("ircot", f"1) {BY}", BY, None),
    ("ircot", f"(1) {BY}", BY, None),
    ("ircot", f"a) {BY}\nb) {BORN}", BY, None),
    ("ircot", f"1．{BY}", BY, None),
    ("ircot", f"- {BY}\n- {BORN}", BY, None),
    ("ircot", f"* {BY}", BY, None),
    ("ircot", f"• {BY}", BY, None),
    ("ircot", f"### Step 1:\n{BY}", BY, None),
    ("ircot", f"**Step 1:** {BY}", BY, None),
    ("ircot", f"Step 1: {BY}\nStep 2: {BORN}", BY, None),
    ("ircot", "1. FC Köln was founded in 1948.", "1. FC Köln was founded in 1948.", None),
    ("ircot", f"Here is the next step:\n\n{BY}", BY, None),
    ("ircot", f"Here's the next sentence: {BY}", BY, None),
    ("ircot", f"The next step is: {BY}", BY, None),
    ("ircot", f"Sure! Here is the next step: {BY}", BY, None),
    ("ircot", f"Sure! {BY}", BY, None),
    ("ircot", f"Certainly! {BY} {BORN}", BY, None),
    ("ircot", f"Okay, let's think step by step. {BY}", BY, None),
    ("ircot", f"Let's break this down.\n\n1. {BY}", BY, None),
    ("ircot", f"Based on the passages, here is the next fact: {BY}", BY, None),
    ("ircot", f"A: {BY}", BY, None),
    ("ircot", f"Reasoning: {BY}", BY, None),
    ("ircot", f"<think>\n\n</think>\n\n{BY}", BY, None),
    ("ircot", f"<think>\nWho made it?\n</think>\n{BORN}", BORN, None),
    ("ircot", "**Gold Rain** was directed by **Ann Lee**.", BY, None),
    ("ircot", f"> {BY}", BY, None),
    ("ircot", "Here Is the Night is a song by Bo.", "Here Is the Night is a song by Bo.", None),
    ("ircot", "Sure Thing is a song by Miguel.", "Sure Thing is a song by Miguel.", None),
    ("ircot", "Let's Go is a band.", "Let's Go is a band.", None),
    ("ircot", "Here is the next step:", "Here is the next step:", None),
    ("ircot", "Gold Rain is by Ann Lee\nAnn Lee is from Oslo", "Gold Rain is by Ann Lee", None),
    ("ircot", f"Ann \ud83d Lee. {BORN}", "Ann \ufffd Lee.", None),
    ("ircot", f"1.{BY}\n2.{BORN}", BY, None),
    ("ircot", f"(1){BY}", BY, None),
    ("ircot", "1.FC Köln was founded in 1948.", "1.FC Köln was founded in 1948.", None),
    ("ircot", f"<b>{BY}</b>", BY, None),
    # The chain begun anew.
    ("ircot, step 2", f"{BY} {BORN} {IS} 1950.", BORN, None),
    ("ircot, step 2", f"1. {BY}\n2. {BORN}\n3. {IS} 1950.", BORN, None),
    ("ircot, step 2", f"gold rain was directed by Ann Lee\n{IS} 1950.", f"{IS} 1950.", "1950"),
    ("ircot, step 2", BY, BY, None),
    ("ircot, step 2", f"Sure! {BY} {BY}", BY, None),
    # Answers in IRCoT.
    ("ircot", f"{IS} 1950.", f"{IS} 1950.", "1950"),
    ("ircot", f"{IS} **1950**.", f"{IS} 1950.", "1950"),
    ("ircot", f"**{IS} Ann Lee.**", f"{IS} Ann Lee.", "Ann Lee"),
    ("ircot", "**So the answer is:** Ann Lee", f"{IS} Ann Lee", "Ann Lee"),
    ("ircot", "__So the answer is:__ Ann Lee", f"{IS} Ann Lee", "Ann Lee"),
    ("ircot", "So the answer is：Ann Lee。", "So the answer is：Ann Lee。", "Ann Lee"),
    ("ircot", "The answer is:\n\nAnn Lee", "The answer is: Ann Lee", "Ann Lee"),
    ("ircot", "The answer is:\n- Ann Lee", "The answer is: Ann Lee", "Ann Lee"),
    ("ircot", "The answer is:", "The answer is:", None),
    ("ircot", r"\boxed{Ann Lee}", r"\boxed{Ann Lee}", "Ann Lee"),
    (
        "ircot",
        r"The final answer is: $\boxed{\text{Ann Lee}}$. I hope it is correct.",
        r"The final answer is: $\boxed{\text{Ann Lee}}$.",
        "Ann Lee",
    ),
    ("ircot", "Answer: Ann Lee", "Answer: Ann Lee", "Ann Lee"),
    ("ircot", "**Final Answer:** Ann Lee.", "Final Answer: Ann Lee.", "Ann Lee"),
    ("ircot", "<answer>Ann Lee</answer>", "<answer>Ann Lee</answer>", "Ann Lee"),
    ("ircot", f"{IS} <Ann Lee>.", f"{IS} <Ann Lee>.", "Ann Lee"),
    ("ircot", f"{IS} `Ann Lee`.", f"{IS} `Ann Lee`.", "Ann Lee"),
    ("ircot", f"{IS} Ann Lee. She was born in 1950.", f"{IS} Ann Lee.", "Ann Lee"),
    ("ircot", f"{IS} No. Oslo is the older one.", f"{IS} No.", "No"),
    ("ircot", f"{IS} no, they are not.", f"{IS} no, they are not.", "no"),
    ("ircot", f"{IS} No, No, Nanette.", f"{IS} No, No, Nanette.", "No, No, Nanette"),
    ("ircot", f"{IS} Guess Who? The Film.", f"{IS} Guess Who? The Film.", "Guess Who? The Film"),
    ("ircot", f"{IS} M*A*S*H.", f"{IS} M*A*S*H.", "M*A*S*H"),
    ("ircot", f"{IS} 1. FC Köln.", f"{IS} 1. FC Köln.", "1. FC Köln"),
    ("ircot", f"{IS} D.C. United.", f"{IS} D.C. United.", "D.C. United"),
    ("ircot", f"{IS} Paris\nQ: Who is it?", f"{IS} Paris", "Paris"),
    ("ircot", "The answer to the question is Oslo.", "The answer to the question is Oslo.", "Oslo"),
    (
        "ircot",
        "The answer is not available in the passages.",
        "The answer is not available in the passages.",
        None,
    ),
    ("ircot", "So the answer is unknown.", "So the answer is unknown.", None),
    ("ircot", f"{IS} It is not mentioned.", f"{IS} It is not mentioned.", None),
    ("ircot", f"{IS} It's not known.", f"{IS} It's not known.", None),
    (
        "ircot",
        "The director of Help! was born in 1932. He is American.",
        "The director of Help! was born in 1932.",
        None,
    ),
    ("ircot", f"{IS} Information not available.", f"{IS} Information not available.", None),
    ("ircot", f"{IS} unable to determine.", f"{IS} unable to determine.", None),
    ("ircot", f"{IS} It cannot be determined.", f"{IS} It cannot be determined.", None),
    ("ircot", f"{IS} This cannot be known.", f"{IS} This cannot be known.", None),
    ("ircot", f"{IS} Cannot determine.", f"{IS} Cannot determine.", None),
    ("ircot", f"{IS} Not applicable.", f"{IS} Not applicable.", None),
    ("ircot", f"{IS} none.", f"{IS} none.", None),
    ("ircot", f"{IS} No one knows.", f"{IS} No one knows.", None),
    (
        "ircot",
        f"{IS} There is insufficient information.",
        f"{IS} There is insufficient information.",
        None,
    ),
    ("ircot", f"{IS} Nobody Knows.", f"{IS} Nobody Knows.", "Nobody Knows"),
    ("ircot", f"{IS} None but the Brave.", f"{IS} None but the Brave.", "None but the Brave"),
    ("ircot", f"{IS} This Is Not a Film.", f"{IS} This Is Not a Film.", "This Is Not a Film"),
    ("ircot", f"{IS} It Is Not Found.", f"{IS} It Is Not Found.", "It Is Not Found"),
    ("ircot", f"{IS} Unknown.", f"{IS} Unknown.", "Unknown"),
    ("ircot", f"{IS} The Unknown Soldier.", f"{IS} The Unknown Soldier.", "The Unknown Soldier"),
    ("ircot", "The Answer Is Love is by Bo.", "The Answer Is Love is by Bo.", None),
    ("ircot", "We see what the answer is.", "We see what the answer is.", None),
    ("ircot", "The answer isn't clear.", "The answer isn't clear.", None),
    ("ircot", "The answer is, therefore, Oslo.", "The answer is, therefore, Oslo.", "Oslo"),
    ("ircot", "So the answer is, Oslo.", "So the answer is, Oslo.", "Oslo"),
    ("ircot", "The answer is likely Oslo.", "The answer is likely Oslo.", "Oslo"),
    ("ircot", f"{IS} Likely Stories.", f"{IS} Likely Stories.", "Likely Stories"),
    ("ircot", f"{IS} then.", f"{IS} then.", "then"),
    ("ircot", f"{IS} 1) Oslo.", f"{IS} 1) Oslo.", "Oslo"),
    ("ircot", f"{IS} (500) Days of Summer.", f"{IS} (500) Days of Summer.", "(500) Days of Summer"),
    ("ircot", f"{IS} No; Oslo is older.", f"{IS} No; Oslo is older.", "No"),
    ("ircot", f"{IS} yes - they are.", f"{IS} yes - they are.", "yes"),
    ("ircot", f"<b>{IS}</b> Oslo", f"{IS} Oslo", "Oslo"),
    ("ircot", f"{IS} Oslo．", f"{IS} Oslo．", "Oslo"),
    # After the forced cue.
    (
        "ircot, forced",
        "I believe the answer is Oslo.",
        f"{IS} I believe the answer is Oslo.",
        "Oslo",
    ),
    (
        "ircot, forced",
        "Oslo. The answer is based on the first passage.",
        f"{IS} Oslo. The answer is based on the first passage.",
        "Oslo",
    ),
    ("ircot, forced", "1950.", f"{IS} 1950.", "1950"),
    ("ircot, forced", "The answer is 1950.", f"{IS} 1950.", "1950"),
    ("ircot, forced", "the answer is: 1950", f"{IS} 1950", "1950"),
    ("ircot, forced", "Answer: 1950", f"{IS} 1950", "1950"),
    ("ircot, forced", "Sure! The answer is 1950.", f"{IS} Sure! The answer is 1950.", "1950"),
    ("ircot, forced", "\n\n**1950**", f"{IS} **1950**", "1950"),
    ("ircot, forced", r"\boxed{1950}", rf"{IS} \boxed{{1950}}", "1950"),
    (
        "ircot, forced",
        "The Answer Is Blowing",
        f"{IS} The Answer Is Blowing",
        "The Answer Is Blowing",
    ),
    ("ircot, forced", "not available.", f"{IS} not available.", None),
    ("ircot, forced", "I cannot tell from this.", f"{IS} I cannot tell from this.", None),
    ("ircot, forced", "Not Fade Away", f"{IS} Not Fade Away", "Not Fade Away"),
    ("ircot, forced", "1950。", f"{IS} 1950。", "1950"),
    # Separate readers.
    ("ircot, direct reader", "Ann Lee.", "Ann Lee.", "Ann Lee"),
    ("ircot, direct reader", "**Ann Lee**", "**Ann Lee**", "Ann Lee"),
    ("ircot, direct reader", "Answer: Ann Lee", "Answer: Ann Lee", "Ann Lee"),
    ("ircot, direct reader", "A: Ann Lee", "A: Ann Lee", "Ann Lee"),
    ("ircot, direct reader", "Sure! Ann Lee.", "Sure! Ann Lee.", "Ann Lee"),
    ("ircot, direct reader", "Here is the answer:", "Here is the answer:", None),
    ("ircot, direct reader", "The answer is: N/A", "The answer is: N/A", None),
    ("ircot, direct reader", "The answer is: unknown", "The answer is: unknown", None),
    ("ircot, direct reader", "Answer: I don't know.", "Answer: I don't know.", None),
    (
        "ircot, direct reader",
        "Ann Lee. She was born there.",
        "Ann Lee. She was born there.",
        "Ann Lee",
    ),
    (
        "ircot, direct reader",
        "The answer is not available.",
        "The answer is not available.",
        None,
    ),
    (
        "ircot, cot reader",
        f"{BORN} {IS} 1950.\n\nNote: ok.",
        f"{BORN} {IS} 1950.\n\nNote: ok.",
        "1950",
    ),
    ("ircot, cot reader", "The passages do not say.", "The passages do not say.", None),
    # Self-Ask.
    ("self_ask", f"Sure! {ASK}", ASK, None),
    ("self_ask", "**Follow up:** Who directed Gold Rain?", ASK, None),
    ("self_ask", f"Sure! Here is the next follow-up question:\n\n{ASK}", ASK, None),
    ("self_ask", "Here is the follow-up question:\nWho directed Gold Rain?", ASK, None),
    ("self_ask", "Follow up:\n\nWho directed Gold Rain?", ASK, None),
    ("self_ask", f"Intermediate answer:\nBo\n{ASK}", f"Intermediate answer: Bo\n{ASK}", None),
    ("self_ask", "1. Follow-up question 1: Who directed Gold Rain?", ASK, None),
    ("self_ask", "Follow up：Who directed Gold Rain?", ASK, None),
    ("self_ask", f"{ASK} Intermediate answer: Ann Lee", ASK, None),
    ("self_ask", "### Final Answer\nAnn Lee", f"{FINAL} Ann Lee", "Ann Lee"),
    ("self_ask", "### Final Answer: Ann Lee", f"{FINAL} Ann Lee", "Ann Lee"),
    ("self_ask", "The answer: Ann Lee.", f"{FINAL} Ann Lee", "Ann Lee"),
    ("self_ask", f"{ASK}\n{ASK}", ASK, None),
    ("self_ask", "The answer is: No.", f"{FINAL} No", "No"),
    ("self_ask", "So the answer is No. Oslo is older than it.", f"{FINAL} No", "No"),
    ("self_ask", f"{FINAL}\n\n**Ann Lee**", f"{FINAL} Ann Lee", "Ann Lee"),
    ("self_ask", r"So the final answer is: \boxed{Ann Lee}.", f"{FINAL} Ann Lee", "Ann Lee"),
    ("self_ask", "Answer: Ann Lee", f"{FINAL} Ann Lee", "Ann Lee"),
    ("self_ask", f"Answer: Bo\n{ASK}", f"Intermediate answer: Bo\n{ASK}", None),
    ("self_ask", f"The answer is not known yet.\n{ASK}", ASK, None),
    ("self_ask", "Sure!\nI need the director.", "I need the director.", None),
    (
        "self_ask",
        "Intermediate answer：1950 So the answer is: 1950。",
        f"Intermediate answer: 1950\n{FINAL} 1950",
        "1950",
    ),
    ("self_ask", f"{FINAL} {ASK}", ASK, None),
    ("self_ask, forced", ASK, f"{FINAL} {ASK}", None),
    ("self_ask, forced", "The answer is: No.", f"{FINAL} No.", "No"),
    ("self_ask, forced", "Intermediate answer: 1950", f"{FINAL} 1950", "1950"),
    # A heading announces the answer.
    ("ircot", "**Final Answer**\n\n1950", "Final Answer: 1950", "1950"),
    ("ircot", "### Final Answer\n**1950**", "Final Answer: 1950", "1950"),
    ("ircot", "Answer", "Answer", None),
    ("ircot, direct reader", "### Answer\n\n1950", "### Answer\n\n1950", "1950"),
    ("ircot, direct reader", "Answer", "Answer", "Answer"),
    ("one_shot", "### Final Answer\n1950", "### Final Answer\n1950", "1950"),
    ("one_shot", "### Final Answer: 1950", "### Final Answer: 1950", "1950"),
    ("one_shot", "The answer: 1950.", "The answer: 1950.", "1950"),
    ("one_shot", "The answer is:\n\n1. 1950", "The answer is:\n\n1. 1950", "1950"),
    ("one_shot", "The answer is:\n\n> 1950", "The answer is:\n\n> 1950", "1950"),
    # Names that begin as something else ends.
    ("ircot", f"{IS} 2. Bundesliga.", f"{IS} 2. Bundesliga.", "2. Bundesliga"),
    ("ircot", f"{IS} Dr. No.", f"{IS} Dr. No.", "Dr. No"),
    ("ircot", f"{IS} Mr. Right.", f"{IS} Mr. Right.", "Mr. Right"),
    ("ircot", f"{IS} 2. Both films are old.", f"{IS} 2.", "2"),
    (
        "one_shot",
        f"{IS} ...Baby One More Time.",
        f"{IS} ...Baby One More Time.",
        "...Baby One More Time",
    ),
    # Refusals, politely.
    (
        "one_shot",
        f"{IS} I'm sorry, but the passages do not say.",
        f"{IS} I'm sorry, but the passages do not say.",
        None,
    ),
    (
        "one_shot",
        f"{IS} Unfortunately, the passages do not mention it.",
        f"{IS} Unfortunately, the passages do not mention it.",
        None,
    ),
    # One generation for all.
    (
        "one_shot",
        f"{BY} {BORN}\n{IS} 1950. It is so.",
        f"{BY} {BORN}\n{IS} 1950. It is so.",
        "1950",
    ),
    ("one_shot", f"Sure! {BORN}\n\nAnswer: 1950", f"Sure! {BORN}\n\nAnswer: 1950", "1950"),
    ("closed_book", "The answer is:\n\n1950", "The answer is:\n\n1950", "1950"),
    ("closed_book", "$$\n\\boxed{1950}\n$$", "$$\n\\boxed{1950}\n$$", "1950"),
    (
        "closed_book",
        "The answer is not stated there.\nSo the answer is: 1950.",
        "The answer is not stated there.\nSo the answer is: 1950.",
        "1950",
    ),
]


@pytest.mark.parametrize(("place", "text", "kept", "answer"), ROWS)
def test_texts_as_models_write_them(place, text, kept, answer):
    strategy, before = PLACES[place]
    record, _ = drive(strategy, QUESTION, [*before, text, "nothing more"], find)
    assert record.steps[len(before)].rationale == kept
    assert (record.answer or None) == answer


def test_there_are_many_of_them():
    assert len(ROWS) >= 60
    assert {place for place, *_ in ROWS} == set(PLACES)


def test_an_answer_that_was_left_blank_is_asked_for():
    for strategy, text in ((ircot(), "The answer is:"), (self_ask(), f"{FINAL}\n")):
        record, actions = drive(strategy, QUESTION, [text, "1950"], find)
        assert (record.answer, record.status) == ("1950", "answered")
        assert record.stop_reason is StopReason.EMPTY_GENERATION
        assert record.steps[-1].cue == strategy.final_cue
        assert Replay(record, strategy).diverged == {}
        assert len([a for a in actions if isinstance(a, Generate)]) == 2


@pytest.mark.parametrize(
    "text",
    [
        "\n1950.\nQuestion: And",
        "\n\n1950.\n\nIt is so.",
        f"{IS}\n\n1950.\n\nIt is so.",
        "**The answer is:**\n\n1950.\nIt is so.",
        "By the passages, the answer is:\n1950.\nIt is so.",
        "Sure! Here it is:\n\n1950.\nIt is so.",
    ],
)
@pytest.mark.parametrize("reasoning", ["user", "assistant", "anew"])
@pytest.mark.parametrize("form", ["chat", "plain"])
def test_line_breaks_in_front_end_no_forced_answer(form, reasoning, text):
    """Of any strategy; and nothing that a model writes on behind its answer is kept."""
    prompt = BARE.model_copy(update={"reasoning": reasoning})
    first = {IRCoT: BY, SelfAsk: ASK, OneShot: BY, ClosedBook: BY}
    for kind, said in first.items():
        settings = kind.settings_type(**({"max_steps": 1} if kind in (IRCoT, SelfAsk) else {}))
        strategy = kind(settings, prompt, form)
        lm = ScriptedModel(lambda asked, said=said: text if asked.cue else said, form=form)
        (record,) = Engine(strategy, lm, DictRetriever(FILM)).run(film_questions(1))
        assert (record.answer, record.steps[-1].cue) == ("1950", strategy.final_cue)
        assert record.steps[-1].rationale == f"{strategy.final_cue} 1950."
        assert record.steps[-1].raw.endswith("1950.")


@pytest.mark.parametrize("lead", ["\n\n", "Here is the next step:\n\n"])
def test_line_breaks_in_front_end_no_step_of_a_chat(lead):
    texts = [f"{lead}{BY}\n\nMore", f"{IS} 1950."]
    lm = ScriptedModel(lambda asked: texts[asked.step - 1], form="chat")
    (record,) = Engine(ircot(), lm, DictRetriever(FILM)).run(film_questions(1))
    assert [step.rationale for step in record.steps] == [BY, f"{IS} 1950."]
    assert record.steps[0].raw == f"{lead}{BY}"


def test_plain_text_that_goes_on_after_a_blank_line_has_ended():
    lm = ScriptedModel(lambda asked: "\n\nQ: Who made it?\nA:")
    (record,) = Engine(IRCoT(prompt=BARE), lm, DictRetriever(FILM)).run(film_questions(1))
    assert record.stop_reason is StopReason.EMPTY_GENERATION


def test_no_answer_yet_is_no_end_of_the_loop():
    texts = ["The answer is not available in the passages.", BORN, f"{IS} 1950."]
    record, _ = drive(ircot(), QUESTION, texts, find)
    assert (record.answer, len(record.steps)) == ("1950", 3)


def test_a_preamble_alone_is_no_query():
    _, actions = drive(ircot(), QUESTION, ["Here is the next step:", f"{IS} 1950."], find)
    assert [a.query for a in actions if isinstance(a, Search)] == [QUESTION]


ANEW = [f"{BY} {BORN} {IS} 1950."] * 3


def test_a_chain_begun_anew_at_each_step_goes_on_sentence_by_sentence():
    record, actions = drive(ircot(), QUESTION, ANEW, find)
    assert [s.rationale for s in record.steps] == [BY, BORN, f"{IS} 1950."]
    assert record.stop_reason is StopReason.ANSWERED
    assert [a.query for a in actions if isinstance(a, Search)] == [QUESTION, BY, BORN]


def test_by_ircots_rule_the_repeated_first_sentence_ends_the_loop():
    record, _ = drive(ircot(keep="first_sentence"), QUESTION, [*ANEW[:2], "1950"], find)
    assert [s.rationale for s in record.steps][:2] == [BY, BY]
    assert record.stop_reason is StopReason.REPEATED_QUERY


@pytest.mark.parametrize("keep", ["first_new_sentence", "first_sentence"])
def test_a_run_is_replayed_by_the_rule_that_it_recorded(keep):
    strategy = ircot(keep=keep)
    record, actions = drive(strategy, QUESTION, ANEW, find)
    replay = Replay(record, strategy)
    prompts = [a.prompt for a in actions if isinstance(a, Generate)]
    assert [replay.prompt(step) for step in record.steps] == prompts
    assert not replay.diverged


def test_a_pattern_of_ones_own_finds_its_line_as_written():
    strategy = ircot(answer_pattern=r"^#### (.*)", **once)
    record, _ = drive(strategy, QUESTION, ["#### **1950**"], find)
    assert (record.answer, record.steps[0].rationale) == ("1950", "#### **1950**")
    record, _ = drive(ircot(answer_pattern=r"done(?: (.*))?", **once), QUESTION, ["done"], find)
    assert record.answer == ""


@pytest.mark.parametrize("name", SAMPLES)
def test_gold_answers_survive(name):
    """Titles with full stops, marks, "answer" in them: cleaning takes nothing that scores."""
    if not (SHARED / name).exists():
        pytest.skip(f"real benchmark samples are not here ({name})")
    golds = {answer for question in load_questions(SHARED / name) for answer in question.answers}
    assert len(golds) > 70
    shapes = (
        "So the answer is: {}.",
        "The answer is {}.",
        "So the final answer is: {}",
        r"\boxed{{{}}}",
        "Answer: **{}**",
        "So the answer is: {}. It is the one that the passage names.",
    )
    for gold in golds:
        read = [stated_answer(shape.format(gold)) for shape in shapes]
        read += [parse_piece(shape.format(gold)).final for shape in shapes]
        read += [drive(ircot(**once), QUESTION, [s.format(gold)], find)[0].answer for s in shapes]
        read.append(READERS["direct"].answer(gold, StopReason.ANSWERED).answer)
        assert {normalize_answer(str(answer)) for answer in read} == {normalize_answer(gold)}


LONG = 30_000
UNITS = [
    *("### Answer\n", "Final Answer\n\n", ": ...", "...", "> ", "Dr. ", "The answer: "),
    *(" ", "\n", ".", "! ", "*", "“", '"', "(", "{", "1. ", "- ", ">", "#", "a\n", "x", "1,", "。"),
    *(
        "U.S. ",
        "A b. ",
        "</think>",
        "answer is ",
        "The answer is: ",
        "the answer is ! ",
        "Answer: ",
    ),
    *("The answer is not available.\n", "The answer is:\n", ", so the answer is", r"\boxed{"),
    *("Follow up: ", "Follow up: a? ", "Intermediate answer: a\n", f"{FINAL} Follow up: "),
    *("Sure! ", "Here is the step ", "Here is the step: ", "Let's think. ", "Step 1: "),
]


def test_a_heading_leads_up_to_an_answer_and_its_name_in_a_sentence_does_not():
    for heading in ("**Final Answer**", "### Answer", "Answer", "It is so.\n## The Final Answer"):
        assert leads_up(heading + "\n")
        cut = truncate_at_stop(f"{heading}\n\nOslo\n\nNext", ("\n\n",), may_lead_up=True)
        assert cut == (f"{heading}\n\nOslo", True)
    for text in ("That is the final answer", "Oslo is the answer\n", "# Oslo\nNo answer"):
        assert not leads_up(text)
        assert truncate_at_stop(f"{text}\n\nNext", ("\n\n",), may_lead_up=True)[1]


@pytest.mark.parametrize("begin", ["", "The answer is: "])
def test_no_text_takes_long_to_read(begin):
    readings = {
        "stated_answer": stated_answer,
        "told_before_answer": told_before_answer,
        "parse_piece": parse_piece,
        "leads_up": leads_up,
        "truncate": lambda text: truncate_at_stop(text, ("\n\n",), may_lead_up=True),
        "without_preamble": without_preamble,
        "clean_answer": clean_answer,
        "direct": lambda text: READERS["direct"].answer(text, StopReason.ANSWERED),
    }
    for unit in UNITS:
        text = (begin + unit * LONG)[:LONG]
        told = [unit, begin + unit]
        kept = {**readings, "kept": lambda text, told=told: kept_sentence(text, told=told)}
        for name, read in kept.items():
            assert seconds(read, text) < 0.05, (name, unit)


def seconds(read, text):
    """The best of a few: what else runs on the machine is not what is measured."""
    taken = []
    for _ in range(5):
        start = time.process_time()
        read(text)
        taken.append(time.process_time() - start)
        if taken[-1] < 0.02:
            break
    return min(taken)


def test_an_exclamation_mark_within_a_passages_title_ends_no_sentence():
    title = "Beware! The Blob (film)"
    fact = "The film Beware! The Blob is a comedy."
    assert kept_sentence(f"{fact} It was made in 1972.", titles=[title]) == fact
    assert kept_sentence(f"{fact} It was made in 1972.", told=[fact], titles=[title]) == (
        "It was made in 1972."
    )
    for other in ("Beware!", "The Blob", ""):
        assert kept_sentence(fact, titles=[other]) == "The film Beware!"
