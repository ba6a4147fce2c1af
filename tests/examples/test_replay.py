"""Rebuilt prompts are those of inference; targets go on where those prompts end."""

import random
from dataclasses import replace
from types import SimpleNamespace

import pytest
from runs import CASES, IRCOT, Case, only, question, run_case

from doubles import FILM, DictRetriever, drive
from prompt.made_tokenizers import KINDS_OF_TOKENIZERS
from steper.errors import SettingsError
from steper.prompt.encode import Encoder
from steper.prompt.render import PromptSettings
from steper.recipes import Replay, cumulative_draft, learn
from steper.records import StopReason
from steper.strategy import STRATEGIES, load_strategy
from steper.strategy.actions import Generate
from steper.strategy.loop import with_cue
from steper.strategy.one_shot import OneShot
from steper.strategy.self_ask import SelfAsk
from steper.strategy.trace import Ending

BARE = PromptSettings(instruction=False, demos=0)


def replayed(run, form, settings):
    kind, own = load_strategy(run.manifest["settings"]["strategy"], allow_code=False, place="")
    return Replay(only(run), kind(kind.settings_type(**own), settings, form))


def skip_impossible(case, layout):
    if case.strategy == "self_ask" and "reader" in case.settings and layout == "append_only":
        pytest.skip("a separate reader needs passages_first")


@pytest.mark.parametrize("form", ["chat", "plain"])
@pytest.mark.parametrize("layout", ["passages_first", "append_only"])
@pytest.mark.parametrize("name", CASES)
def test_prompts_equal_those_of_inference_segment_by_segment(name, layout, form, tmp_path):
    case = CASES[name]
    skip_impossible(case, layout)
    settings = PromptSettings(layout=layout, demos=2, passage_words=6)
    run, seen = run_case(case, tmp_path, settings, form)
    replay = replayed(run, form, settings)
    steps = replay.trajectory.steps
    assert len(steps) == len(seen["q0"]) == len(case.texts)
    for step, prompt in zip(steps, seen["q0"], strict=True):
        assert replay.prompt(step) == prompt


@pytest.mark.parametrize("form", ["chat", "plain"])
@pytest.mark.parametrize("layout", ["passages_first", "append_only"])
def test_prompts_equal_where_passages_were_left_out_for_room(layout, form, tmp_path):
    settings = BARE.model_copy(update={"layout": layout})
    texts = ["Gold Rain was directed by Ann Lee of Oslo.", *IRCOT[1:]]
    left_out = 0
    for room in range(200, 360, 10):
        case = Case("ircot", texts, {}, room)
        run, seen = run_case(case, tmp_path / str(room), settings, form)
        replay = replayed(run, form, settings)
        steps = [step for step in replay.trajectory.steps if step.generated]
        assert [replay.prompt(step) for step in steps] == seen["q0"]
        left_out += any(step.dropped for step in steps)
    assert left_out


KINDS = ("byte_level", "unigram", "word_level")


@pytest.mark.parametrize("kind", KINDS)
def test_training_ids_begin_with_those_of_inference_in_plug_ins_too(kind):
    """Every strategy, form and layout; the target begins where inference begins to generate."""
    made = KINDS_OF_TOKENIZERS[kind]
    encoders = {"chat": Encoder(made()), "plain": Encoder(made(chat=False))}
    names, checked = set(), 0
    for seed in range(100):
        strategy, record, actions = random_trajectory(seed)
        encoder = encoders[strategy.form]
        replay = Replay(record, strategy)
        asked = [encoder.prompt(a.prompt) for a in actions if isinstance(a, Generate)]
        for step, ids in zip(replay.steps, asked, strict=True):
            text = replay.written(step)
            if text:
                segments = (*replay.prompt(step).segments, learn(text, step.kind))
                example = SimpleNamespace(id="e", form=strategy.form, segments=segments)
                encoded = encoder.example(example)
                assert encoded.ids[: encoded.prompt] == ids, seed
                names.add((strategy.name, strategy.form, strategy.prompt.layout))
                checked += 1
    assert checked > 150
    assert {name for name, _, _ in names} >= {*STRATEGIES.ours(), "my_ask", "anew"}
    assert len(names) > 20


