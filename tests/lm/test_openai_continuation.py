"""How servers of each dialect are found out, and what is done where none continues a turn."""

from __future__ import annotations

from dataclasses import replace

import pytest
from transformers import AutoTokenizer

from doubles import FILM, DictRetriever, film_questions
from lm import dialects
from lm.asking import ask
from lm.dialects import BEGINS, CHATML, GOES_ON, MISTRAL, QWEN3
from lm.fake_server import Reply, fake_server
from lm.tiny import make_tiny_llama
from steper.errors import ModelError, SettingsError
from steper.lm import openai_errors
from steper.lm.base import FatalModelError
from steper.lm.model_settings import OpenAISettings
from steper.lm.openai_continuation import WORDS
from steper.lm.openai_server import OpenAIModel
from steper.prompt.render import PromptSettings
from steper.prompt.segments import Prompt, Segment
from steper.runs import make_strategy, teach
from steper.strategy.ircot import IRCoTSettings

FIELDS = {"continue_final_message": True, "add_generation_prompt": False}
BEGUN = Prompt("chat", (Segment("user", "Who?"), Segment("assistant", "Ann Lee was born")))


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(openai_errors, "FIRST_WAIT", 0.01)


def model_of(fake, **settings):
    return OpenAIModel("m", settings=OpenAISettings(base_url=fake.url, **settings))


def begun_request():
    return replace(ask(), prompt=BEGUN)


@pytest.mark.parametrize(
    ("server", "dialect"),
    [
        (dialects.vllm(), "continue_final_message"),
        (dialects.vllm(MISTRAL), "continue_final_message"),
        (dialects.vllm(QWEN3), "continue_final_message"),
        (dialects.vllm(MISTRAL, closed_turns=False), "continue_final_message"),
        (dialects.sglang, "continue_final_message"),
        (dialects.last_message(), "last_message"),
        (dialects.last_message(MISTRAL), "last_message"),
        (dialects.llama_cpp, "last_message"),
    ],
)
def test_a_dialect_is_found_out_once_and_spoken(server, dialect):
    with fake_server(server) as fake:
        model = model_of(fake)
        try:
            assert model.continues_turns()
            assert model.fingerprint()["continuation"] == dialect
            probes = len(fake.calls)
            assert probes <= 6
            assert model.continues_turns()
            texts = [f.result(30).text for f in model.submit([begun_request(), begun_request()])]
        finally:
            model.close()
    assert texts == [GOES_ON] * 2
    assert len(fake.calls) == probes + 2
    sent = fake.calls[-1][1]
    assert sent["messages"][-1] == {"role": "assistant", "content": "Ann Lee was born"}
    expected = FIELDS if dialect == "continue_final_message" else {}
    assert {k: sent[k] for k in FIELDS if k in sent} == expected


@pytest.mark.parametrize(
    ("server", "why"),
    [
        (dialects.always_closes, "closes the turn and begins a new one"),
        (dialects.heeds_the_generation_prompt_alone, "closes the turn"),
        (dialects.refuses_fields, "closes the turn"),
        (dialects.refuses_begun_turns, "the last message must be the user's"),
        (dialects.drops_begun_turns, "closes the turn"),
        (dialects.counts_what_is_new(), "no counts of prompt tokens that would tell"),
        (dialects.counts_nothing, "no counts of prompt tokens"),
        (dialects.llama_cpp_thinking(400), "switch thinking off: extra_body"),
        (dialects.llama_cpp_thinking(500), "switch thinking off: extra_body"),
    ],
)
def test_a_server_that_does_not_continue_is_told_from_the_others(server, why, caplog):
    with fake_server(server) as fake:
        model = model_of(fake)
        try:
            assert not model.continues_turns()
            assert not model.continues_turns()
            assert model.fingerprint()["continuation"] == "none"
            error = model.submit([begun_request()])[0].exception(30)
        finally:
            model.close()
    assert "ends in the assistant's turn, which the server does not continue" in str(error)
    told = [r.getMessage() for r in caplog.records if "reasoning: user" in r.getMessage()]
    assert len(told) == 1
    assert why in told[0]
    assert "\n" not in told[0]


def test_llama_cpp_with_thinking_switched_off_continues():
    off = {"chat_template_kwargs": {"enable_thinking": False}}
    with fake_server(dialects.llama_cpp_thinking(400)) as fake:
        model = model_of(fake, extra_body=off)
        try:
            assert model.continues_turns()
            assert model.submit([begun_request()])[0].result(30).text == GOES_ON
        finally:
            model.close()
    assert all(
        body["chat_template_kwargs"] == {"enable_thinking": False} for _, body, _ in fake.calls
    )


@pytest.mark.parametrize(
    ("settings", "fields", "text"),
    [
        ({"continuation": "continue_final_message"}, FIELDS, GOES_ON),
        ({"continuation": "last_message"}, {}, BEGINS),
        ({"extra_body": FIELDS}, FIELDS, GOES_ON),
    ],
)
def test_what_the_settings_say_is_not_asked(settings, fields, text):
    with fake_server(dialects.vllm()) as fake:
        model = model_of(fake, **settings)
        try:
            assert model.continues_turns()
            assert fake.calls == []
            assert model.submit([begun_request()])[0].result(30).text == text
        finally:
            model.close()
    assert {k: v for k, v in fake.calls[0][1].items() if k in FIELDS} == fields


