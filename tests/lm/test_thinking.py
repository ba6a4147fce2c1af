"""Thoughts in front of a text: taken off for every kind of model, before stop strings are found."""

import shutil
import time

import pytest

from lm.asking import ask
from lm.fake_server import Reply, fake_server
from lm.tiny import make_tiny_llama
from steper.errors import SettingsError
from steper.lm.base import Completion
from steper.lm.function import FunctionModel
from steper.lm.hf import HFModel
from steper.lm.hf_batch import RowEnds
from steper.lm.model_settings import OpenAISettings
from steper.lm.openai_server import OpenAIModel
from steper.lm.scripted import ScriptedModel
from steper.lm.thinking import marks_to_keep, opens_thoughts, spoken, without_thoughts
from steper.records import Usage

QWEN = "<think>\nWho made it?\n\nAnn Lee.\n</think>\n\nAnn Lee did.\n\nNext"
OSS = (
    "<|channel|>analysis<|message|>Who?\n\nAnn Lee.<|end|><|start|>assistant"
    "<|channel|>final<|message|>Ann Lee did.\n\nNext"
)
STOP = ("\n\n",)


@pytest.mark.parametrize(
    ("written", "text", "thoughts"),
    [
        (QWEN, "Ann Lee did.", "Who made it?\n\nAnn Lee."),
        ("<think>\n\n</think>\n\nAnn Lee did.\n\nNext", "Ann Lee did.", ""),
        # DeepSeek-R1's template has opened the block.
        ("Who?\n\nAnn.\n</think>\n\nAnn Lee did.\n\nNext", "Ann Lee did.", "Who?\n\nAnn."),
        ("<think>a</think>\n<think>b</think>Ann Lee did.", "Ann Lee did.", "a\n\nb"),
        ("[THINK]Who?\n\n[/THINK]Ann Lee did.", "Ann Lee did.", "Who?"),
        # Marks that stand elsewhere.
        ("Hm.</think>Oslo. No.</think>\nAnn Lee did.", "Ann Lee did.", "Hm.\n\nOslo. No."),
        ("Ann Lee did.\n\n<think>Is it so?</think>Yes.", "Ann Lee did.", ""),
        ("It is <think>so?</think> Ann Lee did.", "Ann Lee did.", "It is <think>so?"),
        ("<thought>Who?\n\n</thought>Ann Lee did.", "Ann Lee did.", "Who?"),
        ("<thinking>Who?</thinking>\n\nAnn Lee did.", "Ann Lee did.", "Who?"),
        ("<reasoning>Who?</reasoning>\nAnn Lee did.", "Ann Lee did.", "Who?"),
        ("<seed:think>Who?</seed:think>Ann Lee did.", "Ann Lee did.", "Who?"),
        ("◁think▷Who?\n\n◁/think▷Ann Lee did.", "Ann Lee did.", "Who?"),
        (
            "<|START_THINKING|>Who?\n\n<|END_THINKING|><|START_RESPONSE|>Ann Lee did."
            "<|END_RESPONSE|>",
            "Ann Lee did.",
            "Who?",
        ),
        (OSS, "Ann Lee did.", "Who?\n\nAnn Lee."),
        (
            "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>commentary "
            "to=functions.x <|constrain|>json<|message|>{}<|call|>"
            "<|start|>assistant<|channel|>final<|message|>Ann Lee did.<|return|>",
            "Ann Lee did.",
            "a\n\n{}",
        ),
        ("<|channel|>final<|message|>Ann Lee did.", "Ann Lee did.", ""),
        ("analysisWe may.\n\nOk.assistantfinalAnn Lee did.", "Ann Lee did.", "We may.\n\nOk."),
        # No thoughts at all.
        ("Ann Lee did.\n\nNext", "Ann Lee did.", ""),
        ("analysis of it says so.", "analysis of it says so.", ""),
        ("Analysis: it is so.", "Analysis: it is so.", ""),
        ("\n\nAnn Lee did.", "", ""),
    ],
)  # fmt: skip
def test_thoughts_are_taken_off_before_stop_strings_are_looked_for(written, text, thoughts):
    found = spoken(written, STOP)
    assert (found.text, found.thoughts, found.unfinished) == (text, thoughts, False)
    assert found.completion(Usage()).finish == "stop"


