import pytest

from doubles import FILM, DictRetriever, drive
from steper.prompt.render import PromptSettings, Turn
from steper.records import StopReason
from steper.strategy.actions import Generate, Search
from steper.strategy.context import Budget
from steper.strategy.ircot import IRCoT, IRCoTSettings

BARE = PromptSettings(instruction=False, demos=0)
QUESTION = "When was the director of Gold Rain born?"
FACTS = [
    "Gold Rain was directed by Ann Lee.",
    "Ann Lee was born in 1950.",
    "So the answer is: 1950.",
]


def find(query):
    return DictRetriever(FILM).search([query], 10)[0]


def run(texts, prompt=BARE, form="plain", budget=None, **settings):
    strategy = IRCoT(IRCoTSettings(**settings), prompt, form, budget)
    return drive(strategy, QUESTION, texts, find)


def queries(actions):
    return [a.query for a in actions if isinstance(a, Search)]


def prompts(actions):
    return [a.prompt.text() for a in actions if isinstance(a, Generate)]


def test_each_sentence_is_the_next_query():
    record, actions = run(FACTS)
    assert record.answer == "1950"
    assert record.stop_reason is StopReason.ANSWERED
    assert [s.kind for s in record.steps] == ["init", "exp", "agg"]
    assert queries(actions) == [
        QUESTION,
        "Gold Rain was directed by Ann Lee.",
        "Ann Lee was born in 1950.",
    ]


def test_passages_accumulate_first_come_and_stand_before_the_question():
    _, actions = run(FACTS)
    assert prompts(actions)[1] == (
        "Wikipedia Title: Gold Rain\nGold Rain is a film by Ann Lee.\n\n"
        "Wikipedia Title: Ann Lee\nAnn Lee was born in 1950 in Oslo.\n\n"
        f"Q: {QUESTION}\nA: Gold Rain was directed by Ann Lee."
    )


def test_only_the_first_sentence_is_kept():
    record, _ = run([FACTS[0] + " " + FACTS[1], *FACTS[1:]])
    assert record.steps[0].rationale == FACTS[0]
    assert record.steps[0].raw == FACTS[0] + " " + FACTS[1]


def test_wh_words_leave_later_queries_but_not_the_question():
    _, actions = run(["Ann Lee is the one who made Gold Rain.", *FACTS[1:]])
    assert queries(actions)[:2] == [QUESTION, "Ann Lee the one made Gold Rain."]
    _, actions = run(["Ann Lee is the one who made Gold Rain.", *FACTS[1:]], drop_wh_words=False)
    assert queries(actions)[1] == "Ann Lee is the one who made Gold Rain."


def test_a_concluding_sentence_makes_no_search():
    record, actions = run([FACTS[0], "Thus it is about Ann Lee.", FACTS[2]])
    assert queries(actions) == [QUESTION, FACTS[0]]
    assert [s.query for s in record.steps] == [QUESTION, FACTS[0], None]


def test_step_cap_then_one_more_chance_to_answer():
    texts = ["Ann Lee made it.", "Oslo is a city.", "So the answer is: 1950."]
    record, actions = run(texts, max_steps=2)
    assert record.stop_reason is StopReason.FORCED
    assert record.status == "answered"
    assert prompts(actions)[-1].endswith("A: Ann Lee made it. Oslo is a city. So the answer is:")
    assert record.steps[-1].cue == "So the answer is:"
    assert record.steps[-1].rationale == "So the answer is: 1950."


def test_forced_answer_may_leave_the_cue_out():
    record, _ = run(["Ann Lee made it.", "1950"], max_steps=1)
    assert record.answer == "1950"
    assert record.steps[-1].rationale == "So the answer is: 1950"


def test_forced_answer_that_reasons_first_is_what_it_states_last():
    record, _ = run(["Ann Lee made it.", "She is from Oslo. So the answer is: 1950."], max_steps=1)
    assert record.answer == "1950"


def test_without_force_the_cap_leaves_no_answer():
    record, _ = run(["Ann Lee made it."], max_steps=1, force_answer=False)
    assert (record.status, record.stop_reason, record.answer) == ("capped", StopReason.STEP_CAP, "")