PIECES = [
    "",
    "Gold Rain was directed by Ann Lee.",
    "Ann Lee was born in Oslo. She lived there.",
    "So Ann Lee it is.",
    "So the answer is: Ann Lee.",
    "so the answer is",
    "Follow up: Who is Ann Lee?",
    "Follow up:",
    "Follow up: Where is Oslo?\nIntermediate answer: in Norway",
    "Intermediate answer: Ann Lee\nFollow up: Who is Ann Lee?",
    "intermediate answer: in Oslo\nfollow-up: Where is Oslo?",
    "in Norway\nFollow up: What is Gold Rain?",
    "Intermediate answer: 1950\nSo the final answer is: 1950.",
    "1950\nSo the final answer is: 1950",
    "Sure! Here is the next step:\n1. Gold Rain was directed by **Ann Lee**.\n2. She is from Oslo.",
    "Gold Rain was directed by Ann Lee. Ann Lee was born in Oslo. The answer is: Oslo.",
    "The answer is:",
    "The answer is not available.",
    "Answer: \\boxed{Ann Lee}",
]


class Mine(SelfAsk):
    """A plug-in's: Self-Ask by another name, in words of its own."""

    name = "my_ask"
    words = replace(SelfAsk.words, head="My question: {question}", instruction="Ask yourself.")
    final_cue = "So my answer is:"


class Anew(OneShot):
    """A plug-in's with a loop of its own: it forgets what it gathered, and searches again."""

    name = "anew"

    def run(self, trace):
        loop, query = self.loop(trace), trace.question
        for _ in range(3):
            loop.forget()
            completion = yield from loop.step(query, ("\n\n",))
            if completion is None:
                return Ending("", StopReason.CONTEXT_BUDGET)
            query = loop.keep(completion, completion.text).rationale
        return Ending("1950", StopReason.ANSWERED)


PLUG_INS = (Mine, Anew)


def random_strategy(rng):
    """A strategy with random settings, and its form."""
    kinds = sorted(STRATEGIES.ours().values(), key=lambda kind: kind.name)
    kind = rng.choice([*kinds, *PLUG_INS])
    options = {
        "max_steps": [1, 2, 3, 5],
        "repeated_query": ["answer", "stop", "continue"],
        "reader": ["none", "direct", "cot"],
        "first_search": [True, False],
        "show_passages": [True, False],
        "force_answer": [True, True, False],
        "query_sentences": ["last", "all"],
        "keep": ["first_new_sentence", "first_sentence", "all"],
        "max_passages": [1, 2, 15],
    }
    fields = kind.settings_type.model_fields
    chosen = {k: rng.choice(v) for k, v in options.items() if k in fields}
    layout = rng.choice(["passages_first", "append_only"])
    if issubclass(kind, SelfAsk):
        apart = chosen["reader"] != "none"
        layout = "passages_first" if apart else layout
        chosen["show_passages"] = apart and chosen["show_passages"]
    where = rng.choice(["user", "assistant"])
    prompt = PromptSettings(layout=layout, reasoning=where, demos=rng.choice([0, 1]))
    form = rng.choice(["chat", "plain"])
    return kind(kind.settings_type(**chosen), prompt, form)


def random_trajectory(seed):
    """A random strategy driven by random texts: (strategy, record, actions)."""
    rng = random.Random(seed)
    strategy = random_strategy(rng)
    texts = (PIECES[rng.randrange(len(PIECES))] for _ in range(99))
    finder = DictRetriever(FILM)
    question = "Who made Gold Rain, and where?"
    record, actions = drive(strategy, question, texts, lambda query: finder.search([query], 4)[0])
    return strategy, record, actions


def test_prompts_of_300_random_trajectories_equal_those_of_inference():
    checked = 0
    for seed in range(300):
        strategy, record, actions = random_trajectory(seed)
        replay = Replay(record, strategy)
        prompts = [a.prompt for a in actions if isinstance(a, Generate)]
        assert [replay.prompt(step) for step in record.steps] == prompts, seed
        assert [step.cue for step in replay.steps] == [s.cue for s in record.steps]
        assert not replay.diverged, (seed, replay.diverged)
        if record.status == "answered":
            # A reader that named no answer has nothing to teach.
            told = [step for step in replay.steps if step.raw and step.role == "reason"]
            assert all(replay.written(step) for step in told), seed
            assert replay.written_up_to(record.steps[-1]), seed
        checked += len(prompts)
    assert checked > 300


