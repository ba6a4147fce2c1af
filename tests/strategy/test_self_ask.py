from contextlib import suppress
from dataclasses import replace

import pytest

from doubles import FILM, DictRetriever, drive
from steper.errors import SettingsError
from steper.lm.base import Completion, truncate_at_stop
from steper.prompt.render import PromptSettings, Turn
from steper.records import StopReason
from steper.strategy.actions import Generate, Search
from steper.strategy.self_ask import SelfAsk, SelfAskSettings
from steper.strategy.self_ask.pieces import Piece, parse_piece
from steper.strategy.trace import Trace

BARE = PromptSettings(instruction=False, demos=0)
QUESTION = "When was the director of Gold Rain born?"
PIECES = [
    "Follow up: Who directed Gold Rain?",
    "Intermediate answer: Ann Lee\nFollow up: When was Ann Lee born?",
    "Intermediate answer: 1950\nSo the final answer is: 1950",
]


def find(query):
    return DictRetriever(FILM).search([query], 10)[0]


def run(texts, prompt=BARE, form="chat", **settings):
    return drive(SelfAsk(SelfAskSettings(**settings), prompt, form), QUESTION, texts, find)


def queries(actions):
    return [a.query for a in actions if isinstance(a, Search)]


def test_the_follow_up_is_the_next_query():
    record, actions = run(PIECES)
    assert record.answer == "1950"
    assert [s.kind for s in record.steps] == ["init", "exp", "agg"]
    assert queries(actions) == [QUESTION, "Who directed Gold Rain?", "When was Ann Lee born?"]
    last = [a for a in actions if isinstance(a, Generate)][-1]
    assert last.prompt.messages()[0]["content"].endswith(
        f"Question: {QUESTION}\nAre follow up questions needed here: Yes.\n{PIECES[0]}\n{PIECES[1]}"
    )
    assert "\nIntermediate answer:" in last.stop


def test_plain_text_goes_on_after_the_marker():
    texts = [
        PIECES[0],
        "Ann Lee\nFollow up: When was Ann Lee born?",
        "1950\nSo the final answer is: 1950.",
    ]
    record, actions = run(texts, form="plain")
    assert record.answer == "1950"
    assert record.steps[1].rationale == PIECES[1]
    second = [a for a in actions if isinstance(a, Generate)][1]
    assert second.prompt.text().endswith("Who directed Gold Rain?\nIntermediate answer:")


def test_a_turn_that_is_continued_goes_on_after_the_marker():
    """The stop string ends a step in front of the next intermediate answer, not of its own."""
    prompt = BARE.model_copy(update={"reasoning": "assistant"})
    trace, chain = Trace(QUESTION), "\n".join(PIECES)
    actions = SelfAsk(None, prompt, "chat").run(trace)
    action = next(actions)
    while len(trace.steps) < len(PIECES):
        if isinstance(action, Search):
            action = actions.send(find(action.query))
            continue
        begun = "".join(s.text for s in action.prompt.segments[1:])
        written, _ = truncate_at_stop(chain.removeprefix(begun), action.stop)
        with suppress(StopIteration):
            action = actions.send(Completion(text=written))
    assert [s.rationale for s in trace.steps] == PIECES


def test_without_a_first_search_the_first_step_has_no_passages():
    record, actions = run(PIECES, first_search=False)
    assert record.steps[0].query is None
    assert queries(actions) == ["Who directed Gold Rain?", "When was Ann Lee born?"]


SPIELBERG = [
    "Follow up: Who directed the film Jaws?",
    "Intermediate answer: Steven Spielberg",
    "Follow up: When was Steven Spielberg born?",
    "Intermediate answer: December 18, 1946",
    "So the final answer is: December 18, 1946",
]


@pytest.mark.parametrize(
    ("settings", "passages"),
    [
        ({"reader": "direct"}, [2, 2, 2]),
        ({"reader": "direct", "first_search": False}, [0, 0, 0]),
        ({"reader": "cot", "first_search": False, "show_passages": True}, [0, 3, 3]),
    ],
)
def test_with_a_separate_reader_demonstrations_ask_and_do_not_answer(settings, passages):
    prompt = PromptSettings(instruction=False, demos=1)
    *shown, _ = (
        SelfAsk(SelfAskSettings(**settings), prompt, "chat").render("Who?", [Turn()]).messages()
    )
    assert [m["content"] for m in shown[1::2]] == SPIELBERG[::2]
    assert [m["content"].split("Yes.\n")[1:] for m in shown[::2]] == [
        [],
        ["\n".join(SPIELBERG[:2])],
        ["\n".join(SPIELBERG[:4])],
    ]
    assert [m["content"].count("Wikipedia Title") for m in shown[::2]] == passages


