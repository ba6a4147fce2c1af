import pytest
from pydantic import ValidationError

from steper.prompt.render import (
    NO_NEW_PASSAGES,
    PromptSettings,
    Turn,
    build_prompt,
    passage_block,
    recorded_prompt,
    target_lead,
)
from steper.prompt.words import demonstrations
from steper.records import Passage
from steper.strategy import STRATEGIES
from steper.strategy.ircot.queries import is_reasoning
from steper.strategy.readers import READERS
from steper.strategy.stated_answer import stated_answer
from steper.text import sentences

WORDS = {name: kind.words for name, kind in STRATEGIES.ours().items()}
WORDS |= {reader.words.name: reader.words for reader in READERS.values()}
IRCOT, SELF_ASK = WORDS["ircot"], WORDS["self_ask"]

A, B = Passage.make("A", "About a."), Passage.make("B", "About b.")
TURNS = [Turn((A,), "First fact."), Turn((B,), "Second fact."), Turn(())]


def bare(**more):
    return PromptSettings(instruction=False, demos=0, **more)


def test_passages_first_plain():
    assert build_prompt(IRCOT, "Who?", TURNS, bare(), "plain").text() == (
        "Wikipedia Title: A\nAbout a.\n\nWikipedia Title: B\nAbout b.\n\n"
        "Q: Who?\nA: First fact. Second fact."
    )


def test_append_only_chat():
    prompt = build_prompt(IRCOT, "Who?", TURNS, bare(layout="append_only"), "chat")
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
        build_prompt(SELF_ASK, "Who?", turns, bare(), "plain")
        .text()
        .endswith("Question: Who?\nAre follow up questions needed here: Yes.\nFollow up: X?")
    )


@pytest.mark.parametrize("name", WORDS)
@pytest.mark.parametrize("layout", ["passages_first", "append_only"])
def test_plain_text_and_target_go_on_seamlessly(name, layout):
    """Prompt + lead + text of a step is how the next step's prompt begins (append_only)."""
    settings, template = bare(layout=layout), WORDS[name]
    prompt = build_prompt(template, "Who?", [Turn((A,))], settings, "plain")
    first, lead = prompt.text(), target_lead(template, settings, "plain")
    second = build_prompt(template, "Who?", [Turn((A,), "Fact."), Turn((B,))], settings, "plain")
    if layout == "append_only":
        assert second.text().startswith(first + lead + "Fact.")
    else:
        assert second.text().endswith(lead + "Fact.")
    assert not (first + lead).endswith("  ")


def test_nothing_precedes_the_text_in_a_chat():
    prompt = build_prompt(IRCOT, "Who?", TURNS, bare(), "chat")
    assert target_lead(IRCOT, bare(), "chat", begun=prompt.begun) == ""


def test_the_reasoning_may_begin_the_assistants_turn():
    settings = bare(reasoning="assistant")
    prompt = build_prompt(IRCOT, "Who?", TURNS, settings, "chat")
    passages = "Wikipedia Title: A\nAbout a.\n\nWikipedia Title: B\nAbout b."
    assert prompt.messages() == [
        {"role": "user", "content": f"{passages}\n\nQ: Who?\nA:"},
        {"role": "assistant", "content": "First fact. Second fact."},
    ]
    assert target_lead(IRCOT, settings, "chat", begun=prompt.begun) == " "
    first = build_prompt(IRCOT, "Who?", TURNS[:1], settings, "chat")
    assert [s.role for s in first.segments] == ["user"]
    assert target_lead(IRCOT, settings, "chat", begun=first.begun) == ""
    forced = build_prompt(IRCOT, "Who?", TURNS, settings, "chat", "So the answer is:")
    assert forced.messages()[-1]["content"].endswith("Second fact. So the answer is:")
    assert target_lead(IRCOT, settings, "chat", "So the answer is:", forced.begun) == " "