@pytest.mark.parametrize("form", ["chat", "plain"])
@pytest.mark.parametrize("layout", ["passages_first", "append_only"])
@pytest.mark.parametrize("name", CASES)
def test_a_student_that_writes_the_targets_makes_the_same_trajectory(name, layout, form, tmp_path):
    case = CASES[name]
    skip_impossible(case, layout)
    settings = BARE.model_copy(update={"layout": layout})
    run, _ = run_case(case, tmp_path / "teacher", settings, form)
    replay = replayed(run, form, settings)
    targets = [replay.written(step) for step in replay.trajectory.steps]
    again, _ = run_case(
        Case(case.strategy, targets, case.settings, case.room), tmp_path / "b", settings, form
    )
    for new, old in zip(only(again).steps, replay.trajectory.steps, strict=True):
        assert (new.cue, new.context, new.query) == (old.cue, old.context, old.query)
        assert new.rationale.rstrip(".") == old.rationale.rstrip(".")
    assert only(again).answer == only(run).answer == "1950"


@pytest.mark.parametrize("teacher", ["chat", "plain"])
@pytest.mark.parametrize("form", ["chat", "plain"])
@pytest.mark.parametrize(
    "name", ["self_ask", "self_ask forced at the cap", "self_ask on after a repeat"]
)
def test_cues_are_those_of_the_student_whatever_the_teacher_was(name, teacher, form, tmp_path):
    run, _ = run_case(CASES[name], tmp_path / "teacher", BARE, teacher)
    replay = replayed(run, form, BARE)
    _, seen = run_case(CASES[name], tmp_path / "student", BARE, form)
    assert [replay.prompt(s) for s in replay.trajectory.steps] == seen["q0"]
    for step in replay.trajectory.steps:
        assert with_cue(replay.requests[step.index].cue, replay.written(step)) == step.rationale


def test_a_chat_teacher_that_left_the_marker_out_cannot_teach_a_plain_student(tmp_path):
    case = Case(
        "self_ask", ["Follow up: Who directed Gold Rain?", "So the final answer is: 1950"], {}
    )
    run, _ = run_case(case, tmp_path, BARE, "chat")
    plain, chat = (replayed(run, form, BARE) for form in ("plain", "chat"))
    last = plain.trajectory.steps[-1]
    assert plain.written(last) is None
    assert chat.written(last) == "So the final answer is: 1950"


def test_white_space_of_plain_targets_joins_prompt_and_text(tmp_path):
    run, _ = run_case(CASES["ircot forced by a repeat"], tmp_path, BARE)
    replay = replayed(run, "plain", BARE)
    whole = [replay.prompt(s).text() + replay.written(s) for s in replay.trajectory.steps]
    assert whole[1].endswith(f"\nA: {IRCOT[0]} {IRCOT[0]}")
    assert whole[2].endswith(f"{IRCOT[0]} So the answer is: 1950.")


@pytest.mark.parametrize("form", ["chat", "plain"])
@pytest.mark.parametrize("name", ["ircot", "self_ask", "ircot forced at the cap"])
def test_append_only_examples_are_prefixes_of_the_last_one(name, form, tmp_path):
    settings = PromptSettings(layout="append_only", demos=1)
    run, _ = run_case(CASES[name], tmp_path, settings, form)
    replay = replayed(run, form, settings)
    steps = replay.trajectory.steps
    last = replay.prompt(steps[-1])
    for step in steps[:-1]:
        prompt = replay.prompt(step)
        if form == "plain":
            assert last.text().startswith(prompt.text() + replay.written(step))
        else:
            messages = prompt.messages()
            said = {"role": "assistant", "content": replay.written(step)}
            assert last.messages()[: len(messages) + 1] == [*messages, said]


