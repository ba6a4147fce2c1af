from __future__ import annotations

import threading
import time
from contextlib import contextmanager

import pytest

from lm.asking import ask
from lm.fake_server import Reply, fake_server
from lm.serve import free_port
from steper.errors import ModelError
from steper.lm import openai_errors
from steper.lm.base import FatalModelError, TooLongError, WithheldError
from steper.lm.model_settings import GenerationSettings, OpenAISettings, TokenPrice
from steper.lm.openai_server import OpenAIModel
from steper.records import Usage


@contextmanager
def model_of(fake, *, generation=None, **settings):
    settings = OpenAISettings(base_url=fake.url, **settings)
    model = OpenAIModel("m", generation=generation, settings=settings)
    try:
        yield model
    finally:
        model.close()


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(openai_errors, "FIRST_WAIT", 0.02)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def error_of(model, **fields):
    return model.submit([ask(form="chat", **fields)])[0].exception(timeout=30)


def test_chat_request_body_usage_price_and_client_side_stop():
    price = TokenPrice(prompt=10.0, completion=100.0)
    sampled = GenerationSettings(temperature=0.5, top_p=0.9, seed=3)
    with (
        fake_server(
            lambda n, body: Reply("one\nStop two", finish="length" if n else "stop")
        ) as fake,
        model_of(fake, generation=sampled, prices={"m": price}, extra_body={"min_p": 0.1}) as model,
    ):
        model.submit([ask("Hm", form="chat")])[0].result(30)  # no thoughts: stop strings are sent
        stops = ("\nStop", "B", "C", "D", "E")
        done = model.submit([ask("Hi", form="chat", stop=stops, max_tokens=9)])[0].result(30)
    assert (done.text, done.finish) == ("one", "stop")
    assert done.usage.prompt_tokens == 7
    assert done.usage.dollars == pytest.approx((7 * 10 + 3 * 100) / 1e6)
    path, body, _ = fake.calls[1]
    assert path == "/v1/chat/completions"
    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 3,
        "stop": ["\nStop", "B", "C", "D"],
        "max_tokens": 9,
        "min_p": 0.1,
    }


def test_raw_completions_send_text_and_report_length():
    with (
        fake_server(lambda n, body: Reply(" Paris", finish="length")) as fake,
        model_of(fake, api="completions") as model,
    ):
        done = model.submit([ask("Q: Who?\nA:")])[0].result(30)
        assert model.form == "plain"
    assert (done.text, done.finish, done.usage.dollars) == (" Paris", "length", None)
    path, body, _ = fake.calls[0]
    assert (path, body["prompt"]) == ("/v1/completions", "Q: Who?\nA:")
    assert body["temperature"] == 0.0
    assert "seed" not in body


def cutting(text):
    """A server that cuts its text at the stop strings that it is sent, as servers do."""

    def answer(number, body):
        cut = min((at for s in body.get("stop", ()) if (at := text.find(s)) >= 0), default=None)
        return Reply(text[:cut])

    return answer


@pytest.mark.parametrize(
    ("api", "text", "said", "stops"),
    [
        # The first answer of a chat is asked for without stop strings.
        ("chat", "\n\nParis\nMore", "Paris", [False, True, False, True, False]),
        ("chat", "It is:\n\nParis\nMore", "It is:\n\nParis", [False, True, False, False]),
        ("completions", "\n\nParis\nMore", "Paris", [True, False] * 3),
        ("completions", " It is:\nParis\n", "It is:\nParis", [True, False] * 3),
        ("completions", " Paris\nMore", "Paris", [True] * 3),
    ],
)
def test_stop_strings_that_cut_off_what_leads_up_to_a_text_are_left_out(api, text, said, stops):
    with fake_server(cutting(text)) as fake, model_of(fake, api=api) as model:
        asked = ask(form=model.form, stop=("\n",), cue="So the answer is:")
        done = [model.submit([asked])[0].result(30) for _ in range(3)]
    assert [d.text.strip() for d in done] == [said] * 3
    assert {d.finish for d in done} == {"stop"}
    assert ["stop" in body for _, body, _ in fake.calls] == stops


def test_429_waits_as_retry_after_says_and_holds_back_the_others():
    def answer(number, body):
        return Reply(status=429, headers={"Retry-After": "0.5"}) if number == 0 else Reply()

    with fake_server(answer) as fake, model_of(fake, concurrency=1) as model:
        futures = model.submit([ask(form="chat", question_id=str(n)) for n in range(2)])
        assert [f.result(30).text for f in futures] == ["an answer"] * 2
    times = [at for _, _, at in fake.calls]
    assert times[1] - times[0] >= 0.5
    assert len(times) == 3


def test_retry_after_beyond_the_limit_gives_up_and_says_so():
    with (
        fake_server(lambda n, b: Reply(status=429, headers={"Retry-After": "3600"})) as fake,
        model_of(fake) as model,
    ):
        assert "asks to wait 3600 s" in str(error_of(model))
    assert len(fake.calls) == 1


