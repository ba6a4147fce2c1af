"""Several servers of one model: who is asked, who rests, what goes on elsewhere."""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import ExitStack, contextmanager

import pytest

from doubles import FILM, DictRetriever, film_questions
from lm.asking import ask
from lm.fake_server import Reply, fake_server
from steper.cli.options import Chosen
from steper.errors import ModelError, SettingsError
from steper.lm import openai_errors
from steper.lm.base import FatalModelError
from steper.lm.model_settings import OpenAISettings
from steper.lm.openai_server import OpenAIModel
from steper.prompt.render import PromptSettings
from steper.runs import teach
from steper.strategy.ircot import IRCoT


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(openai_errors, "FIRST_WAIT", 0.1)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@contextmanager
def model_of(*urls, **settings):
    settings = {"continuation": "none", "max_retries": 3, **settings}
    model = OpenAIModel("m", settings=OpenAISettings(base_url=urls, **settings))
    try:
        yield model
    finally:
        model.close()


@contextmanager
def servers(*answers):
    with ExitStack() as stack:
        yield [stack.enter_context(fake_server(answer)) for answer in answers]


def asked(fake):
    """The questions in the order in which a server was asked them."""
    return [body["messages"][-1]["content"] for _, body, _ in fake.calls]


def answers(model, names):
    requests = [ask(name, question_id=name, form="chat") for name in names]
    return [future.result(30).text for future in model.submit(requests)]


def slow(seconds=0.05):
    return lambda n, body: Reply(body["messages"][-1]["content"], sleep=seconds)


def test_questions_are_shared_and_each_stays_with_its_server():
    names = [f"q{n}" for n in range(24)]
    with (
        servers(slow(), slow(), slow()) as fakes,
        model_of(*(f.url for f in fakes)) as model,
    ):
        for _ in range(3):
            assert answers(model, names) == names
    for fake in fakes:
        assert set(Counter(asked(fake)).values()) == {3}
        assert len(set(asked(fake))) == 8


def test_the_least_busy_server_gets_the_next_question():
    names = [f"q{n}" for n in range(40)]
    with (
        servers(slow(0.02), slow(0.4)) as (quick, idle),
        model_of(quick.url, idle.url, concurrency=8) as model,
    ):
        assert answers(model, names) == names
    assert len(quick.calls) > 2 * len(idle.calls) > 0


def test_a_server_that_dies_in_the_middle_is_left_and_its_questions_go_on_elsewhere():
    names = [f"q{n}" for n in range(20)]
    dead = threading.Event()

    def dying(n, body):
        if n == 6:
            dead.set()
        return Reply(reset=True) if dead.is_set() else slow(0.02)(n, body)

    with (
        servers(dying, slow(0.02)) as (first, second),
        model_of(first.url, second.url, concurrency=4) as model,
    ):
        for _ in range(3):
            assert answers(model, names) == names
        moved = set(names) - set(asked(second))
        assert not moved  # all are asked there in the end
        # Those under way as it died, and then one at a time.
        assert len(first.calls) < 6 + 4 + 6


def test_a_server_that_is_gone_for_good_is_tried_ever_more_rarely(caplog):
    with fake_server(slow(0.0)) as second:
        with fake_server(slow(0.0)) as first:
            model = OpenAIModel(
                "m", settings=OpenAISettings(base_url=[first.url, second.url], continuation="none")
            )
        for n in range(10):
            assert answers(model, [f"q{n}"]) == [f"q{n}"]
            time.sleep(0.1)
        model.close()
    rests = [r.getMessage() for r in caplog.records if "rests for" in r.getMessage()]
    assert 2 <= len(rests) <= 5
    assert first.url in rests[0]