def test_the_students_layout_may_differ_from_the_teachers(tmp_path):
    first = BARE
    appended = first.model_copy(update={"layout": "append_only"})
    run, by_first = run_case(CASES["ircot"], tmp_path / "a", first)
    other, by_appended = run_case(CASES["ircot"], tmp_path / "b", appended)
    steps = only(run).steps
    assert [replayed(run, "plain", appended).prompt(s) for s in steps] == by_appended["q0"]
    assert [replayed(other, "plain", first).prompt(s) for s in steps] == by_first["q0"]


@pytest.mark.parametrize("form", ["chat", "plain"])
@pytest.mark.parametrize("layout", ["passages_first", "append_only"])
@pytest.mark.parametrize("name", CASES)
def test_the_whole_chain_reads_as_the_last_prompt_goes_on(name, layout, form, tmp_path):
    """Cumulative targets stand in training as the reasoning so far stands at inference."""
    case = CASES[name]
    skip_impossible(case, layout)
    run, _ = run_case(case, tmp_path, BARE, form)
    replay = replayed(run, form, BARE.model_copy(update={"layout": layout}))
    last = replay.trajectory.steps[-1]
    draft = cumulative_draft(replay, last)
    assert draft.target is not None
    text = "".join(segment.text for segment in draft.target)
    assert "1950" in text
    assert draft.supervises == tuple(range(1, last.index + 1))
    steps = replay.trajectory.steps
    shown = {replay.passages[i].title for step in steps for i in step.context}
    assert all(f"Wikipedia Title: {title}" in draft.prompt.text() for title in shown)
    if layout == "passages_first" and last.role == "reason" and not replay.strategy.reads_apart:
        inference = replay.prompt(last).text() + (replay.written(last) or "")
        if form == "plain":
            assert draft.prompt.text() + text == inference


def test_a_final_readers_answer_ends_the_whole_chain(tmp_path):
    for name in ("ircot, direct reader", "ircot, cot reader"):
        run, _ = run_case(CASES[name], tmp_path / name, BARE, "chat")
        replay = replayed(run, "chat", BARE)
        assert replay.written_up_to(replay.trajectory.steps[-1]) == " ".join(IRCOT)


def test_a_separate_readers_answers_are_part_of_the_whole_chain(tmp_path):
    run, _ = run_case(CASES["self_ask, reader"], tmp_path, BARE, "chat")
    replay = replayed(run, "chat", BARE)
    last = replay.trajectory.steps[-1]
    assert replay.written_up_to(last).splitlines() == [
        "Follow up: Who directed Gold Rain?",
        "Intermediate answer: Ann Lee",
        "Follow up: When was Ann Lee born?",
        "Intermediate answer: 1950",
        "So the final answer is: 1950",
    ]
    assert {p.title for p in replay.gathered(last)} == {"Gold Rain", "Ann Lee"}
    assert [replay.written(s) for s in replay.trajectory.steps if s.role == "read"] == [
        "Ann Lee",
        "1950",
    ]


def test_a_separate_reader_cannot_be_replayed_append_only(tmp_path):
    run, _ = run_case(CASES["self_ask, reader"], tmp_path, BARE)
    with pytest.raises(SettingsError, match="needs layout=passages_first"):
        replayed(run, "plain", BARE.model_copy(update={"layout": "append_only"}))


@pytest.mark.parametrize(
    ("name", "repeated"),
    [
        ("ircot", []),
        ("ircot forced by a repeat", [2]),
        ("ircot on after a repeat", [2]),
        ("self_ask", []),
        ("self_ask forced by a repeat", [2]),
        ("self_ask on after a repeat", [2]),
        ("self_ask, reader", []),
    ],
)
def test_repeats_are_found_where_they_are_made(name, repeated, tmp_path):
    run, _ = run_case(CASES[name], tmp_path, BARE)
    replay = replayed(run, "plain", BARE)
    assert [s.index for s in replay.trajectory.steps if replay.repeats(s)] == repeated


def test_an_ircot_query_that_lost_its_wh_words_counts_as_a_repeat(tmp_path):
    """The strategy stops on it, though no two rationales are the same."""
    texts = ["Gold Rain is by Ann Lee.", "Gold Rain by Ann Lee.", "1950"]
    run, _ = run_case(Case("ircot", texts, {}), tmp_path, BARE, questions=[question()])
    replay = replayed(run, "plain", BARE)
    assert [s.index for s in replay.trajectory.steps if replay.repeats(s)] == [2]