def test_without_a_first_search_demonstrations_begin_without_passages():
    prompt = PromptSettings(instruction=False, demos=1)
    strategy = SelfAsk(SelfAskSettings(first_search=False), prompt, "chat")
    *shown, _ = strategy.render("Who?", [Turn()]).messages()
    assert [m["content"].count("Wikipedia Title") for m in shown[::2]] == [0, 3, 3]


def test_a_subclass_has_words_of_its_own():
    class Other(SelfAsk):
        words = replace(SelfAsk.words, instruction="Ask.")

    prompt = Other(None, PromptSettings(demos=1)).render("Who?", [Turn()])
    assert prompt.text().startswith("Ask.\n")


def test_a_separate_reader_answers_each_follow_up():
    texts = [
        PIECES[0],
        "Ann Lee",
        "Follow up: When was Ann Lee born?",
        "1950.",
        "So the final answer is: 1950",
    ]
    record, actions = run(texts, reader="direct", first_search=False)
    assert record.answer == "1950"
    assert [s.role for s in record.steps] == ["reason", "read", "reason", "read", "reason"]
    assert [s.rationale for s in record.steps][3] == "Intermediate answer: 1950"
    generations = [a for a in actions if isinstance(a, Generate)]
    assert generations[1].prompt.messages()[0]["content"] == (
        "Wikipedia Title: Gold Rain\nGold Rain is a film by Ann Lee.\n\n"
        "Q: Who directed Gold Rain?\nA:"
    )
    assert "Wikipedia" not in generations[4].prompt.messages()[0]["content"]
    _, actions = run(texts, reader="direct", first_search=False, show_passages=True)
    last = [a for a in actions if isinstance(a, Generate)][4]
    assert last.prompt.messages()[0]["content"].count("Wikipedia Title") == 2


def test_a_separate_reader_needs_passages_first():
    prompt = PromptSettings(layout="append_only")
    with pytest.raises(SettingsError, match="passages_first"):
        SelfAsk(SelfAskSettings(reader="direct"), prompt)


@pytest.mark.parametrize(
    ("text", "piece"),
    [
        ("follow up: Who made Alien: Covenant?", Piece(follow_up="Who made Alien: Covenant?")),
        ("FOLLOW-UP question: Who?", Piece(follow_up="Who?")),
        ("Intermediate Answer: A\nFollow Up: B?", Piece("A", "B?")),
        ("so the final answer is: X.", Piece(final="X")),
        ("Intermediate answer: A\nSo the final answer is: X", Piece("A", None, "X")),
        ("Follow up: A?\nFollow up: B?", Piece(follow_up="A?")),
        ("Follow up: A?\nIntermediate answer: B", Piece(follow_up="A?")),
        ("I think it is X.", Piece()),
        ("**Follow up:** Who made **it**?", Piece(follow_up="Who made it?")),
        ("So the final answer is: **Paris**.", Piece(final="Paris")),
        ("Intermediate answer: A. Follow up: B: c?", Piece("A.", "B: c?")),
        ("Intermediate answer: A So the final answer is: X", Piece("A", None, "X")),
        ("Follow up: What does Follow up: mean?", Piece(follow_up="What does Follow up: mean?")),
    ],
)
def test_markers_vary(text, piece):
    assert parse_piece(text) == piece


def test_no_marker_is_an_end_with_its_reason():
    record, _ = run(["Hello there.", "nothing"], force_answer=False)
    assert (record.status, record.stop_reason) == ("capped", StopReason.NO_MARKER)
    record, _ = run(["Hello there.", "1950"])
    assert (record.status, record.answer) == ("answered", "1950")