def test_a_server_that_is_busy_for_a_while_rests_and_is_then_asked_again():
    until = time.monotonic() + 0.8

    def busy(n, body):
        away = time.monotonic() < until
        return Reply(status=503, body={"error": {"message": "loading"}}) if away else Reply("b")

    with (
        servers(busy, lambda n, body: Reply("a", sleep=0.01)) as (first, second),
        model_of(first.url, second.url) as model,
    ):
        names = iter(range(10_000))
        while time.monotonic() < until - 0.4:  # none is under way when it is well again
            assert answers(model, [f"q{next(names)}" for _ in range(8)]) == ["a"] * 8
        refused = len(first.calls)
        assert refused < 16  # the eight that came first, then one after each rest
        time.sleep(1.3)
        found = Counter(answers(model, [f"q{next(names)}" for _ in range(8)]))
        assert found["b"] >= 1
        found += Counter(answers(model, [f"q{next(names)}" for _ in range(32)]))
        assert found["b"] >= 8  # least busy: half of them, where the machine has time


def test_a_server_that_asks_to_wait_is_left_alone_so_long():
    def limited(n, body):
        return Reply(status=429, headers={"retry-after": "0.7"}) if n == 0 else Reply("b")

    with (
        servers(limited, lambda n, body: Reply("a")) as (first, second),
        model_of(first.url, second.url, concurrency=1) as model,
    ):
        start = time.monotonic()
        while time.monotonic() < start + 0.5:
            assert answers(model, [f"q{time.monotonic()}"]) == ["a"]
        assert len(first.calls) == 1
        time.sleep(0.4)
        assert "b" in answers(model, ["x", "y"])


def test_what_is_wrong_with_the_request_itself_is_not_asked_elsewhere():
    def refuses(n, body):
        return Reply(status=400, body={"error": {"message": "too long"}})

    with servers(refuses, refuses) as fakes, model_of(*(f.url for f in fakes)) as model:
        error = model.submit([ask(form="chat")])[0].exception(30)
    assert sum(len(f.calls) for f in fakes) == 1
    assert "400" in str(error)
    assert not isinstance(error, FatalModelError)


def test_only_what_holds_at_every_server_is_fatal():
    def keyless(n, body):
        return Reply(status=401, body={"error": {"message": "bad key"}})

    def busy(n, body):
        return Reply(status=503)

    def error_with(*which):
        with servers(*which) as fakes, model_of(*(f.url for f in fakes), max_retries=1) as model:
            return model.submit([ask(form="chat")])[0].exception(30)

    assert isinstance(error_with(keyless, keyless), FatalModelError)
    assert type(error_with(keyless, busy)) is ModelError
    with (
        servers(keyless, slow()) as fakes,
        model_of(*(f.url for f in fakes)) as model,
    ):
        assert answers(model, ["a", "b", "c"]) == ["a", "b", "c"]


def test_all_servers_down_for_a_while_is_waited_out():
    until = time.monotonic() + 0.6

    def away(n, body):
        return Reply(status=503) if time.monotonic() < until else Reply("x")

    with servers(away, away) as fakes, model_of(*(f.url for f in fakes)) as model:
        assert answers(model, ["a", "b", "c", "d"]) == ["x"] * 4


LLAMA = {"data": [{"id": "a.gguf", "meta": {"n_params": 7}}]}


@pytest.mark.parametrize(
    ("listed", "says"),
    [
        ((("m",), ("other",)), "serves 'other', not 'm'; all addresses in base_url must serve one"),
        ((("other",), ("m",)), "serves 'other', not 'm'"),
        ((("m",), ()), "serves nothing, not 'm'"),
        ((("m",), {"detail": "Not Found"}), "does not say at /models what it serves"),
        ((("x",), ("y",)), "serves another model than"),
        (
            ({"data": [{"id": "m", "max_model_len": 8}]}, ("m",)),
            "{'max_model_len': None, 'meta': None}, not {'max_model_len': 8",
        ),
        ((LLAMA, {"data": [{"id": "a.gguf", "meta": {"n_params": 8}}]}), "serves another model"),
    ],
)
def test_servers_of_different_models_are_refused_at_the_start(listed, says):
    with ExitStack() as stack:
        fakes = [stack.enter_context(fake_server(slow(), models=m)) for m in listed]
        with pytest.raises(FatalModelError) as error, model_of(*(f.url for f in fakes)):
            pass
    assert says in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    assert not any(f.calls for f in fakes)