@pytest.mark.parametrize(
    ("written", "begun", "text", "thoughts"),
    [
        ("<think>\nWho?\n\nWhere?", False, "", "Who?\n\nWhere?"),
        ("Who?\n\nWhere?", True, "", "Who?\n\nWhere?"),
        ("<think>a</think><think>b", False, "", "a\n\nb"),
        ("It is so. <think>Is it?", False, "It is so.", "Is it?"),
        ("<|channel|>analysis<|message|>Who?\n\nWhere?", False, "", "Who?\n\nWhere?"),
        ("<|channel|>analysis<|message|>Who?<|end|><|start|>assistant<|chan", False, "", "Who?"),
        ("analysisThe user asks", False, "", "The user asks"),
    ],
)
def test_thoughts_without_an_end_are_a_generation_that_was_cut_off(written, begun, text, thoughts):
    found = spoken(written, STOP, begun)
    assert (found.text, found.thoughts, found.unfinished) == (text, thoughts, True)
    assert found.completion(Usage(), "stop").finish == "length"


def test_a_prompt_that_opens_thoughts_is_known():
    assert opens_thoughts("<|assistant|><think>\n")
    assert not opens_thoughts("<|assistant|><think>\n\n</think>\n\n")


def test_of_a_tokenizers_marks_those_of_channels_belong_to_channels():
    assert marks_to_keep({"<|end|>": 1, "</think>": 2}) == {2: "</think>"}
    assert marks_to_keep({"<|end|>": 1, "<|channel|>": 3}) == {3: "<|channel|>", 1: "<|end|>"}


def test_no_text_takes_long_to_take_apart():
    units = ("</think>", "<think>", "<think></think>\n", "◁think▷", "<|channel|>", " ", "analysisA")
    for unit in (*units, "<|channel|>a<|message|>", "<|channel|>a"):
        start = time.process_time()
        spoken((unit * 30_000)[:30_000], STOP)
        assert time.process_time() - start < 0.1, unit


# The same text, from every kind of model.


def says(*pieces):
    """A tiny model with Qwen3's and gpt-oss's marks that writes these texts, mark by mark."""

    def open_model(folder):
        model = HFModel(str(folder))

        def forward(batch):
            ends = RowEnds(batch, model._decode, model._loaded.eos, lambda: False, model._pieces)
            for row in batch:
                row.written, row.done = [], False
                ids = model._loaded.tokenizer("".join(pieces), add_special_tokens=False)[
                    "input_ids"
                ]
                for token in [*ids, *model._loaded.eos][: row.limit]:
                    ends.extend(row, token)

        model._forward = forward
        return model

    return open_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    made = make_tiny_llama(tmp_path_factory.mktemp("thinking") / "tiny")
    tokenizer = AutoTokenizer.from_pretrained(made)
    tokenizer.add_tokens(["<think>", "</think>"])
    marks = ["<|start|>", "<|channel|>", "<|message|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    tokenizer.save_pretrained(made)
    model = AutoModelForCausalLM.from_pretrained(made)
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(made)
    return made


def done_by(model, **fields):
    try:
        fields = {"form": model.form, "stop": STOP, "max_tokens": 400, **fields}
        return model.submit([ask("Who?", **fields)])[0].result(30)
    finally:
        model.close()


@pytest.mark.parametrize("written", [QWEN, OSS.replace("<|end|>", "")])
def test_a_local_model_thinks_to_the_end_and_is_stopped_in_what_it_says(folder, written):
    done = done_by(says(written)(folder))
    assert (done.text, done.finish) == ("Ann Lee did.", "stop")
    assert done.thoughts.startswith("Who")
    assert done.thoughts.endswith("Ann Lee.")
    cut = done_by(says(written)(folder), max_tokens=8)
    assert (cut.text, cut.finish) == ("", "length")
    assert cut.thoughts.startswith("Who")


@pytest.mark.parametrize(("form", "said"), [("chat", "Ann:\n\nAnn Lee did."), ("plain", "Ann:")])
def test_a_local_model_may_lead_up_to_what_it_says_in_a_chat(folder, form, said):
    model = says("Ann:\n\nAnn Lee did.\n\nNext")(folder)
    done = done_by(model, form=form)
    assert (done.text, done.finish) == (said, "stop")


def opens_thoughts_in(folder, tmp_path):
    """A copy of the model whose template begins the assistant's turn inside of thoughts."""
    from transformers import AutoTokenizer

    opening = shutil.copytree(folder, tmp_path / "opening")
    tokenizer = AutoTokenizer.from_pretrained(opening)
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "<|assistant|>{% endif %}", "<|assistant|><think>\n{% endif %}"
    )
    tokenizer.save_pretrained(opening)
    return opening