@pytest.mark.parametrize("form", ["chat", "plain"])
def test_reasoning_that_is_written_anew_is_not_shown(form):
    settings = bare(reasoning="anew")
    shown = build_prompt(IRCOT, "Who?", TURNS, settings, form)
    passages = tuple(p for turn in TURNS for p in turn.passages)
    assert shown == build_prompt(IRCOT, "Who?", [Turn(passages)], bare(), form)
    assert not shown.begun
    # A forced answer continues what was said.
    forced = build_prompt(IRCOT, "Who?", TURNS, settings, form, "So the answer is:")
    said = [" " * (form == "plain") + "First fact.", " Second fact.", " So the answer is:"]
    assert [s.text for s in forced.segments[1:]] == said
    assert {s.role for s in forced.segments[1:]} == {"assistant"}


@pytest.mark.parametrize("name", ["ircot", "self_ask"])
def test_the_instruction_says_that_all_is_written_anew(name):
    by = [
        build_prompt(WORDS[name], "Who?", TURNS, PromptSettings(reasoning=where, demos=0), "chat")
        for where in ("user", "anew")
    ]
    assert "from " in by[1].segments[0].text
    assert "beginning" not in by[0].segments[0].text
    assert "beginning" in by[1].segments[0].text


def test_turns_cannot_be_written_anew():
    with pytest.raises(ValidationError, match="append_only has it there as turns"):
        bare(reasoning="anew", layout="append_only")


@pytest.mark.parametrize("form", ["chat", "plain"])
@pytest.mark.parametrize("layout", ["passages_first", "append_only"])
def test_plain_text_and_append_only_have_the_reasoning_there_already(form, layout):
    if (form, layout) == ("chat", "passages_first"):
        pytest.skip("that is the form in which it differs")
    by = [
        build_prompt(IRCOT, "Who?", TURNS, bare(layout=layout, reasoning=where), form)
        for where in ("user", "assistant")
    ]
    assert by[0].text() == by[1].text()
    assert layout == "passages_first" or by[0] == by[1]


def test_settings_of_earlier_records_have_no_place_of_the_reasoning():
    assert "reasoning" not in bare().model_dump(mode="json")
    assert bare(reasoning="assistant").model_dump()["reasoning"] == "assistant"
    assert PromptSettings.model_validate(bare().model_dump()) == bare()


@pytest.mark.parametrize("form", ["chat", "plain"])
@pytest.mark.parametrize("layout", ["passages_first", "append_only"])
def test_a_cue_ends_the_prompt(form, layout):
    prompt = build_prompt(IRCOT, "Who?", TURNS, bare(layout=layout), form, "So the answer is:")
    last = prompt.messages()[-1]["content"] if form == "chat" else prompt.text()
    assert last.endswith("So the answer is:")
    assert prompt.segments[-1].role == "user"


def test_long_passages_are_shortened_to_the_word_limit():
    long = Passage.make("L", " ".join(f"w{i}" for i in range(500)))
    assert passage_block(long, 350).split()[-1] == "w349"