@pytest.mark.parametrize(
    "bad", [Reply(status=500), Reply(status=503), Reply(status=408), Reply(reset=True)]
)
def test_passing_faults_are_tried_again(bad):
    with (
        fake_server(lambda n, body: bad if n < 2 else Reply("late")) as fake,
        model_of(fake) as model,
    ):
        assert model.submit([ask(form="chat")])[0].result(30).text == "late"
    assert len(fake.calls) == 3


def test_time_outs_are_tried_again_then_reported():
    with fake_server(lambda n, body: Reply(sleep=0.6)) as fake:
        with model_of(fake, timeout=0.1, max_retries=1) as model:
            message = str(error_of(model))
        assert f"no answer from {fake.url} in time (tried 2 times)" in message


def test_giving_up_names_status_tries_and_the_servers_words():
    body = {"error": {"message": "the GPU is\non fire"}}
    with (
        fake_server(lambda n, b: Reply(status=500, body=body)) as fake,
        model_of(fake, max_retries=2) as model,
    ):
        error = error_of(model)
    assert isinstance(error, ModelError)
    assert not isinstance(error, FatalModelError)
    assert str(error) == f"openai:m: 500 from {fake.url} (tried 3 times): the GPU is on fire"


def test_a_bad_request_fails_itself_alone():
    body = {"error": {"message": "context length exceeded"}}

    def answer(number, sent):
        long = "long" in sent["messages"][0]["content"]
        return Reply(status=400, body=body) if long else Reply()

    with fake_server(answer) as fake, model_of(fake) as model:
        bad, good = model.submit([ask("long", form="chat"), ask("short", form="chat")])
        assert good.result(30).text == "an answer"
        assert type(bad.exception(30)) is TooLongError
    assert len(fake.calls) == 2


@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        (401, "invalid_api_key", "the server refused the key: 401"),
        (404, "model_not_found", "no such model or address: 404"),
        (429, "insufficient_quota", "will not serve this account: 429"),
    ],
)
def test_what_no_request_can_survive_is_fatal_at_once(status, code, says):
    body = {"error": {"message": "no", "code": code}}
    with (
        fake_server(lambda n, b: Reply(status=status, body=body)) as fake,
        model_of(fake) as model,
    ):
        error = error_of(model)
    assert isinstance(error, FatalModelError)
    assert says in str(error)
    assert len(fake.calls) == 1


def test_a_missing_key_names_the_variable(monkeypatch):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(FatalModelError, match="variable OPENAI_API_KEY is not set"):
        OpenAIModel("gpt")
    with pytest.raises(FatalModelError, match="variable MY_KEY is not set"):
        OpenAIModel("gpt", settings=OpenAISettings(api_key_env="MY_KEY"))


def test_the_key_is_sent_and_nowhere_shown(monkeypatch):
    monkeypatch.setenv("MY_KEY", "secret-key")
    with (
        fake_server(lambda n, body: Reply(status=401)) as fake,
        model_of(fake, api_key_env="MY_KEY") as model,
    ):
        error = error_of(model)
        assert "secret-key" not in f"{error!r} {model.fingerprint()}"
    assert fake.headers[0]["authorization"] == "Bearer secret-key"


def test_a_server_that_is_down_is_one_line_at_once():
    url = f"http://user:password@127.0.0.1:{free_port()}/v1"
    with pytest.raises(FatalModelError, match="cannot be reached") as caught:
        OpenAIModel("m", settings=OpenAISettings(base_url=url))
    assert "password" not in str(caught.value)


def test_a_server_that_goes_away_is_fatal_after_the_retries():
    with fake_server(lambda n, body: Reply()) as fake:
        settings = OpenAISettings(base_url=fake.url, max_retries=1)
        model = OpenAIModel("m", settings=settings)
    error = error_of(model)
    model.close()
    assert isinstance(error, FatalModelError)
    assert "cannot be reached" in str(error)


def test_answers_without_text_are_errors():
    refusal = {"message": {"role": "assistant", "content": None, "refusal": "I won't"}}
    bodies = [
        {"hello": "world"},
        {"choices": []},
        {"choices": [{"index": 0, "finish_reason": "stop"} | refusal]},
        ["a list"],
        {"choices": [{}]},
        {"choices": ["text"]},
        {"choices": "text"},
        {"choices": [{"message": {"content": ["in", "parts"]}, "finish_reason": "stop"}]},
    ]
    with (
        fake_server(lambda n, body: Reply(body=bodies[n])) as fake,
        model_of(fake, concurrency=1, max_retries=0) as model,
    ):
        errors = [error_of(model) for _ in bodies]
    withheld = [type(error) is WithheldError for error in errors]
    assert withheld == [number == 2 for number in range(len(bodies))]
    assert all(isinstance(e, ModelError) and not isinstance(e, FatalModelError) for e in errors)
    assert "200 without a completion; is base_url right" in str(errors[0])
    assert "I won't" in str(errors[2])


