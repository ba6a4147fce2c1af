"""Self-RAG: what it learns of a known trajectory, and how its students' segments are scored."""

import math
from dataclasses import replace
from random import Random

import pytest
from runs import CASES, INLINE, IRCOT, question, run_case

from doubles import FILM, drive
from prompt.made_tokenizers import KINDS_OF_TOKENIZERS
from steper.examples.build import build_examples
from steper.examples.example_settings import ExampleSettings
from steper.examples.filters import FilterSettings
from steper.lm.base import Completion, TokenLogprob
from steper.prompt.encode import Encoder
from steper.prompt.render import PromptSettings
from steper.recipes.base import Context
from steper.recipes.self_rag import Labelled, choose, segments
from steper.records import Passage, Question
from steper.retrieve.base import Found
from steper.strategy import STRATEGIES
from steper.strategy.actions import Generate, Search
from steper.strategy.context import Budget
from steper.strategy.replay import Replay
from steper.strategy.self_rag.reflection import (
    CONTINUE,
    FULL,
    IRRELEVANT,
    NO_RETRIEVAL,
    NONE,
    PARTIAL,
    RELEVANT,
    RETRIEVE,
    TOKENS,
    UTILITY,
    decided,
    likelihood,
    relevance,
    support,
    utility,
)
from steper.strategy.self_rag.strategy import SelfRag, SelfRagSettings, Shelf
from steper.strategy.trace import Trace

BARE = PromptSettings(instruction=False, demos=0)
ASKED = "Q: When was the director of Gold Rain born?\nA:"
PASSAGES = {title: Passage.make(title, text) for title, text in FILM.items()}
TARGET = [
    ("[Retrieval]<paragraph>", 1),
    (f"Gold Rain\n{FILM['Gold Rain']}", 0),
    ("</paragraph>", 1),
    ("[Relevant] Gold Rain was directed by Ann Lee.[Fully supported]", 1),
    ("[Retrieval]<paragraph>", 1),
    (f"Ann Lee\n{FILM['Ann Lee']}", 0),
    ("</paragraph>", 1),
    ("[Relevant] Ann Lee was born in 1950.[Fully supported]", 1),
    ("[Continue to Use Evidence]", 1),
    (" So the answer is:", 1),
    (" 1950.", 1),
    ("[Utility:5]", 1),
]


def built(tmp_path, form="chat", filters=None, asked=None, **settings):
    run, _ = run_case(CASES["ircot"], tmp_path / "run", BARE, form, [asked or question()])
    made = ExampleSettings(recipe="self_rag", form=form, **settings)
    return build_examples(run, made, filters)


def test_each_statement_is_a_segment_over_its_passage(tmp_path):
    build = built(tmp_path)
    (example, *_) = build
    assert [s.text for s in example.segments if s.kind is None] == [ASKED]
    assert [(s.text, s.weight) for s in example.segments[1:]] == TARGET
    assert build.fingerprint["tokens"] == list(TOKENS)
    assert len(set(TOKENS)) == 15


@pytest.mark.parametrize("case", ["self_ask", "self_ask, reader"])
def test_under_self_ask_a_segment_is_a_follow_up_with_its_answer(case, tmp_path):
    run, _ = run_case(CASES[case], tmp_path / "run", BARE, "chat", [question()])
    (example, *_) = build_examples(run, ExampleSettings(recipe="self_rag"))
    said = [s.text for s in example.segments[1:]]
    first = f"{INLINE[0]}\nIntermediate answer: Ann Lee"
    second = "Follow up: When was Ann Lee born?\nIntermediate answer: 1950"
    assert said[1].startswith("Gold Rain\n")
    assert said[3] == f"[Relevant] {first}[Fully supported]"
    assert said[5].startswith("Ann Lee\n")
    assert said[7] == f"[Relevant] {second}[Fully supported]"
    assert said[8:] == [t for t, _ in TARGET[8:]]


def test_a_clause_that_asks_takes_no_support_from_a_statement(tmp_path):
    asks = f"{IRCOT[0][:-1]}; next, is Ann Lee from Rome?"
    case = replace(CASES["ircot"], texts=[asks, *IRCOT[1:]])
    run, _ = run_case(case, tmp_path / "run", BARE, "chat", [question()])
    (example, *_) = build_examples(run, ExampleSettings(recipe="self_rag"))
    assert example.segments[4].text == f"[Relevant] {asks}[Fully supported]"