@pytest.mark.parametrize("listed", [LLAMA, ("m", "n")])
def test_servers_of_one_model_are_taken(listed):
    with ExitStack() as stack:
        fakes = [stack.enter_context(fake_server(slow(), models=listed)) for _ in range(2)]
        with model_of(*(f.url for f in fakes)) as model:
            assert answers(model, ["a"]) == ["a"]


def test_a_server_that_is_down_at_the_start_is_refused():
    with fake_server(slow()) as gone:
        pass
    with fake_server(slow()) as fake, pytest.raises(FatalModelError, match="cannot be reached"):
        OpenAIModel("m", settings=OpenAISettings(base_url=[fake.url, gone.url]))


def test_an_address_that_comes_twice_is_refused():
    with fake_server(slow()) as fake, pytest.raises(FatalModelError, match="twice"):
        OpenAIModel("m", settings=OpenAISettings(base_url=[fake.url, f"{fake.url}/"]))
    with pytest.raises(FatalModelError, match="base_url names no server"):
        OpenAIModel("m", settings=OpenAISettings(base_url=[]))


def test_servers_that_continue_turns_in_different_ways_are_refused():
    def closes(n, body):  # each message costs its words, and each closed turn one more
        counted = sum(len(m["content"].split()) for m in body["messages"]) + 2 * len(
            body["messages"]
        )
        return Reply(usage={"prompt_tokens": counted, "completion_tokens": 1})

    def goes_on(n, body):
        counted = sum(len(m["content"].split()) for m in body["messages"]) + 2
        return Reply(usage={"prompt_tokens": counted, "completion_tokens": 1})

    with (
        servers(goes_on, closes) as fakes,
        model_of(*(f.url for f in fakes), continuation="auto") as model,
        pytest.raises(ModelError, match=r"do not continue an .*\(last_message, none\)"),
    ):
        model.continues_turns()


TEXTS = ["Gold Rain was directed by Ann Lee.", "So the answer is: 1950."]


def film(n, body):
    """Two steps, told apart by the reasoning that the prompt shows."""
    return Reply(TEXTS["Ann Lee." in body["messages"][-1]["content"].rpartition("\n\n")[2]])


def run(out, *urls, answer=None):
    with model_of(*urls, max_retries=0) as model:
        return teach(
            film_questions(12),
            IRCoT(None, PromptSettings(demos=0)),
            model,
            DictRetriever(FILM),
            out,
        )


def test_a_run_goes_on_with_another_number_of_servers(tmp_path):
    calls = iter(range(1000))

    def breaks(n, body):
        return film(n, body) if next(calls) < 9 else Reply(status=401)

    with servers(breaks, breaks) as (first, second), pytest.raises(FatalModelError):
        run(tmp_path / "r", first.url, second.url)
    with servers(film, film, film) as fakes:
        done = run(tmp_path / "r", *(f.url for f in fakes))
        again = sum(len(f.calls) for f in fakes)
    with servers(film) as (one,):
        whole = run(tmp_path / "whole", one.url)
        assert again == len(one.calls) - 9
    names = [(r.path / "trajectories.jsonl").read_bytes() for r in (done, whole)]
    assert names[0] == names[1]
    assert done.manifest["counts"]["answered"] == 12


def test_one_address_or_a_list_may_be_set(tmp_path):
    assert OpenAISettings(base_url="http://a/v1").base_url == ("http://a/v1",)
    config = tmp_path / "c.yaml"
    config.write_text("openai:\n  base_url: [http://a/v1, http://b/v1]\n")
    chosen = Chosen(["openai"], config, None)
    assert chosen.settings("openai", OpenAISettings).base_url == ("http://a/v1", "http://b/v1")
    config.write_text("openai:\n  base_url: [http://a/v1, ftp://b]\n")
    with pytest.raises(SettingsError, match="base_url is 'ftp://b'; it must start with http://"):
        Chosen(["openai"], config, None).settings("openai", OpenAISettings)
