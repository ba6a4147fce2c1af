"""Answers that are none, or too much: errors that call themselves 200, drips, echoed keys."""

from __future__ import annotations

import json
import logging
import time
import traceback

import pytest

from doubles import FILM, DictRetriever, film_questions
from lm.asking import ask
from lm.fake_server import Reply, fake_server
from steper.errors import ModelError
from steper.lm import openai_errors
from steper.lm.base import FatalModelError
from steper.lm.model_settings import GenerationSettings, OpenAISettings
from steper.lm.openai_server import OpenAIModel
from steper.records import Usage
from steper.runs import make_strategy, teach

KEY = "sk-proj-4f9a1c"


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(openai_errors, "FIRST_WAIT", 0.01)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def outcome(answer, *, max_tokens=128, stop=(), text="Who?", **settings):
    """(completion or exception, bodies sent) of one request."""
    with fake_server(answer) as fake:
        settings = {"base_url": fake.url, "max_retries": 1, **settings}
        sampled = settings.pop("generation", None)
        model = OpenAIModel("m", generation=sampled, settings=OpenAISettings(**settings))
        try:
            request = ask(text, form=model.form, max_tokens=max_tokens, stop=stop)
            future = model.submit([request])[0]
            result = future.exception(30) or future.result()
        finally:
            model.close()
    return result, [body for _, body, _ in fake.calls]


def said(finish, **message):
    return {"choices": [{"message": {"role": "assistant", **message}, "finish_reason": finish}]}


BAD = {
    "error body": Reply(body={"error": {"message": "the GPU fell off", "code": 500}}),
    "error text": Reply(body={"error": "the GPU fell off"}),
    "error beside null choices": Reply(body={"choices": None, "error": {"message": "fell off"}}),
    "finish error": Reply(
        body={"choices": [{"finish_reason": "error", "error": {"message": "fell off"}}]}
    ),
    "finish error with text": Reply(
        body={
            "choices": [
                {
                    "finish_reason": "error",
                    "error": {"message": "the GPU fell off"},
                    "message": {"content": "half an"},
                }
            ]
        }
    ),
    "an upstream's error": Reply(
        body={
            "choices": [
                {
                    "finish_reason": None,
                    "error": {"message": "upstream fell off", "code": 502},
                    "message": {"content": ""},
                    "text": "",
                }
            ]
        }
    ),
    "half a JSON": Reply(raw=b'{"choices": [{"message": {"content": "fell off'),
    "a page": Reply(raw=b"<html>fell off</html>", headers={"content-type": "text/html"}),
    "no choices": Reply(body={"choices": [], "note": "fell off"}),
    "a string": Reply(body="fell off"),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
@pytest.mark.parametrize("api", ["chat", "completions"])
def test_a_bad_answer_is_tried_again_then_failed_with_the_servers_words(bad, api):
    error, sent = outcome(lambda n, b: bad, api=api)
    assert type(error) is ModelError
    assert len(sent) == 2
    assert "answered (tried 2 times) 200 with" in str(error)
    assert "fell off" in str(error)
    assert "\n" not in str(error)
    done, sent = outcome(lambda n, b: bad if n == 0 else Reply("late"), api=api)
    assert (done.text, len(sent)) == ("late", 2)


@pytest.mark.parametrize("empty", [Reply(status=204, raw=b""), Reply(raw=b""), Reply(raw=b" \n")])
def test_an_empty_answer_is_tried_again_then_said(empty):
    error, sent = outcome(lambda n, b: empty)
    assert type(error) is ModelError
    assert len(sent) == 2
    assert f"{empty.status} with an empty answer" in str(error)
    assert outcome(lambda n, b: Reply("late") if n else empty)[0].text == "late"


@pytest.mark.parametrize("code", [401, "invalid_api_key", "insufficient_quota", 402])
def test_an_error_body_that_no_request_survives_is_fatal(code):
    body = {"error": {"message": "pay first", "code": code}}
    error, sent = outcome(lambda n, b: Reply(body=body))
    assert isinstance(error, FatalModelError)
    assert "pay first" in str(error)
    assert len(sent) == 1


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": -5, "completion_tokens": -1},
        {"prompt_tokens": 10**30, "completion_tokens": 10**30},
        {"prompt_tokens": True, "completion_tokens": "3"},
        {"prompt_tokens": 1.5, "completion_tokens": None},
        {"prompt_tokens": {"total": 3}},
        "many",
        [7],
        None,
    ],
)
def test_counts_that_cannot_be_are_estimated_and_said_once(usage, caplog):
    done, sent = outcome(lambda n, b: Reply("four", usage=usage))
    assert done.usage == Usage(prompt_tokens=2, completion_tokens=2)
    assert len(sent) == 1
    assert [r.getMessage() for r in caplog.records] == [
        "openai:m: the server sends no counts of tokens, or none that can be: estimated"
    ]