@pytest.mark.parametrize("name", WORDS)
def test_every_template_has_instruction_and_demonstrations(name):
    assert len(WORDS[name].instruction) > 60
    prompt = build_prompt(WORDS[name], "Who?", [Turn((A,))], PromptSettings(demos=9), "chat")
    assert prompt.segments[0].role == "system"
    roles = [m["role"] for m in prompt.messages()]
    assert roles[0] == "system"
    assert roles[1:] == ["user", "assistant"] * (len(roles) // 2 - 1) + ["user"]
    # Self-RAG's passages stand in what the model writes.
    shown = name not in ("closed_book", "self_rag")
    assert ("Wikipedia" in prompt.messages()[1]["content"]) is shown


def test_plain_demonstrations_are_set_apart():
    text = build_prompt(IRCOT, "Who?", [Turn((A,))], PromptSettings(demos=2), "plain").text()
    assert text.count("\n\n\n") == 1 + 2 * 3
    assert text.count("A: The film Jaws was directed by Steven Spielberg.\n\n\nWikipedia") == 1
    assert "So the answer is: December 18, 1946.\n\n\nWikipedia" in text


FORMS = [
    ("passages_first", "user", "chat"),
    ("passages_first", "assistant", "chat"),
    ("passages_first", "anew", "chat"),
    ("passages_first", "user", "plain"),
    ("passages_first", "anew", "plain"),
    ("append_only", "user", "chat"),
    ("append_only", "user", "plain"),
]


@pytest.mark.parametrize(("layout", "reasoning", "form"), FORMS)
@pytest.mark.parametrize("name", WORDS)
def test_a_demonstration_is_each_step_as_it_is_asked(name, layout, reasoning, form):
    """Prompt and text of single steps (P≤s, R<s → r_s) stand in front, word for word."""
    words, demo = WORDS[name], demonstrations()[2]
    turns = [Turn(passages, text) for passages, text in words.demonstrate(demo)]
    alone = bare(layout=layout, reasoning=reasoning)
    steps = sorted({0, len(turns) // 2, len(turns) - 1})
    shown = ""
    for at in steps if layout == "passages_first" else steps[-1:]:
        asked = build_prompt(words, demo.question, turns[: at + 1], alone, form)
        lead = target_lead(words, alone, form, begun=asked.begun)
        written = turns[: at + 1] if reasoning == "anew" else [turns[at]]
        end = "\n\n\n" if form == "plain" else ""
        shown += asked.text() + lead + words.lead.join(t.rationale for t in written) + end
    settings = alone.model_copy(update={"demos": 3})
    text = build_prompt(words, "Who?", [Turn((A,))], settings, form).text()
    before = build_prompt(words, "Who?", [Turn((A,))], alone, form).text()
    assert text.endswith(shown + before)


def test_every_step_may_be_shown_or_the_whole_chain_at_once():
    def shown(**more):
        settings = PromptSettings(instruction=False, demos=3, **more)
        return build_prompt(IRCOT, "Who?", [Turn((A,))], settings, "chat").messages()[:-1]

    assert len(shown()) == 2 * (3 + 3 + 3)
    assert len(shown(demo_steps="all")) == 2 * (3 + 3 + 5)
    assert [m["content"].count(". ") for m in shown(demo_steps="chain")[1::2]] == [2, 2, 4]
    assert all(m["content"].count(". ") == 0 for m in shown(demo_steps="all")[1::2])


def test_records_of_before_showed_the_chain():
    chain, new = bare().model_copy(update={"demos": 2, "demo_steps": "chain"}), PromptSettings()
    for settings in (chain, new, bare(), PromptSettings(demos=0, demo_steps="all")):
        written = settings.model_dump(mode="json")
        read = PromptSettings.model_validate(recorded_prompt(written))
        assert read.demos == settings.demos
        assert read.demo_steps == settings.demo_steps or not read.demos
        assert read.model_dump(mode="json") == written
        assert PromptSettings.model_validate(settings.model_dump()) == settings
    assert "demo_steps" not in chain.model_dump(mode="json") | bare().model_dump(mode="json")
    assert new.model_dump(mode="json")["demo_steps"] == "first_middle_last"


def test_demonstrations_are_what_the_strategies_expect():
    assert {d.type for d in demonstrations()} == {
        "compositional",
        "comparison",
        "bridge_comparison",
        "inference",
        "bridge",
    }
    for demo in demonstrations():
        texts = [text for _, text in IRCOT.demonstrate(demo)]
        assert all(len(sentences(text)) == 1 for text in texts)
        assert not any(is_reasoning(text) for text in texts[:-1])
        assert stated_answer(texts[-1]) == demo.answer
        shown = {t for passages, _ in IRCOT.demonstrate(demo) for t in passages}
        assert len(shown) >= 2
        pieces = [text for _, text in SELF_ASK.demonstrate(demo)]
        assert pieces[0].startswith("Follow up: ")
        assert all(p.startswith("Intermediate answer: ") for p in pieces[1:])
        assert pieces[-1].endswith(f"\nSo the final answer is: {demo.answer}")
