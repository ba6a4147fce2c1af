from pathlib import Path

import pytest

from steper.data import load_questions
from steper.errors import ModelError, QuestionDropped
from steper.gold.hops import gold_hops
from steper.gold.teacher import GoldTeacher, make_gold_plan
from steper.lm.base import Request
from steper.prompt.segments import Prompt, Segment
from steper.records import Hop, Passage, Question, Usage
from steper.strategy import STRATEGIES
from steper.strategy.stated_answer import stated_answer
from steper.text import sentences, strip_full_stop

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
SAMPLES = ["hotpotqa_sample.json", "2wikimultihopqa_sample.json", "musique_sample.jsonl"]

P = {
    name: Passage.make(name, text)
    for name, text in {
        "Red Hill (film)": "Red Hill is a film by Bo Larn.",
        "Blue Sea": "Blue Sea is a film by Ed Orr.",
        "Bo Larn": "Bo Larn was born on 4 May 1901.",
        "Ed Orr": "Ed Orr was born in 1890.",
        "Vel Museum": "The Vel Museum is in Torvik.",
        "Torvik": "Torvik was founded in 1612.",
    }.items()
}


def hop(subject, relation, answer, title):
    return Hop(subject=subject, relation=relation, answer=answer, passage_id=P[title].id)


def gold(*titles):
    return tuple(P[title] for title in titles)


BRIDGE = Question(
    id="bridge",
    text="Which film has the director born first, Red Hill (Film) or Blue Sea?",
    benchmark="2wikimultihopqa",
    type="bridge_comparison",
    answers=("Blue Sea",),
    gold=gold("Red Hill (film)", "Blue Sea", "Bo Larn", "Ed Orr"),
    decomposition=(
        hop("Red Hill", "director", "Bo Larn", "Red Hill (film)"),
        hop("Blue Sea", "director", "Ed Orr", "Blue Sea"),
        hop("Bo Larn", "date of birth", "4 May 1901", "Bo Larn"),
        hop("Ed Orr", "date of birth", "1890", "Ed Orr"),
    ),
)
CHAIN = Question(
    id="chain",
    text="When was the town of the Vel Museum founded?",
    benchmark="musique",
    answers=("1612", "in 1612"),
    gold=gold("Vel Museum", "Torvik"),
    decomposition=(
        Hop(question="Vel Museum >> location", answer="Torvik", passage_id=P["Vel Museum"].id),
        Hop(question="when was #1 founded", answer="1612", passage_id=P["Torvik"].id),
    ),
)
FACTS = Question(
    id="facts",
    text="In which year was the town of the Vel Museum founded?",
    benchmark="hotpotqa",
    type="bridge",
    answers=("1612",),
    gold=gold("Torvik", "Vel Museum"),
    decomposition=(
        Hop(answer="", subject="Torvik", fact="It was founded in 1612.", passage_id=P["Torvik"].id),
        Hop(
            answer="",
            subject="Vel Museum",
            fact="The Vel Museum ( ; opened 1950) is in Torvik.",
            passage_id=P["Vel Museum"].id,
        ),
    ),
)
TEACHER = GoldTeacher([BRIDGE, CHAIN, FACTS])


def say(
    question, passages=(), rationales=(), strategy="ircot", role="reason", teacher=TEACHER, cue=""
):
    asked = STRATEGIES.find(strategy)()
    request = Request(
        question_id=question.id,
        strategy=strategy,
        step=len(rationales) + 1,
        role=role,
        prompt=Prompt("plain", (Segment("user", f"Q: {question.text}\nA:{cue}"),)),
        passages=tuple(passages),
        rationales=tuple(rationales),
        cue=cue.strip(),
        gold=asked.word_gold,
    )
    (future,) = teacher.submit([request])
    assert future.done()
    completion = future.result()
    assert completion.usage == Usage()
    return completion.text


def tell(question, passages, **how):
    """All steps of one question with all its passages shown."""
    told = []
    while not told or "answer is" not in told[-1]:
        told.append(say(question, passages, told, **how))
        assert len(told) < 8
    return told


def dropped(*args, **how):
    with pytest.raises(QuestionDropped) as caught:
        say(*args, **how)
    return caught.value.reason, caught.value.detail


def test_ircot_tells_one_hop_a_step():
    assert tell(CHAIN, CHAIN.gold) == [
        "Vel Museum is located in Torvik.",
        "Torvik was founded in 1612.",
        "So the answer is: 1612.",
    ]


def test_a_bridge_comparison_takes_four_steps_and_the_answer():
    assert tell(BRIDGE, BRIDGE.gold) == [
        "The director of Red Hill is Bo Larn.",
        "The director of Blue Sea is Ed Orr.",
        "Bo Larn was born on 4 May 1901.",
        "Ed Orr was born in 1890, earlier than Bo Larn.",
        "So the answer is: Blue Sea.",
    ]


def test_hops_are_told_in_the_order_in_which_their_passages_come():
    second = say(BRIDGE, gold("Blue Sea", "Bo Larn"))
    assert second == "The director of Blue Sea is Ed Orr."
    # Bo Larn's passage is there, but nothing said so far leads to him.
    assert dropped(BRIDGE, gold("Blue Sea", "Bo Larn"), [second]) == (
        "gold_passage_not_retrieved",
        "Red Hill (film)",
    )
    third = say(BRIDGE, gold("Blue Sea", "Ed Orr"), [second])
    assert third == "Ed Orr was born in 1890."
    last = [second, third, "The director of Red Hill is Bo Larn."]
    assert say(BRIDGE, BRIDGE.gold, last) == "Bo Larn was born on 4 May 1901, later than Ed Orr."


