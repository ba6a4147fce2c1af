"""Token-exactness: what is trained begins where inference would begin to write."""

from __future__ import annotations

import random

import pytest

from prompt.made_tokenizers import CHATML, KINDS_OF_TOKENIZERS, byte_level, unigram
from steper.examples.step_example import StepExample
from steper.prompt.chat_template import EncodeError
from steper.prompt.encode import IGNORED, Encoder
from steper.prompt.render import PromptSettings, Turn, build_prompt, target_lead
from steper.prompt.segments import Prompt, Segment
from steper.records import Passage
from steper.strategy import STRATEGIES

TEXT = """
Ann Lee film river Paris town doctor was born in the of directed by Who which first 1987
St. Louis, Blue-River naïve Zürich 東京 “quoted” it's So answer is: Follow up
"""
VOCABULARY = TEXT.split()


def words(rng, low, high):
    return " ".join(rng.choice(VOCABULARY) for _ in range(rng.randint(low, high)))


def trajectory(rng):
    """(template, question, turns) as a strategy would leave them; sometimes no new passages."""
    turns = []
    for n in range(rng.randint(1, 5)):
        found = [
            Passage.make(words(rng, 1, 3), words(rng, 1, 12)) for _ in range(rng.randint(0, 3))
        ]
        turns.append(Turn(tuple(found if n else found[:2]), words(rng, 1, 8) + "."))
    return rng.choice(("ircot", "self_ask")), words(rng, 3, 8) + "?", turns


def step_example(name, question, turns, settings, form, step, cue=""):
    """(prompt at inference, the training example of that step)."""
    prompt = build_prompt(
        STRATEGIES.find(name).words, question, turns[: step + 1], settings, form, cue
    )
    lead = target_lead(STRATEGIES.find(name).words, settings, form, cue, prompt.begun)
    target = lead + turns[step].rationale
    kind = "agg" if step == len(turns) - 1 else "exp" if step else "init"
    example = StepExample(
        id=f"t/{step}",
        trajectory="t",
        question_id="q",
        recipe="steper",
        strategy=name,
        step=step + 1,
        steps=len(turns),
        kind=kind,
        form=form,
        layout=settings.layout,
        segments=(*prompt.segments, Segment("assistant", target, kind)),
    )
    return prompt, example


def prompt_settings(rng, layout):
    return PromptSettings(
        layout=layout, instruction=rng.random() < 0.5, demos=2 * (rng.random() < 0.1)
    )