OLD = {
    "Helen Wells": "Helen Wells was born in 1901.",
    "Louise Dunn": "Louise Dunn was born in 1922.",
    "Oslo": "Oslo is the capital of Norway.",
}
COMPARED = [
    "Helen Wells was born in 1901.",
    "Louise Dunn was born in 1922.",
    "Helen Wells is older than Louise Dunn.",
    "So the answer is: Helen Wells.",
]


@pytest.mark.parametrize("conclusion", [COMPARED[2], "Thus, Helen Wells was born first, in 1901."])
@pytest.mark.parametrize("labels", ["gold", "lexical"])
def test_a_conclusion_continues_with_what_was_read(conclusion, labels):
    """It tells nothing new, so no passage is drawn for it."""
    gold = tuple(Passage.make(title, OLD[title]) for title in ("Helen Wells", "Louise Dunn"))
    asked = Question(
        id="q",
        text="Who is older, Helen Wells or Louise Dunn?",
        answers=("Helen Wells",),
        gold=gold,
    )
    passages = [Passage.make(title, text) for title, text in OLD.items()]
    texts = [*COMPARED[:2], conclusion, COMPARED[3]]
    student = STRATEGIES.find("ircot")(prompt=BARE, form="chat")
    record, _ = drive(student, asked.text, texts, lambda _: [Found(p, 1.0) for p in passages])
    replay = Replay(record, student)
    for seed in range(40):
        context = Context(
            "current",
            "last_step",
            asked,
            SelfRag(prompt=BARE, form="chat"),
            Random(seed),
            labels=labels,
        )
        example, *_ = segments(replay, context)
        said = [segment.text for segment in example.target]
        at = said.index(f" {conclusion}")
        assert said[at - 1] == CONTINUE
        assert said[3].startswith("[Relevant] Helen Wells")
        assert said[7].startswith("[Relevant] Louise Dunn")


def test_an_irrelevant_passage_is_judged_so_and_teaches_no_statement(tmp_path):
    """With the second passage's gold taken away there is one that the second search found."""
    asked = question()
    asked = asked.model_copy(update={"gold": asked.gold[:1], "decomposition": ()})
    _, negative = built(tmp_path, asked=asked)
    assert negative.id.endswith(".irrelevant")
    learnt = [s.text for s in negative.segments if s.kind and s.weight]
    assert learnt == [IRRELEVANT]
    assert negative.segments[-1].text == IRRELEVANT
    assert not negative.segments[-1].ends
    assert f"Ann Lee\n{FILM['Ann Lee']}" in [s.text for s in negative.segments]


def test_a_wrong_answer_has_the_least_utility(tmp_path):
    wrong = question(answer="1949")
    (example, *_) = built(tmp_path, filters=FilterSettings(correct="none"), asked=wrong)
    assert example.segments[-1].text == "[Utility:1]"


def test_which_passage_a_statement_is_written_over():
    full, partial, bare = (Labelled(PASSAGES["Oslo"], True, s) for s in ("full", "partial", "none"))
    off = [Labelled(passage, False, "none") for passage in PASSAGES.values()]
    rng = Random(0)
    assert choose([bare, partial, full, *off], rng) is full
    drawn = [choose([bare, partial, *off], rng) for _ in range(2000)]
    assert drawn.count(partial) / 2000 == pytest.approx(0.7, abs=0.04)
    assert drawn.count(bare) / 2000 == pytest.approx(0.3 * 0.25, abs=0.03)
    left = [each for each in drawn if not each.relevant]
    # From the irrelevant ones alone, all alike: the authors' code looks its draw up among all.
    assert all(left.count(each) / len(left) == pytest.approx(1 / 3, abs=0.07) for each in off)
    assert choose([], rng) is None


def token(text, own=0.5, **of):
    names = {"R": RETRIEVE, "N": NO_RETRIEVAL, "C": CONTINUE, "rel": RELEVANT, "irr": IRRELEVANT}
    names |= {"full": FULL, "part": PARTIAL, "none": NONE, "u1": UTILITY[0], "u5": UTILITY[4]}
    return TokenLogprob(
        text=text, logprob=math.log(own), of={names[k]: math.log(p) for k, p in of.items()}
    )