def test_a_local_models_template_may_open_the_thoughts(folder, tmp_path):
    opening = opens_thoughts_in(folder, tmp_path)
    model = says(QWEN.removeprefix("<think>"))(opening)
    done = done_by(model)
    assert (done.text, done.thoughts) == ("Ann Lee did.", "Who made it?\n\nAnn Lee.")
    cut = done_by(says(QWEN.removeprefix("<think>"))(opening), max_tokens=8)
    assert (cut.text, cut.finish) == ("", "length")
    assert cut.thoughts.startswith("Who")


@pytest.mark.parametrize("written", [QWEN, OSS])
@pytest.mark.parametrize("kind", [ScriptedModel, FunctionModel])
def test_so_do_scripts_and_functions(kind, written):
    done = done_by(kind(lambda request: written, form="chat"))
    assert (done.text, done.finish) == ("Ann Lee did.", "stop")
    assert done.thoughts.endswith("Ann Lee.")
    assert done.usage.completion_tokens == len(f"{done.text} {done.thoughts}".split())


def test_a_completion_that_somebody_made_is_taken_apart_like_a_text():
    made = Completion(text=QWEN, usage=Usage(completion_tokens=9), thoughts="Hm.")
    apart = without_thoughts(made)
    assert apart.text == "Ann Lee did.\n\nNext"
    assert apart.thoughts == "Hm.\n\nWho made it?\n\nAnn Lee."
    assert apart.usage == made.usage
    plain = Completion(text="Ann Lee did.", finish="length")
    assert without_thoughts(plain) is plain


# Servers.


def message(content, finish="stop", **fields):
    said = {"role": "assistant", "content": content, **fields}
    return Reply(body={"choices": [{"index": 0, "finish_reason": finish, "message": said}]})


def server_cutting(text, apart=None, opened=False):
    """A server that heeds stop strings inside of thoughts, too, as vLLM does.

    `apart` names the field that it puts thoughts in; `opened`: its template opened the block.
    """

    def answer(number, body):
        cut = min((at for s in body.get("stop", ()) if (at := text.find(s)) >= 0), default=None)
        said = text[:cut]
        if apart:
            thoughts, closed, said = said.removeprefix("<think>").partition("</think>")
            return message(said.strip() if closed else None, **{apart: thoughts})
        return message(said.removeprefix("<think>") if opened else said)

    return answer


@pytest.mark.parametrize("apart", [None, "reasoning_content", "reasoning"])
@pytest.mark.parametrize("opened", [False, True])
def test_a_server_is_sent_no_stop_strings_while_its_model_thinks(apart, opened):
    with fake_server(server_cutting(QWEN, apart, opened)) as fake:
        model = OpenAIModel("m", settings=OpenAISettings(base_url=fake.url))
        first = model.submit([ask(form="chat", stop=STOP)])[0].result(30)
        again = done_by(model)
    for done in (first, again):
        assert (done.text, done.finish) == ("Ann Lee did.", "stop")
        assert done.thoughts == "Who made it?\n\nAnn Lee."
    assert not any("stop" in body for _, body, _ in fake.calls)
    assert len(fake.calls) == 2