@pytest.mark.parametrize("count", [20, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.parametrize("form", ["chat", "plain"])
@pytest.mark.parametrize("layout", ["passages_first", "append_only"])
@pytest.mark.parametrize("kind", KINDS_OF_TOKENIZERS)
def test_the_inference_prompt_is_a_prefix_of_the_training_sequence(kind, layout, form, count):
    """Of random trajectories, id by id; earlier turns keep the ids they had as targets."""
    tokenizer = KINDS_OF_TOKENIZERS[kind](chat=form == "chat")
    encoder = Encoder(tokenizer)
    rng = random.Random(f"{kind}{layout}{form}")
    end = tokenizer.eos_token_id
    for _ in range(count):
        name, question, turns = trajectory(rng)
        settings = prompt_settings(rng, layout)
        earlier: list[list[int]] = []
        for step in range(len(turns)):
            cue = "So the answer is:" if step == len(turns) - 1 and rng.random() < 0.3 else ""
            prompt, example = step_example(name, question, turns, settings, form, step, cue)
            ids, encoded = encoder.prompt(prompt), encoder.example(example)
            assert encoded.prompt == len(ids)
            assert encoded.ids[: len(ids)] == ids
            assert all(k == -1 for k in encoded.kinds[: len(ids)])
            assert all(k >= 0 for k in encoded.kinds[len(ids) :])
            assert encoded.ids[-1] == end
            assert encoded.labels == [IGNORED] * len(ids) + encoded.ids[len(ids) :]
            if layout == "append_only":
                for before in earlier:
                    assert ids[: len(before)] == before
                earlier.append(encoded.ids if form == "chat" else encoded.ids[:-1])


@pytest.mark.parametrize("form", ["chat", "plain"])
@pytest.mark.parametrize("kind", KINDS_OF_TOKENIZERS)
def test_a_prompt_without_earlier_turns_has_the_tokenizers_own_ids(kind, form):
    tokenizer = KINDS_OF_TOKENIZERS[kind](chat=form == "chat")
    prompt = Prompt(form, (Segment("system", "Answer.\n\n"), Segment("user", "Who? Ann Lee\nA:")))
    if form == "plain":
        expected = tokenizer(prompt.text())["input_ids"]
    else:
        expected = tokenizer.apply_chat_template(prompt.messages(), add_generation_prompt=True)
        expected = expected["input_ids"]
    assert Encoder(tokenizer).prompt(prompt) == list(expected)


@pytest.mark.parametrize("kind", KINDS_OF_TOKENIZERS)
def test_bos_stands_once(kind):
    tokenizer = KINDS_OF_TOKENIZERS[kind](chat=True, template=CHATML)
    for form in ("chat", "plain"):
        rng = random.Random(1)
        name, question, turns = trajectory(rng)
        settings = PromptSettings(layout="append_only", demos=2)
        prompt, _ = step_example(name, question, turns, settings, form, len(turns) - 1)
        ids = Encoder(tokenizer).prompt(prompt)
        if kind != "byte_level":
            assert ids.count(tokenizer.bos_token_id) == 1
            assert ids[0] == tokenizer.bos_token_id


def test_no_space_is_put_in_front_of_a_target():
    """SentencePiece would put one in front of every text that it tokenizes by itself."""
    tokenizer = unigram(chat=False)
    segments = (Segment("user", "Q: Who?\nA:"), Segment("assistant", " Ann Lee", "agg"))
    encoded = Encoder(tokenizer)._encode("plain", segments)
    assert tokenizer.decode(encoded.ids[1:-1]) == "Q: Who? A: Ann Lee".replace("? A", "?\nA")


def test_neighbouring_targets_keep_their_kinds_and_weights():
    _, example = step_example("ircot", "Who?", [Turn((), "x")], PromptSettings(demos=0), "chat", 0)
    pieces = (
        Segment("assistant", "Ann was born.", "init", 0.5),
        Segment("assistant", " [Paragraph] Blue River."),
        Segment("assistant", " So it is: Paris.", "agg", 2.0),
    )
    example = example.model_copy(update={"segments": (*example.segments[:-1], *pieces)})
    tokenizer = byte_level()
    encoded = Encoder(tokenizer).example(example)
    for index, weight, text in ((0, 0.5, pieces[0].text), (2, 2.0, pieces[2].text + "<|end|>")):
        chosen = [n for n, kind in enumerate(encoded.kinds) if kind == index]
        assert tokenizer.decode([encoded.ids[n] for n in chosen]) == text
        assert {encoded.weights[n] for n in chosen} == {weight}
    assert sum(encoded.weights[n] for n, kind in enumerate(encoded.kinds) if kind < 0) == 0


def test_several_supervised_turns_each_end_with_the_end_of_turn():
    segments = (
        Segment("user", "Who?"),
        Segment("assistant", "Ann.", "init"),
        Segment("user", "Where?"),
        Segment("assistant", "Paris.", "agg"),
    )
    tokenizer = byte_level(template=CHATML)
    encoded = Encoder(tokenizer)._encode("chat", segments)
    supervised = list(zip(encoded.ids, encoded.kinds, strict=True))
    text = [tokenizer.decode([i for i, k in supervised if k == n]) for n in (0, 2)]
    assert text == ["Ann.<|end|>", "Paris.<|end|>"]
    whole = tokenizer.apply_chat_template(Prompt("chat", segments).messages(), tokenize=False)
    assert tokenizer.decode(encoded.ids) == whole.removesuffix("\n")


def test_an_assistants_open_turn_is_continued():
    prompt = Prompt("chat", (Segment("user", "Who?"), Segment("assistant", "The film was")))
    tokenizer = byte_level()
    text = tokenizer.decode(Encoder(tokenizer).prompt(prompt))
    assert text == "<|user|>Who?<|end|><|assistant|>The film was"


@pytest.mark.parametrize("kind", ["byte_level", "unigram"])
def test_a_server_that_tokenizes_a_chats_text_gets_bos_once(kind):
    tokenizer = KINDS_OF_TOKENIZERS[kind](chat=True, template=CHATML)
    prompt = Prompt("chat", (Segment("user", "Who?"), Segment("assistant", "The film was")))
    text = Encoder(tokenizer).text(prompt)
    assert text.endswith("<|user|>\nWho?<|end|>\n<|assistant|>\nThe film was")
    ids = tokenizer(text)["input_ids"]
    assert (ids[0], ids.count(tokenizer.bos_token_id)) == (tokenizer.bos_token_id, 1)
    assert tokenizer.decode(ids) == tokenizer.decode(Encoder(tokenizer).prompt(prompt))


THINKING = (
    "{% for m in messages %}<|{{ m['role'] }}|>"
    "{% if m['role'] == 'assistant' and loop.last %}<think></think>{% endif %}"
    "{{ m['content'] }}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
COUNTING = "{{ messages | length }}" + THINKING.replace("<think></think>", "")
REWRITING = THINKING.replace("and loop.last ", "").replace("<think></think>", "* ")
RAISING = "{{ raise_exception('roles must take turns') }}"


def turns_of(count):
    rng = random.Random(0)
    return [Turn((), words(rng, 1, 4)) for _ in range(count)]


def test_a_template_that_treats_only_the_last_message_specially_is_fine():
    settings = PromptSettings(layout="append_only", demos=0)
    tokenizer = byte_level(template=THINKING)
    sequences = []
    for step in range(3):
        prompt, example = step_example("ircot", "Who?", turns_of(3), settings, "chat", step)
        encoded = Encoder(tokenizer).example(example)
        assert encoded.ids[: encoded.prompt] == Encoder(tokenizer).prompt(prompt)
        assert all(encoded.ids[: len(before)] == before for before in sequences)
        sequences.append(encoded.ids)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (COUNTING, "changes earlier turns|as the model would write"),
        (REWRITING, "as the model would write it"),
        (RAISING, r"example 't/1': the chat template refuses .*roles must take turns"),
    ],
)
def test_a_template_that_cannot_be_split_is_one_clear_error(template, message):
    settings = PromptSettings(layout="append_only", demos=0)
    _, example = step_example("ircot", "Who?", turns_of(3), settings, "chat", 1)
    with pytest.raises(EncodeError, match=message):
        Encoder(byte_level(template=template)).example(example)


def test_an_example_whose_tokens_all_weigh_nothing_is_refused():
    _, example = step_example("ircot", "Who?", turns_of(1), PromptSettings(demos=0), "plain", 0)
    target = Segment("assistant", " Ann", "agg", 0.0)
    example = example.model_copy(update={"segments": (*example.segments[:-1], target)})
    with pytest.raises(EncodeError, match="no token is supervised"):
        Encoder(byte_level(chat=False)).example(example)


@pytest.mark.parametrize("form", ["chat", "plain"])
def test_turn_end(form):
    tokenizer = byte_level(template=CHATML)
    assert Encoder(tokenizer).turn_end(form) == tokenizer.eos_token_id