def test_the_same_follow_up_again_forces_an_answer():
    again = "Intermediate answer: Ann Lee\nFollow up: Who directed Gold Rain?"
    record, _ = run([PIECES[0], again, "1950"])
    assert record.stop_reason is StopReason.REPEATED_QUERY
    assert record.answer == "1950"
    assert record.steps[-1].cue == "So the final answer is:"


def test_step_cap():
    record, _ = run([PIECES[0], PIECES[1], "1950"], max_steps=2)
    assert record.stop_reason is StopReason.FORCED


def test_the_question_itself_is_no_new_follow_up():
    record, _ = run([f"Follow up: {QUESTION}", "1950"])
    assert record.stop_reason is StopReason.REPEATED_QUERY


def test_show_passages_is_for_a_separate_reader():
    with pytest.raises(SettingsError, match="show_passages"):
        run([], show_passages=True)


ANEW = BARE.model_copy(update={"reasoning": "anew"})
SO_FAR = ["\n".join(PIECES[: n + 1]) for n in range(3)]


@pytest.mark.parametrize("form", ["plain", "chat"])
def test_what_is_new_in_lines_that_are_written_anew_is_the_steps(form):
    record, actions = run(SO_FAR, ANEW, form)
    assert [s.rationale for s in record.steps] == PIECES
    assert [s.raw for s in record.steps] == SO_FAR
    assert record.answer == "1950"
    assert queries(actions) == [QUESTION, "Who directed Gold Rain?", "When was Ann Lee born?"]
    asked = [a for a in actions if isinstance(a, Generate)]
    assert not any("Ann Lee?" in a.prompt.text() or a.cue for a in asked)
    assert not any("Intermediate" in stop for a in asked for stop in a.stop)


def test_two_answers_that_are_alike_are_two():
    texts = [
        "Follow up: When was Ann Lee born?",
        "Intermediate answer: 1950\nFollow up: When was Bo Orr born?",
        "Intermediate answer: 1950\nSo the final answer is: yes",
    ]
    so_far = ["\n".join(texts[: n + 1]) for n in range(3)]
    for said in (so_far, texts):
        record, _ = run(said, ANEW)
        assert [s.rationale for s in record.steps] == texts


def test_lines_that_say_nothing_new_are_followed_by_the_answer_alone():
    record, _ = run([SO_FAR[1], SO_FAR[1], SO_FAR[1], "1950"], ANEW)
    assert record.stop_reason is StopReason.REPEATED_QUERY
    assert record.answer == "1950"


def test_a_continued_turn_is_not_ended_by_the_stop_string_of_the_next_step():
    """The model goes on behind the marker: its text would begin with the stop string."""
    prompt = BARE.model_copy(update={"reasoning": "assistant"})
    texts = [PIECES[0], *(text.partition(": ")[2] for text in PIECES[1:])]
    record, actions = run(texts, prompt)
    assert [s.rationale for s in record.steps] == PIECES
    last = [a for a in actions if isinstance(a, Generate)][-1]
    assert last.prompt.messages()[-1]["content"].endswith("\nIntermediate answer:")


def test_a_separate_readers_answers_are_not_written_anew():
    with pytest.raises(SettingsError, match="cannot write all of the reasoning anew"):
        SelfAsk(SelfAskSettings(reader="direct"), ANEW)


# Written by SmolLM2-135M-Instruct, which asks nothing and says it again up to the step cap.
STUCK = "Intermediate answer: John Winston Ono Lennon (born 9 October 1940) was an English musician"


def test_a_piece_that_asks_nothing_and_comes_again_ends_the_loop():
    record, actions = run([STUCK, STUCK, "Liverpool"])
    assert [s.rationale for s in record.steps[:2]] == [STUCK, STUCK]
    assert record.answer == "Liverpool"
    assert record.stop_reason is StopReason.REPEATED_QUERY
    assert [a.cue for a in actions if isinstance(a, Generate)][-1] == "So the final answer is:"


def test_a_piece_that_comes_again_may_be_gone_on_from():
    record, _ = run([STUCK, STUCK, PIECES[2]], repeated_query="continue")
    assert record.stop_reason is StopReason.ANSWERED
    assert len(record.steps) == 3


def test_a_piece_that_asks_nothing_ends_nothing_the_first_time():
    record, _ = run([STUCK, "Intermediate answer: 1940", PIECES[2]])
    assert record.stop_reason is StopReason.ANSWERED