def test_an_odd_count_of_tokens_is_estimated_instead():
    said = {"message": {"role": "assistant", "content": "four"}, "finish_reason": "stop"}
    body = {"choices": [said], "usage": {"prompt_tokens": "many", "completion_tokens": 3}}
    with fake_server(lambda n, _: Reply(body=body)) as fake, model_of(fake) as model:
        done = model.submit([ask("Hi", form="chat")])[0].result(30)
    assert done.usage == Usage(prompt_tokens=1, completion_tokens=3)


def test_a_query_in_the_address_goes_with_each_request_and_its_keys_are_shown_nowhere(caplog):
    query = "?api-version=2024-10-21&api_key=pa55%2Fw0rd-1"
    echo = "pa55%2Fw0rd-1 pa55/w0rd-1"
    with fake_server(lambda n, _: Reply(echo) if n else Reply(status=500, body=echo)) as fake:
        settings = OpenAISettings(base_url=f"{fake.url}{query}", max_retries=1)
        model = OpenAIModel("m", settings=settings)
        done = model.submit([ask("Hi", form="chat")])[0].result(30)
        model.close()
    assert [path for path, _, _ in fake.calls] == [f"/v1/chat/completions{query}"] * 2
    assert done.text == "[hidden] [hidden]"
    steper = [r.getMessage() for r in caplog.records if r.name.startswith("steper")]
    assert steper
    assert "pa55" not in " ".join(steper)


@pytest.mark.parametrize(
    "url",
    ["localhost:8000/v1", "http://[::1/v1", "ftp://me:pa55@x/v1", "http://me:pa55@[::1/v1"],
)
def test_what_is_no_web_address_is_said(monkeypatch, url):
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    with pytest.raises(FatalModelError, match="was expected") as caught:
        OpenAIModel("m")
    assert "pa55" not in str(caught.value)


def test_prompts_of_the_wrong_form_are_refused():
    with fake_server(lambda n, body: Reply()) as fake, model_of(fake) as model:
        plain = model.submit([ask()])[0].exception(30)
        assert "prompt is plain, but api is 'chat'" in str(plain)
    assert fake.calls == []


def test_concurrency_is_bounded_and_used():
    with (
        fake_server(lambda n, body: Reply(sleep=0.05)) as fake,
        model_of(fake, concurrency=8) as model,
    ):
        futures = model.submit([ask(form="chat", question_id=str(n)) for n in range(40)])
        assert all(
            f.result(30).usage == Usage(prompt_tokens=7, completion_tokens=3) for f in futures
        )
    assert 4 <= fake.busiest <= 8


def test_close_cancels_at_once_and_leaves_no_thread(monkeypatch):
    before = threading.active_count()
    release = threading.Event()

    def answer(number, body):
        release.wait(5)
        return Reply()

    with fake_server(answer) as fake:
        model = OpenAIModel("m", settings=OpenAISettings(base_url=fake.url, concurrency=2))
        futures = model.submit([ask(form="chat") for _ in range(5)])
        assert futures[4].cancel()
        time.sleep(0.1)
        ends, schedule = [], model._loop.call_soon_threadsafe

        def scheduled(call, *arguments):
            if call == model._loop.stop:
                ends.append(all(f.cancelled() for f in futures))
            return schedule(call, *arguments)

        monkeypatch.setattr(model._loop, "call_soon_threadsafe", scheduled)
        start = time.monotonic()
        model.close()
        model.close()
        assert time.monotonic() - start < 2
        assert all(f.cancelled() for f in futures)
        assert ends == [True]  # a thread that ends first tells them of it, instead
        with pytest.raises(ModelError, match="closed"):
            model.submit([ask(form="chat")])
        release.set()
    for _ in range(50):  # the server's own threads end when they get to it
        if threading.active_count() <= before:
            break
        time.sleep(0.1)
    assert threading.active_count() <= before


def test_backoff_doubles_to_a_limit_and_reads_dates():
    assert openai_errors.retry_after({"retry-after-ms": "1500"}) == 1.5
    assert openai_errors.retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0
    assert openai_errors.retry_after({"retry-after": "soon"}) is None
    waits = [openai_errors.wait_before_retry(TimeoutError(), n, 600.0) for n in (0, 3, 50)]
    assert 0.015 <= waits[0] <= 0.02
    assert 0.12 <= waits[1] <= 0.16
    assert 45 <= waits[2] <= 60


@pytest.mark.parametrize(
    ("said", "long"),
    [
        ("This model's maximum context length is 4096 tokens. However, you requested 5000.", True),
        ("The input (5000 tokens) is longer than the model's context length (4096 tokens).", True),
        ("the request exceeds the available context size, try increasing it", True),
        ("prompt is too long: 210000 tokens > 200000 maximum", True),
        ("Unsupported parameter: 'temperature'", False),
        ("tokens must be a list", False),
    ],
)
def test_servers_words_for_a_prompt_without_room(said, long):
    """Of vLLM and OpenAI, SGLang, llama.cpp, Anthropic; then what has nothing to do with it."""
    reply = Reply(status=400, body={"error": {"message": said}})
    with fake_server(lambda n, body: reply) as fake, model_of(fake) as model:
        assert type(error_of(model)) is (TooLongError if long else ModelError)
