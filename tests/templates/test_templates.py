"""Prompts and examples in the chat templates that people's models have, id by id."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import pytest

from prompt.test_encode import step_example, trajectory
from steper.prompt.chat_template import ChatTemplate, EncodeError
from steper.prompt.encode import Encoder
from steper.prompt.render import PromptSettings
from steper.prompt.segments import Prompt, Segment
from steper.strategy import STRATEGIES
from steper.training.trainer import pad_id
from steper.training.tree import build_tree
from templates.families import ALL, Family, tokenizer_of

FAMILIES = pytest.mark.parametrize("family", ALL, ids=lambda f: f.name)
FORMS = pytest.mark.parametrize(
    ("layout", "reasoning"),
    [
        ("passages_first", "user"),
        ("passages_first", "assistant"),
        ("passages_first", "anew"),
        ("append_only", "user"),
        ("append_only", "assistant"),
    ],
)
BY_NAME = {family.name: family for family in ALL}


ENCODERS: dict[str, Encoder] = {}


def encoder_of(family: Family) -> Encoder:
    if family.name not in ENCODERS:
        ENCODERS[family.name] = Encoder(tokenizer_of(family), family.arguments)
    return ENCODERS[family.name]


def encoded_steps(encoder, rng, layout, reasoning):
    """(strategy, prompts, examples) of a random trajectory."""
    _, question, turns = trajectory(rng)
    name = rng.choice(list(STRATEGIES.names()))
    settings = PromptSettings(
        layout=layout,
        reasoning=reasoning,
        instruction=rng.random() < 0.5,
        demos=rng.choice((0, 0, 0, 1)),
    )
    for step in range(len(turns)):
        forced = step == len(turns) - 1 and reasoning != "anew" and rng.random() < 0.3
        cue = "So the answer is:" if forced else ""
        prompt, example = step_example(name, question, turns, settings, "chat", step, cue)
        if reasoning == "anew":  # the target is all of the reasoning, a segment a step
            lead = STRATEGIES.find(name).words.lead
            texts = [lead * bool(n) + turn.rationale for n, turn in enumerate(turns[: step + 1])]
            target = (Segment("assistant", text, example.kind) for text in texts)
            example = example.model_copy(update={"segments": (*prompt.segments, *target)})
        yield prompt, example


def folded(family: Family, prompt: Prompt) -> list[dict[str, str]]:
    """The messages that a server of the family is sent."""
    messages = prompt.messages()
    if family.system or messages[0]["role"] != "system":
        return messages
    system, user, *others = messages
    return [{**user, "content": f"{system['content']}\n\n{user['content']}"}, *others]


def servers_text(tokenizer, family: Family, messages) -> str:
    """What a server makes of messages: it continues the last one if it is the assistant's."""
    last = messages[-1]["role"] == "assistant"
    how = {"continue_final_message": True} if last else {"add_generation_prompt": True}
    if family.name == "llama32":
        how["date_string"] = "26 Jul 2024"
    return tokenizer.apply_chat_template(messages, tokenize=False, **how, **family.arguments)


@FORMS
@FAMILIES
def test_the_prompt_begins_the_example_and_one_end_of_turn_is_learnt(family, layout, reasoning):
    encoder, rng = encoder_of(family), random.Random(f"{family.name}{layout}{reasoning}")
    tokenizer = encoder._tokenizer
    end = tokenizer.convert_tokens_to_ids(family.end)
    assert encoder.turn_end("chat") == end
    for _ in range(2):
        whole = []
        for prompt, example in encoded_steps(encoder, rng, layout, reasoning):
            ids, encoded = encoder.prompt(prompt), encoder.example(example)
            assert encoded.ids[: encoded.prompt] == ids
            learnt = [i for i, k in zip(encoded.ids, encoded.kinds, strict=True) if k >= 0]
            assert learnt == encoded.ids[len(ids) :]
            assert learnt.count(end) == 1
            assert learnt[-1] == end
            said = tokenizer.decode(learnt[:-1]).strip()
            assert said == "".join(s.text for s in example.segments if s.kind).strip()
            *shown, target = example.segments
            going_on = encoder._encode("chat", (*shown, replace(target, ends=False)))
            assert encoded.ids[: len(going_on.ids)] == going_on.ids
            assert end not in going_on.ids[len(ids) :]
            whole.append(encoded)
        assert_tree_holds(whole)
        if layout == "append_only" and encoder.template.keeps_turns:
            for before, after in pairwise(whole):
                assert after.ids[: len(before.ids)] == before.ids
            assert build_tree(whole).is_chain