def test_a_server_that_cannot_answer_now_decides_nothing():
    def busy(number, body):
        return Reply(status=503) if number > 0 else dialects.vllm()(number, body)

    with fake_server(busy) as fake:
        model = model_of(fake, max_retries=1)
        try:
            with pytest.raises(ModelError, match="503"):
                model.continues_turns()
            assert "continuation" not in model.fingerprint()
        finally:
            model.close()
    with pytest.raises(ModelError, match="closed"):
        model.continues_turns()


def test_a_refused_key_is_fatal_in_the_probe_too():
    with fake_server(lambda n, body: Reply(status=401)) as fake:
        model = model_of(fake)
        try:
            with pytest.raises(FatalModelError, match="refused the key"):
                model.continues_turns()
        finally:
            model.close()


def taught(fake, out, reasoning, **settings):
    lm = model_of(fake, **settings)
    prompt = PromptSettings(demos=0, reasoning=reasoning)
    try:
        strategy = make_strategy("ircot", lm, IRCoTSettings(max_steps=2), prompt)
        return teach(film_questions(2), strategy, lm, DictRetriever(FILM), out)
    finally:
        lm.close()


def test_a_run_goes_on_in_the_assistants_turn_and_its_manifest_says_how(tmp_path):
    with fake_server(dialects.vllm()) as fake:
        settings = taught(fake, tmp_path / "run", "assistant").manifest["settings"]
        asked = [body["messages"] for _, body, _ in fake.calls[6:]]
    assert settings["prompt"]["reasoning"] == "assistant"
    assert settings["model"]["continuation"] == "continue_final_message"
    assert any(messages[-1]["role"] == "assistant" for messages in asked)


def test_a_run_falls_back_to_the_users_turn_and_its_manifest_says_so(tmp_path, caplog):
    with fake_server(dialects.always_closes) as fake:
        first = taught(fake, tmp_path / "run", "assistant")
        settings, texts = first.manifest["settings"], list(first.trajectories())
        probes = [body for _, body, _ in fake.calls if body["messages"][-1]["role"] != "user"]
        asked = len(fake.calls)
        taught(fake, tmp_path / "run", "assistant")  # goes on, and has nothing left to do
        assert len(fake.calls) == asked + 5
    assert "reasoning" not in settings["prompt"]  # user, the default
    assert settings["model"]["continuation"] == "none"
    assert all(t.status != "failed" for t in texts)
    assert len(probes) == 4
    assert sum("reasoning: user" in r.getMessage() for r in caplog.records) == 2  # one a command


def test_our_own_template_that_continues_no_turn_falls_back_alike(tmp_path, caplog):
    tokenizer = make_tiny_llama(tmp_path / "m")
    path = tokenizer / "chat_template.jinja"
    path.write_text(
        path.read_text().replace("<|assistant|>{% endif %}", "<|assistant|>+{% endif %}")
    )
    raw = {"api": "completions", "tokenizer": str(tokenizer)}
    with fake_server(lambda n, body: Reply("Ann Lee made it.")) as fake:
        run = taught(fake, tmp_path / "run", "assistant", **raw)
    settings = run.manifest["settings"]
    assert "reasoning" not in settings["prompt"]
    assert settings["model"]["continuation"] == "none"
    assert run.manifest["counts"]["failed"] == 0
    assert sum("reasoning: user" in r.getMessage() for r in caplog.records) == 1


def test_reasoning_in_the_users_turn_asks_and_records_nothing(tmp_path):
    with fake_server(dialects.vllm()) as fake:
        settings = taught(fake, tmp_path / "run", "user").manifest["settings"]
    assert "continuation" not in settings["model"]
    assert all(body["messages"][-1]["role"] == "user" for _, body, _ in fake.calls)


def test_a_run_is_not_taken_up_by_a_server_of_another_dialect(tmp_path):
    with fake_server(dialects.vllm()) as fake:
        taught(fake, tmp_path / "run", "assistant")
    with (
        fake_server(dialects.last_message()) as fake,
        pytest.raises(SettingsError, match="continuation"),
    ):
        taught(fake, tmp_path / "run", "assistant")


def test_the_fakes_templates_differ_in_what_the_probe_must_tell():
    turn = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    for template in (CHATML, MISTRAL, QWEN3):
        still_open = template.prompt(turn, True, False)
        assert template.prompt(turn, False, True)[: len(still_open)] == still_open
        assert len(template.prompt(turn, False, True)) > len(still_open)


def test_the_words_of_a_probe_are_as_many_tokens_first_as_later_in_a_small_vocabulary(tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(make_tiny_llama(tmp_path / "tiny"))
    nothing, once, twice = (
        len(tokenizer("\n" + " ".join([WORDS] * times)).input_ids) for times in range(3)
    )
    assert once - nothing == twice - once