def test_a_run_goes_on_after_a_bad_answer(tmp_path):
    texts = ["Gold Rain was directed by Ann Lee.", "So the answer is: 1950."]

    def answer(number, body):
        asked = json.dumps(body["messages"])
        if "number 1?" in asked:
            return BAD["half a JSON"]
        return Reply(texts["directed by Ann Lee." in asked])

    with fake_server(answer) as fake:
        model = OpenAIModel("m", settings=OpenAISettings(base_url=fake.url, max_retries=1))
        strategy = make_strategy("ircot", model, prompt=None)
        try:
            run = teach(film_questions(3), strategy, model, DictRetriever(FILM), tmp_path / "run")
        finally:
            model.close()
    status = {t.question_id: t.status for t in run.trajectories()}
    assert status == {"q0": "answered", "q1": "failed", "q2": "answered"}
    assert any("no JSON" in error for error in run.manifest["counts"]["errors"])


def test_the_time_limit_is_for_the_whole_answer():
    start = time.monotonic()
    error, sent = outcome(lambda n, b: Reply(drip=0.02), timeout=0.3)  # some 4 s in all
    assert "in time (tried 2 times); raise timeout" in str(error)
    assert len(sent) == 2
    assert time.monotonic() - start < 2.5


def test_stop_and_temperature_can_be_left_out_and_the_text_is_cut_all_the_same():
    sampled = GenerationSettings(temperature=0.7)
    done, sent = outcome(
        lambda n, b: Reply("one\nStop two"),
        stop=("\nStop",),
        send_stop=False,
        send_temperature=False,
        max_tokens_field="max_completion_tokens",
        generation=sampled,
    )
    assert done.text == "one"
    assert sent[0] == {
        "model": "m",
        "messages": [{"role": "user", "content": "Who?"}],
        "max_completion_tokens": 128,
    }


def test_the_fingerprint_says_that_the_server_samples_in_its_own_way():
    with fake_server(lambda n, b: Reply()) as fake:
        made = []
        for send in (True, False):
            settings = OpenAISettings(base_url=fake.url, send_temperature=send)
            model = OpenAIModel("m", settings=settings)
            made.append(model.fingerprint())
            model.close()
    assert made[0] == {
        "kind": "openai",
        "model": "m",
        "api": "chat",
        "generation": {"temperature": 0.0},
        "extra_body": {},
    }
    assert made[1] == {**made[0], "generation": {}}


@pytest.mark.parametrize(
    ("param", "way_out"),
    [
        ("stop", "send_stop: false"),
        ("temperature", "send_temperature: false"),
        ("max_tokens", "max_tokens_field: max_completion_tokens"),
    ],
)
def test_a_refused_field_names_the_setting_that_leaves_it_out(param, way_out):
    body = {"error": {"message": f"Unsupported parameter: {param}", "param": param}}
    error, sent = outcome(lambda n, b: Reply(status=400, body=body))
    assert str(error).endswith(way_out)
    assert len(sent) == 1


def test_a_content_in_parts_is_text_and_thoughts():
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "Who? "}]},
        {"type": "text", "text": "Ann Lee"},
        {"type": "text", "text": " did."},
    ]
    done, _ = outcome(lambda n, b: Reply(body=said("stop", content=parts)))
    assert (done.text, done.thoughts) == ("Ann Lee did.", "Who?")
    parts.append({"type": "image_url", "image_url": {"url": "x"}})
    error, _ = outcome(lambda n, b: Reply(body=said("stop", content=parts)))
    assert "200 without a completion" in str(error)