def assert_tree_holds(examples):
    """Every example is a path of the single-pass tree, with its weights."""
    tree = build_tree(examples)
    weights = dict(zip(tree.supervised.tolist(), tree.weights.sum(1).tolist(), strict=True))
    total = 0.0
    for example in examples:
        at = -1
        for depth, token in enumerate(example.ids):
            at = next(
                n for n in range(at + 1, len(tree)) if tree.parent[n] == at and tree.ids[n] == token
            )
            assert tree.depth[at] == depth
            assert (example.weights[depth] > 0) <= (at in weights)
        total += sum(example.weights)
    assert sum(weights.values()) == pytest.approx(total)


@FORMS
@FAMILIES
def test_prompts_have_the_ids_that_a_server_would_make(family, layout, reasoning):
    """Those of the whole text, which the template makes of the messages."""
    encoder, rng = encoder_of(family), random.Random(f"{family.name}{layout}{reasoning}")
    tokenizer = encoder._tokenizer
    for _ in range(4):
        for prompt, _ in encoded_steps(encoder, rng, layout, reasoning):
            if family.name == "qwen3" and prompt.begun:
                continue  # a continued turn gets a block of thoughts there, a new one does not
            text = servers_text(tokenizer, family, folded(family, prompt))
            assert encoder.prompt(prompt) == plain_ids(tokenizer, text)


def plain_ids(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def test_only_qwen3_without_thinking_changes_earlier_turns():
    changing = [f.name for f in ALL if not encoder_of(f).template.keeps_turns]
    assert changing == ["qwen3_no_thinking"]


TALK = (
    Segment("system", "Be brief."),
    Segment("user", "Who?"),
    Segment("assistant", "Ann."),
    Segment("user", "Where?"),
)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "gemma2",
            "<bos><start_of_turn>user\nBe brief.\n\nWho?<end_of_turn>\n<start_of_turn>model\n"
            "Ann.<end_of_turn>\n<start_of_turn>user\nWhere?<end_of_turn>\n<start_of_turn>model\n",
        ),
        ("mistral_v01", "<s>[INST] Be brief.\n\nWho? [/INST]Ann.</s> [INST] Where? [/INST]"),
        ("mistral_v03", "<s>[INST] Be brief.\n\nWho?[/INST] Ann.</s>[INST] Where?[/INST]"),
        (
            "llama2",
            "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nWho? [/INST] Ann. </s>"
            "<s>[INST] Where? [/INST]",
        ),
    ],
)
def test_the_instruction_stays_at_the_head_of_the_first_turn(name, text):
    encoder = encoder_of(BY_NAME[name])
    assert encoder.prompt(Prompt("chat", TALK)) == plain_ids(encoder._tokenizer, text)


@pytest.mark.parametrize("name", ["llama2", "mistral_v03"])
def test_a_templates_blank_before_the_answer_is_the_models_to_write(name):
    encoder = encoder_of(BY_NAME[name])
    target = Segment("assistant", "Paris.", "agg")
    encoded = encoder._encode("chat", (*TALK, target))
    learnt = encoder._tokenizer.convert_ids_to_tokens(encoded.ids[encoded.prompt :])
    assert "".join(learnt) == {"llama2": "▁Paris.▁</s>", "mistral_v03": "▁Paris.</s>"}[name]


@FAMILIES
def test_a_blank_at_the_end_of_what_is_given_belongs_to_what_is_learnt(family):
    """Templates and servers cut it off where the prompt ends with it."""
    encoder = encoder_of(family)
    given, learnt = Segment("assistant", "Ann was born in "), Segment("assistant", "Paris.", "agg")
    bare = Segment("assistant", "Ann was born in"), Segment("assistant", " Paris.", "agg")
    prompt = encoder.prompt(Prompt("chat", (TALK[1], given)))
    assert prompt == encoder.prompt(Prompt("chat", (TALK[1], bare[0])))
    encoded = encoder._encode("chat", (TALK[1], given, learnt))
    assert encoded.ids == encoder._encode("chat", (TALK[1], *bare)).ids
    assert encoded.ids[: encoded.prompt] == prompt


def test_the_day_that_a_template_asks_for_never_changes():
    tokenizer = tokenizer_of(BY_NAME["llama32"])
    template = ChatTemplate(tokenizer)
    text = template.render([{"role": "user", "content": "Who?"}])
    assert "Today Date: 26 Jul 2024\n" in text
    assert template.clock == "2024-07-26"
    given = ChatTemplate(tokenizer, {"date_string": "1 May 2020"})
    assert "1 May 2020" in given.render([{"role": "user", "content": "Who?"}])
    assert ChatTemplate(tokenizer_of(BY_NAME["llama31"])).clock is None