def test_what_was_not_retrieved_is_not_known():
    assert dropped(CHAIN, gold("Torvik")) == ("gold_passage_not_retrieved", "Vel Museum")
    told = ["Vel Museum is located in Torvik."]
    assert dropped(CHAIN, gold("Vel Museum"), told)[1] == "Torvik"


def test_a_passage_of_a_corpus_with_its_own_ids_is_recognised():
    other = P["Vel Museum"].model_copy(update={"id": "17"})
    assert say(CHAIN, [other]) == "Vel Museum is located in Torvik."


def test_a_hop_that_was_cut_short_is_not_told_again():
    assert say(CHAIN, CHAIN.gold, ["Vel Museum is located"]) == "Torvik was founded in 1612."


def test_looking_ahead_names_what_is_still_to_be_found():
    teacher = GoldTeacher([CHAIN], look_ahead=True)
    told = say(CHAIN, gold("Vel Museum"), teacher=teacher)
    assert told == "Vel Museum is located in Torvik; next, when was Torvik founded?"
    assert say(CHAIN, CHAIN.gold, [told], teacher=teacher) == "Torvik was founded in 1612."
    assert say(CHAIN, CHAIN.gold, teacher=teacher) == "Vel Museum is located in Torvik."
    assert teacher.fingerprint() != TEACHER.fingerprint() == {"model": "gold", "version": 1}


def test_self_ask_inline():
    assert tell(CHAIN, CHAIN.gold, strategy="self_ask") == [
        "Follow up: Where is Vel Museum located?",
        "Intermediate answer: Torvik\nFollow up: When was Torvik founded?",
        "Intermediate answer: 1612\nSo the final answer is: 1612.",
    ]


def test_a_follow_up_needs_no_passage_but_its_answer_does():
    first = say(CHAIN, strategy="self_ask")
    assert first == "Follow up: Where is Vel Museum located?"
    assert dropped(CHAIN, gold("Torvik"), [first], strategy="self_ask")[1] == "Vel Museum"


def test_self_ask_with_a_reader():
    told = ["Follow up: Where is Vel Museum located?"]
    answer = say(CHAIN, gold("Vel Museum"), told, strategy="self_ask", role="read")
    assert stated_answer(answer) == "Torvik"
    told.append("Intermediate answer: Torvik")
    told.append(say(CHAIN, (), told, strategy="self_ask"))
    assert told[-1] == "Follow up: When was Torvik founded?"
    assert dropped(CHAIN, (), told, strategy="self_ask", role="read")[1] == "Torvik"
    told.append("Intermediate answer: 1612")
    assert say(CHAIN, (), told, strategy="self_ask") == "So the final answer is: 1612."


def test_one_shot_and_closed_book():
    whole = "Vel Museum is located in Torvik. Torvik was founded in 1612. So the answer is: 1612."
    assert say(CHAIN, CHAIN.gold, strategy="one_shot") == whole
    assert say(CHAIN, strategy="closed_book") == whole
    assert dropped(CHAIN, gold("Torvik"), strategy="one_shot")[1] == "Vel Museum"


def test_a_final_reader_and_a_forced_answer():
    assert say(CHAIN, role="read") == "So the answer is: 1612."
    assert say(CHAIN, CHAIN.gold, cue=" So the answer is:") == "1612"
    assert dropped(CHAIN, cue=" So the answer is:")[1] == "Vel Museum"


def test_hotpotqa_is_told_by_its_supporting_sentences():
    assert tell(FACTS, FACTS.gold) == [
        "The Vel Museum (opened 1950) is in Torvik.",
        "About Torvik: it was founded in 1612.",
        "So the answer is: 1612.",
    ]
    assert dropped(FACTS, FACTS.gold, strategy="self_ask")[0] == "no_gold_annotation"


@pytest.mark.parametrize(
    "changes",
    [
        {"decomposition": ()},
        {"answers": ()},
        {"answers": ("1700",)},
        {"decomposition": (FACTS.decomposition[0].model_copy(update={"fact": "Torvik (lit."}),)},
    ],
)
def test_what_annotations_do_not_say_is_dropped(changes):
    question = FACTS.model_copy(update=changes)
    reason = dropped(question, FACTS.gold, teacher=GoldTeacher([question]))[0]
    assert reason == "no_gold_annotation"


def test_a_reference_to_a_later_hop_is_no_annotation():
    hops = (CHAIN.decomposition[1], CHAIN.decomposition[0])
    assert gold_hops(CHAIN.model_copy(update={"decomposition": hops})) == ()


def test_an_unknown_question_is_a_model_error():
    with pytest.raises(ModelError, match="was not given question 'other'"):
        say(BRIDGE.model_copy(update={"id": "other"}))


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("look_ahead", [False, True])
def test_real_samples_with_all_their_passages(name, look_ahead):
    if not (SHARED / name).exists():
        pytest.skip(f"real benchmark samples are not here ({name})")
    questions = load_questions(SHARED / name)
    teacher = GoldTeacher(questions, look_ahead=look_ahead)
    untold = 0
    for question in questions:
        plan = make_gold_plan(question)
        if not plan.hops:
            untold += 1
            continue
        # One passage after the other, as a retriever would bring them.
        told, shown = [], []
        while not told or "answer is" not in told[-1]:
            try:
                text = say(question, shown, told, teacher=teacher)
            except QuestionDropped as drop:
                wanted = [p for p in question.gold if p.title == drop.detail and p not in shown]
                shown.append(wanted[0])
                continue
            assert sentences(text)[0] == text or "answer is" in text
            assert not set("{}#") & set(text)
            assert "  " not in text
            assert ".." not in text
            told.append(text)
        assert len(told) == len(plan.hops) + 1 <= (question.hops or 0) + 1
        assert stated_answer(told[-1]) == strip_full_stop(question.answers[0])
    assert untold <= len(questions) * 0.01