def test_a_repeated_query_ends_the_loop():
    record, _ = run([FACTS[0], FACTS[0]], repeated_query="stop")
    assert (record.status, record.stop_reason) == ("capped", StopReason.REPEATED_QUERY)
    record, _ = run([FACTS[0], FACTS[0], "1950"])
    assert (record.status, record.stop_reason) == ("answered", StopReason.REPEATED_QUERY)
    record, actions = run([FACTS[0], FACTS[0], FACTS[2]], repeated_query="continue")
    assert record.stop_reason is StopReason.ANSWERED
    assert queries(actions) == [QUESTION, FACTS[0]]


def test_nothing_written_is_an_end_with_its_reason():
    record, _ = run(["  "])
    assert (record.status, record.stop_reason) == ("capped", StopReason.EMPTY_GENERATION)
    record, _ = run(["So the answer is:"], force_answer=False)
    assert (record.status, record.stop_reason) == ("capped", StopReason.EMPTY_GENERATION)


def test_an_answer_may_have_a_question_mark_inside():
    record, _ = run(["So the answer is: Guess Who? The Film."])
    assert record.answer == "Guess Who? The Film"


@pytest.mark.parametrize(
    ("reader", "text", "answer"),
    [("direct", "1950.", "1950"), ("cot", "Ann Lee is from 1950. So the answer is: 1950.", "1950")],
)
def test_a_separate_reader_answers_from_all_passages(reader, text, answer):
    record, actions = run([*FACTS, text], reader=reader)
    assert record.answer == answer
    assert record.steps[-1].role == "read"
    assert record.steps[-1].kind == "agg"
    assert len(record.steps[-1].context) == 2
    assert prompts(actions)[-1].endswith(f"Q: {QUESTION}\nA:")


def test_a_reader_that_states_nothing_is_no_answer():
    record, _ = run([*FACTS, "I do not know."], reader="cot")
    assert (record.status, record.stop_reason) == ("capped", StopReason.NO_MARKER)


def test_context_budget_drops_whole_passages_and_says_which():
    texts = [FACTS[0], "Oslo is a city.", "So the answer is: 1950."]
    record, actions = run(texts)
    whole = prompts(actions)[2]
    record, _ = run(texts, budget=Budget(len(whole) - 1, len))
    titles = {p.id: p.title for p in record.passages}
    # All three are named by then, so the newest goes first.
    assert [titles[i] for i in record.steps[2].dropped] == ["Oslo"]
    assert [titles[i] for i in record.steps[2].context] == ["Gold Rain", "Ann Lee"]
    assert record.answer == "1950"


def test_no_room_at_all_is_an_end_with_its_reason():
    record, _ = run([], budget=Budget(10, len))
    assert (record.status, record.stop_reason) == ("capped", StopReason.CONTEXT_BUDGET)


def test_append_only_prompts_only_grow():
    prompt = PromptSettings(instruction=False, demos=0, layout="append_only")
    _, actions = run(FACTS, prompt=prompt)
    first, second, third = prompts(actions)
    assert second.startswith(first + " " + FACTS[0])
    assert third.startswith(second + " " + FACTS[1])
    _, actions = run(FACTS, prompt=prompt, form="chat")
    chats = [a.prompt.messages() for a in actions if isinstance(a, Generate)]
    assert chats[1][: len(chats[0])] == chats[0]
    assert chats[2][: len(chats[1])] == chats[1]
    assert [m["role"] for m in chats[2]] == ["user", "assistant"] * 2 + ["user"]


def test_in_a_chat_the_reasoning_so_far_is_the_users():
    _, actions = run(FACTS, form="chat")
    messages = [a.prompt.messages() for a in actions if isinstance(a, Generate)][1]
    assert len(messages) == 1
    assert messages[0]["content"].endswith(f"\nA: {FACTS[0]}")


def test_demonstrations_and_instruction_stand_in_front():
    _, actions = run(FACTS, prompt=PromptSettings(demos=2))
    text = prompts(actions)[0]
    assert text.startswith("Answer the question by reasoning")
    assert text.index("director of the film Jaws") < text.index("the Danube or the Rhine")
    assert text.endswith(f"Q: {QUESTION}\nA:")