def test_segments_are_scored_as_in_the_paper():
    tokens = (
        token(RELEVANT, 0.8, rel=0.6, irr=0.2),
        token(" fact", 0.5),
        token(FULL, 0.4, full=0.4, part=0.2, none=0.2),
        token(UTILITY[4], 0.5, u1=0.1, u5=0.3),
        token(RETRIEVE, 0.01),
    )
    assert relevance(tokens) == pytest.approx(0.75)
    assert support(tokens) == pytest.approx((0.4 + 0.5 * 0.2) / 0.8)
    assert utility(tokens) == pytest.approx((0.3 - 0.1) / 0.4)
    assert likelihood(tokens) == pytest.approx((0.8 * 0.5 * 0.4 * 0.5) ** 0.25)
    assert support(tokens[:2]) == utility(tokens[:3]) == 0
    whole = Completion(text="", token_logprobs=tokens)
    weights = {"w_rel": 2.0, "w_sup": 3.0, "w_use": 4.0, "sequence_score": False}
    score = SelfRag(SelfRagSettings(**weights)).score(whole)
    assert score == pytest.approx(2 * 0.75 + 3 * 0.625 + 4 * 0.5)


def test_whether_to_retrieve_is_decided_by_probabilities():
    said = Completion(text=CONTINUE, token_logprobs=(token(CONTINUE, R=0.3, N=0.1, C=0.6),))
    p, otherwise = decided(said, begun=True)
    assert (p, otherwise) == (pytest.approx(0.3), CONTINUE)
    # At the first segment [Continue to Use Evidence] is no choice: the authors' two-way quotient.
    assert decided(said, begun=False) == (pytest.approx(0.3 / 0.4), NO_RETRIEVAL)
    assert decided(Completion(text=RETRIEVE), begun=False) == (1.0, NO_RETRIEVAL)


def play(answers, settings, room=None):
    """Run a student whose model answers by the end of its prompt; returns record and prompts."""
    trace, asked = Trace(question().text), []
    prompt = PromptSettings(instruction=False, demos=0)
    actions = SelfRag(settings, prompt, "chat", Budget(room)).run(trace)
    result = None
    try:
        while True:
            action = actions.send(result)
            asked.append(action)
            if isinstance(action, Search):
                titles = [t for t in FILM if t in action.query]
                result = [Found(PASSAGES[t], 1.0) for t in titles][: action.k]
            else:
                result = answers(action)
    except StopIteration as stop:
        return trace, asked, stop.value


def answers(action):
    said = action.prompt.text()
    if action.max_tokens == 1:
        enough = "born in 1950." in said
        p = {"R": 0.1, "C": 0.9, "N": 0.1} if enough else {"R": 0.9, "N": 0.1, "C": 0.1}
        return Completion(text="?", token_logprobs=(token("?", **p),))
    if said.endswith(CONTINUE):
        return Completion(text=" So the answer is: 1950.[Utility:5]")
    helps = said.endswith("1950 in Oslo.</paragraph>")
    text = "[Relevant] Ann Lee was born in 1950.[Fully supported]"
    if not helps:
        text = "[Irrelevant] Ann Lee was born in Gold Rain."
    judged = token(RELEVANT, 0.5, rel=0.9, irr=0.1) if helps else token("", 0.5, rel=0.2, irr=0.8)
    return Completion(text=text, token_logprobs=(judged,))


def test_the_best_passage_s_segment_stays_and_retrieval_is_adaptive():
    trace, asked, ending = play(answers, SelfRagSettings(k=3))
    assert ending.answer == "1950"
    kept = next(a for a in asked if isinstance(a, Generate) and CONTINUE in a.prompt.text())
    written = "".join(s.text for s in kept.prompt.segments if s.role == "assistant")
    assert "Ann Lee was born in Gold Rain" in written  # first segment: only Gold Rain was found
    assert written.count("[Retrieval]") == 2
    assert written.endswith("[Relevant] Ann Lee was born in 1950.[Fully supported]" + CONTINUE)
    searches = [a.query for a in asked if isinstance(a, Search)]
    assert [step.query for step in trace.steps if step.query] == searches
    assert len(searches) == 2
    assert all(step.context for step in trace.steps if step.query)
    assert len(trace.steps) == sum(isinstance(a, Generate) for a in asked)
    stand = [step.rationale for step in trace.steps if step.stands]
    assert stand == [
        "Ann Lee was born in Gold Rain.",
        "Ann Lee was born in 1950.",
        "So the answer is: 1950.",
    ]
    left = {step.rationale for step in trace.steps if step.discarded and step.context}
    assert left == {"Ann Lee was born in Gold Rain."}  # of the second segment
    always, *_ = play(answers, SelfRagSettings(k=3, retrieve_above=0.0, max_steps=3))
    assert sum(1 for step in always.steps if step.query) == 3