@pytest.mark.parametrize("content", ["<think>\nhmm</think>", "<think>\nhmm</think>\n\n"])
def test_thoughts_alone_in_the_text_say_what_to_do(content, caplog):
    error, _ = outcome(lambda n, b: Reply(body=said("stop", content=content)), max_tokens=77)
    assert type(error) is ModelError
    assert "reasoned and answered nothing; raise max_tokens (77)" in str(error)
    for finish in ("length", "stop"):
        done, _ = outcome(lambda n, b, f=finish: Reply(body=said(f, content="<think>\nhmm")))
        assert (done.text, done.finish, done.thoughts) == ("", "length", "hmm")
        assert "raise max_tokens (128)" in caplog.text
        caplog.clear()


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
@pytest.mark.parametrize("content", [None, ""])
def test_reasoning_alone_says_what_to_do(field, content, caplog):
    thought = {field: "Let me think. " * 9, "content": content}
    error, sent = outcome(lambda n, b: Reply(body=said("stop", **thought)), max_tokens=77)
    assert type(error) is ModelError
    assert "reasoned and answered nothing; raise max_tokens (77)" in str(error)
    assert '{"chat_template_kwargs": {"enable_thinking": false}}' in str(error)
    assert len(sent) == 1
    done, _ = outcome(lambda n, b: Reply(body=said("length", **thought)))
    assert (done.text, done.finish) == ("", "length")
    assert "raise max_tokens (128)" in caplog.text


def test_a_prompt_that_the_server_cuts_is_said_once(caplog):
    text = "Ann Lee was born in 1950 in Oslo, the capital of Norway. " * 200  # some 2,800 tokens

    def counts(number):
        return lambda n, b: Reply(usage={"prompt_tokens": number, "completion_tokens": 3})

    done, _ = outcome(counts(1024), text=text)
    assert done.usage.prompt_tokens == 1024
    assert "far fewer tokens (1,024) than a prompt had (1,900 at the least)" in caplog.text
    assert "num_ctx" in caplog.text
    caplog.clear()
    outcome(counts(2800), text=text)
    outcome(counts(1), text="Who?")
    assert caplog.text == ""


def test_a_key_that_a_server_repeats_is_shown_nowhere(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    caplog.set_level(logging.DEBUG, "steper")
    echoes = [
        Reply(status=500, body={"error": {"message": f"Bearer {KEY} is too heavy"}}),
        Reply(status=400, body={"error": {"message": f"bad {KEY}", "param": KEY}}),
        Reply(status=401, body={"detail": f"Incorrect API key: {KEY}"}),
        Reply(status=403, raw=f"<b>{KEY}</b>".encode()),
        Reply(body={"error": {"message": "x" * 290 + KEY, "code": KEY}}),
        Reply(raw=f'{{"half": "{KEY}'.encode()),
        Reply(body={"hello": KEY}),
        Reply(body=said("content_filter", content=None, refusal=KEY)),
        Reply(body=said(KEY, content=None)),
    ]
    for echo in echoes:
        error, _ = outcome(lambda n, b, echo=echo: echo)
        shown = "".join(traceback.format_exception(error)) + repr(error)
        assert isinstance(error, ModelError)
        for part in (KEY, KEY[:11]):
            assert part not in shown, shown
    assert "[hidden]" in caplog.text
    assert KEY not in caplog.text

    with fake_server(lambda n, b: Reply(f"So the answer is: {KEY}.")) as fake:
        model = OpenAIModel("m", settings=OpenAISettings(base_url=fake.url))
        try:
            strategy = make_strategy("ircot", model)
            run = teach(film_questions(1), strategy, model, DictRetriever(FILM), tmp_path / "run")
        finally:
            model.close()
    assert fake.headers[0]["authorization"] == f"Bearer {KEY}"
    assert next(run.trajectories()).answer == "[hidden]"
    for file in (tmp_path / "run").iterdir():
        assert KEY.encode() not in file.read_bytes()


def test_a_key_of_odd_characters_is_refused_without_being_shown(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-“quoted”")
    with pytest.raises(FatalModelError, match="OPENAI_API_KEY holds characters") as caught:
        OpenAIModel("m", settings=OpenAISettings(base_url="http://localhost:1/v1"))
    assert "quoted" not in str(caught.value)