@pytest.mark.parametrize(
    ("asked", "told"),
    [("%Y-%m-%d", "2024-07-26"), ("%A, %-d %B %y", "Friday, 26 July 24"), ("%H:%M", "00:00")],
)
def test_the_day_in_the_format_that_a_template_asks_for(asked, told):
    tokenizer = tokenizer_of(BY_NAME["qwen25"])
    tokenizer.chat_template = f"\n  {{{{ strftime_now('{asked}') }}}}|{{{{ messages[0].content }}}}"
    assert ChatTemplate(tokenizer).render([{"role": "user", "content": "a"}]) == f"\n  {told}|a"


def test_arguments_of_the_template_reach_inference_and_training():
    tokenizer = tokenizer_of(BY_NAME["qwen3"])
    segments = (TALK[1], Segment("assistant", "Ann.", "init"))
    silent = "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    for arguments, start in (({}, "<|im_start|>assistant\n"), ({"enable_thinking": False}, silent)):
        encoder = Encoder(tokenizer, arguments)
        prompt = encoder.prompt(Prompt("chat", segments[:1]))
        encoded = encoder._encode("chat", segments)
        assert tokenizer.decode(prompt).endswith("Who?<|im_end|>\n" + start)
        assert encoded.ids[: encoded.prompt] == prompt
        assert tokenizer.decode(encoded.ids[encoded.prompt :]) == "Ann.<|im_end|>"


R1 = Family(
    "r1_distill",
    "gpt",
    ("<｜User｜>", "<｜Assistant｜>"),
    end="<｜end▁of▁sentence｜>",
    bos="<｜begin▁of▁sentence｜>",
    eos="<｜end▁of▁sentence｜>",
    plain_marks=("<think>", "</think>"),
)


def test_a_template_that_opens_a_block_of_thoughts_can_be_asked_and_not_trained():
    encoder = encoder_of(R1)
    text = servers_text(encoder._tokenizer, R1, Prompt("chat", TALK).messages())
    assert encoder.prompt(Prompt("chat", TALK)) == plain_ids(encoder._tokenizer, text)
    assert encoder.turn_end("chat") is None
    with pytest.raises(EncodeError, match="as the model would write it"):
        encoder._encode("chat", (*TALK, Segment("assistant", "Paris.", "agg")))


def test_turns_that_are_learnt_have_to_stay_as_they_were():
    segments = (
        TALK[1],
        Segment("assistant", "Ann.", "init"),
        TALK[3],
        Segment("assistant", "Paris.", "agg"),
    )
    for family in ALL:
        encoder = encoder_of(family)
        if family.name == "qwen3_no_thinking":
            with pytest.raises(EncodeError, match="changes earlier turns"):
                encoder._encode("chat", segments)
            continue
        encoded = encoder._encode("chat", segments)
        learnt = [i for i, k in zip(encoded.ids, encoded.kinds, strict=True) if k >= 0]
        end = encoder._tokenizer.convert_tokens_to_ids(family.end)
        assert learnt.count(end) == 2


def test_letters_that_the_tokenizer_does_not_know_come_back():
    for name in ("llama2", "gemma2", "qwen25"):
        encoder = encoder_of(BY_NAME[name])
        segments = (TALK[1], Segment("assistant", "Zürich 東京 🙂.", "agg"))
        encoded = encoder._encode("chat", segments)
        said = encoder._tokenizer.decode(encoded.ids[encoded.prompt : -1])
        assert said.strip() == "Zürich 東京 🙂."


@pytest.mark.parametrize("name", ["llama2", "llama31", "qwen25", "gemma2", "mistral_v03"])
def test_plain_text_has_the_tokenizers_own_ids(name):
    """BOS where it puts one, a space in front where it puts one; the target goes on."""
    tokenizer = tokenizer_of(BY_NAME[name], chat=False)
    encoder = Encoder(tokenizer)
    asked, target = Segment("user", "Q: Who?\nA:"), Segment("assistant", " Ann Lee.", "agg")
    ids = encoder.prompt(Prompt("plain", (asked,)))
    assert ids == tokenizer(asked.text)["input_ids"]
    encoded = encoder._encode("plain", (asked, target))
    assert encoded.ids == [
        *tokenizer(asked.text + target.text)["input_ids"],
        tokenizer.eos_token_id,
    ]
    assert encoded.prompt == len(ids)


def test_a_tokenizer_without_a_pad_token_pads_with_eos():
    tokenizer = tokenizer_of(BY_NAME["llama2"])
    assert tokenizer.pad_token_id is None
    assert pad_id(tokenizer) == tokenizer.eos_token_id