def test_a_decision_is_neither_cut_off_nor_a_statement():
    """It is one token because one was asked for."""
    trace, asked, _ = play(answers, SelfRagSettings(k=3))
    generated = [a for a in asked if isinstance(a, Generate)]
    decisions = [s for s, a in zip(trace.steps, generated, strict=True) if a.max_tokens == 1]
    assert len(decisions) == 3
    assert {(step.finish, step.rationale, step.context, step.stands) for step in decisions} == {
        ("stop", "?", (), False)
    }


@pytest.mark.parametrize("room", [10_000, 130])
def test_a_search_of_which_no_passage_is_read_is_on_record(room):
    """None is found short enough, or none has room in the prompt."""
    settings = SelfRagSettings(k=3, max_passage_words=600 if room == 130 else 1, max_steps=1)
    trace, asked, _ = play(answers, settings, room)
    (search,) = [a for a in asked if isinstance(a, Search)]
    (step,) = [step for step in trace.steps if step.query]
    assert step.query == search.query
    assert [trace.passages[hit.passage_id].title for hit in step.hits] == ["Gold Rain"]
    assert step.context == ()
    assert [trace.passages[p].title for p in step.dropped] == ["Gold Rain"] * (room == 130)


def test_passages_that_are_alike_are_read_once():
    copy = Passage.make("Gold Rain", FILM["Gold Rain"] + " ")
    shelf = Shelf(SelfRagSettings())
    assert copy.id != PASSAGES["Gold Rain"].id
    found = [Found(passage, 1.0) for passage in (PASSAGES["Gold Rain"], copy)]
    assert shelf.take(found) == [PASSAGES["Gold Rain"]]
    assert shelf.take(found[1:]) == [PASSAGES["Gold Rain"]]
    assert shelf.take([Found(PASSAGES["Ann Lee"], 1.0)]) == [
        PASSAGES["Ann Lee"],
        PASSAGES["Gold Rain"],
    ]


@pytest.mark.parametrize("kind", KINDS_OF_TOKENIZERS)
@pytest.mark.parametrize("form", ["chat", "plain"])
def test_prompts_are_prefixes_of_the_training_sequence(kind, form, tmp_path):
    """A student that writes what it learnt; the tokens are one id each."""
    make = KINDS_OF_TOKENIZERS[kind]
    tokenizer = make() if form == "chat" else make(chat=False)
    tokenizer.add_tokens(list(TOKENS))
    encoder = Encoder(tokenizer)
    assert all(encoder.single(each) is not None for each in TOKENS)
    build = built(tmp_path, form)
    (example, *_) = build
    ids = encoder.example(example).ids
    said = [TARGET[3][0], TARGET[7][0], "", "1950."]
    texts = [RETRIEVE, said[0], RETRIEVE, said[1], CONTINUE, "", said[3]]
    find = {ASKED[3:-3]: "Gold Rain", "Gold Rain was directed by Ann Lee.": "Ann Lee"}
    student = build.student
    student.settings = student.settings.model_copy(update={"read": "found"})
    _, asked = drive(
        student, question().text, texts, lambda query: [Found(PASSAGES[find[query]], 1.0)]
    )
    prompts = [encoder.prompt(a.prompt) for a in asked if isinstance(a, Generate)]
    assert len(prompts) == 7
    assert all(ids[: len(prompt)] == prompt for prompt in prompts)


def test_passages_are_no_part_of_the_loss(tmp_path):
    tokenizer = KINDS_OF_TOKENIZERS["byte_level"]()
    tokenizer.add_tokens(list(TOKENS))
    (example, *_) = built(tmp_path)
    encoded = Encoder(tokenizer).example(example)
    pairs = zip(encoded.ids, encoded.kinds, strict=True)
    learnt = tokenizer.decode([token for token, kind in pairs if kind >= 0])
    assert "by Ann Lee.[Fully supported][Retrieval]<paragraph></paragraph>[Relevant]" in learnt
    assert "film" not in learnt


def test_without_gold_passages_names_and_numbers_decide(tmp_path):
    bare = question().model_copy(update={"gold": (), "decomposition": ()})
    build = built(tmp_path, asked=bare)
    (example, *_) = build
    assert [(s.text, s.weight) for s in example.segments[1:]] == TARGET
    assert build.counts.labels == {"lexical": 1}