def test_every_detail_is_a_setting():
    thus = [FACTS[0], "Thus it is about Ann Lee.", FACTS[2]]
    _, actions = run(thus, conclusions="previous")
    assert queries(actions) == [QUESTION, FACTS[0], FACTS[0]]
    record, actions = run([f"{FACTS[0]} {FACTS[1]}", FACTS[2]], keep="all")
    assert record.steps[0].rationale == f"{FACTS[0]} {FACTS[1]}"
    assert queries(actions) == [QUESTION, FACTS[1]]
    record, _ = run([FACTS[0], "#### 1950"], answer_pattern=r"#### (.*)")
    assert record.answer == "1950"
    with pytest.raises(ValueError, match="one group"):
        IRCoTSettings(answer_pattern="####")


def test_no_room_keeps_the_search_in_the_record():
    record, _ = run([], budget=Budget(10, len))
    assert [(s.generated, len(s.hits)) for s in record.steps] == [(False, 1)]
    assert [s.dropped for s in record.steps] == [(record.passages[0].id,)]


ANEW = BARE.model_copy(update={"reasoning": "anew"})
SO_FAR = [" ".join(FACTS[:n]) for n in (1, 2, 3)]


@pytest.mark.parametrize("form", ["plain", "chat"])
@pytest.mark.parametrize("keep", ["first_new_sentence", "first_sentence", "all"])
def test_what_is_new_in_a_text_that_is_written_anew_is_the_steps(keep, form):
    record, actions = run(SO_FAR, ANEW, form, keep=keep)
    assert [s.rationale for s in record.steps] == FACTS
    assert [s.raw for s in record.steps] == SO_FAR
    assert (record.answer, record.stop_reason) == ("1950", StopReason.ANSWERED)
    assert queries(actions) == [QUESTION, *FACTS[:2]]
    assert not any(FACTS[0] in prompt for prompt in prompts(actions))
    asked = [a for a in actions if isinstance(a, Generate)]
    assert [a.max_tokens for a in asked] == [128, 256, 384]
    assert [a.rationales for a in asked] == [(), tuple(FACTS[:1]), tuple(FACTS[:2])]


def test_the_student_or_the_cut_ends_what_is_written_anew():
    whole = SO_FAR[2]
    by_cut, _ = run([whole] * 3, ANEW)
    assert [s.rationale for s in by_cut.steps] == FACTS
    by_student, _ = run([whole], ANEW, keep="all")
    assert [s.rationale for s in by_student.steps] == [whole]


def test_a_text_that_says_nothing_new_is_followed_by_the_answer_alone():
    for keep in ("first_new_sentence", "all"):
        record, actions = run([SO_FAR[0], SO_FAR[0], "1950."], ANEW, keep=keep)
        assert [s.rationale for s in record.steps] == [FACTS[0], "", FACTS[2]]
        assert record.stop_reason is StopReason.REPEATED_QUERY
        assert record.answer == "1950"
        assert prompts(actions)[-1].endswith(f"A: {FACTS[0]} So the answer is:")
    empty, _ = run([SO_FAR[0], " "], ANEW)
    assert empty.stop_reason is StopReason.EMPTY_GENERATION


def test_room_is_left_for_the_text_of_earlier_steps():
    second = len(prompts(run(SO_FAR, ANEW)[1])[1])
    for room, left_out in ((second + 127, True), (second + 128, False)):
        record, _ = run(SO_FAR, ANEW, budget=Budget(room))
        assert bool(record.steps[1].dropped) is left_out


def test_the_student_itself_reads_all_passages_in_the_end():
    """As Vanilla-KD trains it: its own words, all passages, the whole chain from the beginning."""
    record, actions = run([*FACTS, SO_FAR[2]], form="chat", reader="chain")
    assert record.answer == "1950"
    assert [s.role for s in record.steps] == ["reason"] * 3 + ["read"]
    read = [a for a in actions if isinstance(a, Generate)][-1]
    assert read.max_tokens == 4 * 128
    shown = IRCoT(prompt=BARE, form="chat").render(QUESTION, [Turn(read.passages)])
    assert read.prompt == shown
    assert {p.title for p in read.passages} == {"Gold Rain", "Ann Lee"}


@pytest.mark.parametrize(("keep", "who"), [("all", "model"), ("first_sentence", "cut")])
def test_who_ends_a_step(keep, who):
    assert IRCoT(IRCoTSettings(keep=keep)).step_end == who