@pytest.mark.parametrize("apart", [None, "reasoning_content"])
def test_a_model_that_thinks_now_and_then_is_asked_again(apart):
    texts = ["Ann Lee did.\n\nNext", "Ann Lee did.\n\nNext", QWEN, QWEN, QWEN]

    def answer(number, body):
        return server_cutting(texts[number], apart if "<think>" in texts[number] else None)(
            number, body
        )

    with fake_server(answer) as fake:
        model = OpenAIModel("m", settings=OpenAISettings(base_url=fake.url))
        for _ in range(3):
            done = model.submit([ask(form="chat", stop=STOP)])[0].result(30)
            assert (done.text, done.finish) == ("Ann Lee did.", "stop")
        assert done_by(model).text == "Ann Lee did."
    assert ["stop" in body for _, body, _ in fake.calls] == [False, True, True, False, False]


def test_a_server_that_finds_stop_strings_in_the_prompts_end_is_asked_again_without():
    # As `transformers serve` answered Self-Ask with SmolLM2: the template's line break counts.
    label, written = "Intermediate answer:", "Intermediate answer: The UK"

    def answer(number, body):
        return message(label if "stop" in body else written)

    with fake_server(answer) as fake:
        model = OpenAIModel("m", settings=OpenAISettings(base_url=fake.url))
        asked = ask(form="chat", stop=(f"\n{label}",))
        try:
            said = [model.submit([asked])[0].result(30).text for _ in range(3)]
        finally:
            model.close()
    assert said == [written] * 3
    assert ["stop" in body for _, body, _ in fake.calls] == [False, True, False, False]


def test_thoughts_that_filled_the_servers_limit_are_cut_off():
    with fake_server(lambda n, body: message(None, "length", reasoning_content="Who?")) as fake:
        done = done_by(OpenAIModel("m", settings=OpenAISettings(base_url=fake.url)))
    assert (done.text, done.finish, done.thoughts) == ("", "length", "Who?")


def test_a_misspelt_argument_of_a_template_that_is_rendered_here_is_told(folder):
    body = {"chat_template_kwargs": {"enable_thinkin": False}}
    settings = OpenAISettings(api="completions", tokenizer=str(folder), extra_body=body)
    with pytest.raises(SettingsError, match=r"^extra_body\.chat_template_kwargs\.enable_thinkin: "):
        OpenAIModel("m", settings=settings)


@pytest.mark.parametrize("finish", ["length", "stop"])
def test_raw_text_behind_a_template_that_opened_thoughts_is_thought(folder, tmp_path, finish):
    """Cut off or ended inside of them, nothing was said; and no stop string is sent."""
    opening = opens_thoughts_in(folder, tmp_path)
    with fake_server(lambda n, body: Reply("Who made it?\n\nAnn", finish=finish)) as fake:
        settings = {"api": "completions", "tokenizer": str(opening), "base_url": fake.url}
        model = OpenAIModel("m", settings=OpenAISettings(**settings))
        first = model.submit([ask(form="chat", stop=STOP)])[0].result(30)
        again = done_by(model)
    for done in (first, again):
        assert (done.text, done.finish) == ("", "length")
        assert done.thoughts == "Who made it?\n\nAnn"
    assert [path for path, _, _ in fake.calls] == ["/v1/completions"] * 2
    assert not any("stop" in body for _, body, _ in fake.calls)


def test_an_answer_that_filled_its_limit_tells_nothing_of_thoughts():
    def answer(number, body):
        return message("We see that", "length" if number < 2 else "stop")

    with fake_server(answer) as fake:
        model = OpenAIModel("m", settings=OpenAISettings(base_url=fake.url))
        for _ in range(3):
            model.submit([ask(form="chat", stop=STOP)])[0].result(30)
        done_by(model)
    assert ["stop" in body for _, body, _ in fake.calls] == [False, False, False, True]
