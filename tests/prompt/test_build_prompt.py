import pytest

from steper.prompt.render import (
    NO_NEW_PASSAGES,
    PromptSettings,
    Turn,
    build_prompt,
    passage_block,
    target_lead,
)
from steper.prompt.words import TEMPLATES, demonstrations, instruction
from steper.records import Passage
from steper.text import is_reasoning, sentences, stated_answer

A, B = Passage.make("A", "About a."), Passage.make("B", "About b.")
TURNS = [Turn((A,), "First fact."), Turn((B,), "Second fact."), Turn(())]


def bare(**more):
    return PromptSettings(instruction=False, demos=0, **more)


def test_passages_first_plain():
    assert build_prompt("ircot", "Who?", TURNS, bare(), "plain").text() == (
        "Wikipedia Title: A\nAbout a.\n\nWikipedia Title: B\nAbout b.\n\n"
        "Q: Who?\nA: First fact. Second fact."
    )


def test_append_only_chat():
    prompt = build_prompt("ircot", "Who?", TURNS, bare(layout="append_only"), "chat")
    assert prompt.messages() == [
        {"role": "user", "content": "Q: Who?\n\nWikipedia Title: A\nAbout a."},
        {"role": "assistant", "content": "First fact."},
        {"role": "user", "content": "Wikipedia Title: B\nAbout b."},
        {"role": "assistant", "content": "Second fact."},
        {"role": "user", "content": NO_NEW_PASSAGES},
    ]


def test_self_ask_lines():
    turns = [Turn((A,), "Follow up: X?"), Turn((B,))]
    assert (
        build_prompt("self_ask", "Who?", turns, bare(), "plain")
        .text()
        .endswith("Question: Who?\nAre follow up questions needed here: Yes.\nFollow up: X?")
    )


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("layout", ["passages_first", "append_only"])
def test_plain_text_and_target_go_on_seamlessly(template, layout):
    """Prompt + lead + text of a step is how the next step's prompt begins (append_only)."""
    settings = bare(layout=layout)
    first = build_prompt(template, "Who?", [Turn((A,))], settings, "plain").text()
    lead = target_lead(template, settings, "plain")
    second = build_prompt(template, "Who?", [Turn((A,), "Fact."), Turn((B,))], settings, "plain")
    if layout == "append_only":
        assert second.text().startswith(first + lead + "Fact.")
    else:
        assert second.text().endswith(lead + "Fact.")
    assert not (first + lead).endswith("  ")


def test_nothing_precedes_the_text_in_a_chat():
    assert target_lead("ircot", bare(), "chat") == ""


@pytest.mark.parametrize("form", ["chat", "plain"])
@pytest.mark.parametrize("layout", ["passages_first", "append_only"])
def test_a_cue_ends_the_prompt(form, layout):
    prompt = build_prompt("ircot", "Who?", TURNS, bare(layout=layout), form, "So the answer is:")
    last = prompt.messages()[-1]["content"] if form == "chat" else prompt.text()
    assert last.endswith("So the answer is:")
    assert prompt.segments[-1].role == "user"


def test_long_passages_are_shortened_to_the_word_limit():
    long = Passage.make("L", " ".join(f"w{i}" for i in range(500)))
    assert passage_block(long, 350).split()[-1] == "w349"


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_template_has_instruction_and_demonstrations(name):
    assert len(instruction(name)) > 60
    prompt = build_prompt(name, "Who?", [Turn((A,))], PromptSettings(demos=9), "chat")
    assert prompt.segments[0].role == "system"
    roles = [m["role"] for m in prompt.messages()]
    assert roles[0] == "system"
    assert roles[1:] == ["user", "assistant"] * (len(roles) // 2 - 1) + ["user"]
    assert ("Wikipedia" in prompt.messages()[1]["content"]) is (name != "closed_book")


def test_plain_demonstrations_are_set_apart():
    text = build_prompt("ircot", "Who?", [Turn((A,))], PromptSettings(demos=2), "plain").text()
    assert text.count("\n\n\n") == 3
    assert "So the answer is: December 18, 1946.\n\n\nWikipedia" in text


def test_demonstrations_are_what_the_strategies_expect():
    assert {d.type for d in demonstrations()} == {
        "compositional",
        "comparison",
        "bridge_comparison",
        "inference",
        "bridge",
    }
    for demo in demonstrations():
        texts = [text for _, text in demo.turns("ircot")]
        assert all(len(sentences(text)) == 1 for text in texts)
        assert not any(is_reasoning(text) for text in texts[:-1])
        assert stated_answer(texts[-1]) == demo.answer
        shown = {t for passages, _ in demo.turns("ircot") for t in passages}
        assert len(shown) >= 2
        pieces = [text for _, text in demo.turns("self_ask")]
        assert pieces[0].startswith("Follow up: ")
        assert all(p.startswith("Intermediate answer: ") for p in pieces[1:])
        assert pieces[-1].endswith(f"\nSo the final answer is: {demo.answer}")
