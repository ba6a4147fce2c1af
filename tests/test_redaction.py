"""Keys: nowhere in what is written or shown, whoever said them."""

import pytest

from doubles import film_questions, film_script
from retrieve.test_http_retriever import serving
from steper.artifact import check_settings
from steper.errors import InputError
from steper.lm.scripted import ScriptedModel
from steper.pipeline.plan import Stamps, Task
from steper.redaction import hider, secrets_in, without_secrets
from steper.retrieve import HttpRetriever
from steper.retrieve.opening import open_retriever
from steper.runs import teach


def test_words_that_stand_in_for_a_key_are_left_in_texts():
    text = "none EMPTY ollama password token abc-1 sk-abc12"
    assert hider(["none", "EMPTY", "ollama", "password", "token", "abc-1", ""])(text) == text
    assert hider(["sk-abc12"])(text).endswith("abc-1 [hidden]")
    assert hider(["x" * 20])({"x" * 20: ["a " + "x" * 20]}) == {"[hidden]": ["a [hidden]"]}


@pytest.mark.parametrize(
    "address", ["ftp://me:pa55@host/x", "http://me:pa55@[::1/x", "http://me:pa55@host:port/x"]
)
def test_an_address_that_is_refused_is_shown_without_its_password(address):
    with pytest.raises(InputError) as caught:
        open_retriever(address)
    assert "pa55" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://host:8000/retrieve", "http://host:8000/retrieve"),
        ("http://host/r?index=wiki&k=4", "http://host/r?index=wiki&k=4"),
        ("http://host/r?api_key=abc&index=a#top", "http://host/r?api_key=[hidden]&index=a#top"),
        ("https://host/r?a=1&access-token=x%20y", "https://host/r?a=1&access-token=[hidden]"),
        ("HTTP://host/?KEY=abc", "HTTP://host/?KEY=[hidden]"),
        ("http://host/r?code=a1&jwt=b2", "http://host/r?code=[hidden]&jwt=[hidden]"),
        ("http://host/r?country_code=fr", "http://host/r?country_code=fr"),
        ("http://me:pa%40ss@host/r", "http://[hidden]@host/r"),
        (
            "http://token@host/r?X-Amz-Signature=5f",
            "http://[hidden]@host/r?X-Amz-Signature=[hidden]",
        ),
        (
            "to 'http://a:b@h/?key=c' and http://d",
            "to 'http://[hidden]@h/?key=[hidden]' and http://d",
        ),
        ("ftp://me:1@host/x", "ftp://[hidden]@host/x"),
        ("mail me@host, key=5", "mail me@host, key=5"),
    ],
)
def test_addresses_are_shown_without_keys(address, shown):
    assert without_secrets({"corpus": [address]}) == {"corpus": [shown]}
    assert without_secrets(shown) == shown


def test_a_server_may_say_back_every_form_of_what_an_address_holds():
    hide = hider(secrets_in("http://someone1:pa%40ss-1@host/?api_key=ab%2Fcd-12&index=wikipedia18"))
    said = "someone1 pa%40ss-1 pa@ss-1 c29tZW9uZTE6cGFAc3MtMQ== ab%2Fcd-12 ab/cd-12 wikipedia18"
    assert hide(said) == " ".join(["[hidden]"] * 6) + " wikipedia18"


def test_what_was_made_with_the_key_written_down_is_known_again(tmp_path):
    old = {"url": "http://host/?key=abcdef1"}
    check_settings(tmp_path, old, without_secrets(old))


KEY = "sk-abcdef-123456"


def test_a_retrieval_servers_key_is_nowhere_in_a_run(tmp_path, caplog):
    with serving() as server:
        passage = {"document": {"id": KEY, "contents": f"Gold Rain\nHeld by {KEY}."}, "score": 1.0}
        server.replies = [lambda body: {"result": [[passage]] * len(body["queries"])}]
        address = f"{server.url}/retrieve?api_key={KEY}&index=wiki"
        retriever = HttpRetriever(address)
        model = ScriptedModel(film_script)
        inputs = {"corpus": address}
        teach(film_questions(2), "ircot", model, retriever, tmp_path / "run", inputs=inputs)
        server.replies = [(400, {}, f"{address} is refused")]
        with pytest.raises(Exception, match="the server answers 400") as caught:
            retriever.search(["x"], 1)
        retriever.close()
    assert all(path == f"/retrieve?api_key={KEY}&index=wiki" for path, _ in server.asked)
    assert KEY not in str(caught.value) + repr(retriever) + caplog.text
    for path in (tmp_path / "run").iterdir():
        assert KEY not in path.read_text()
    assert "index=wiki" in (tmp_path / "run/manifest.json").read_text()


def test_a_pipelines_record_holds_no_key(tmp_path):
    key = {"corpus": f"http://host/retrieve?key={KEY}"}
    task = Task("teach", "small", tmp_path, key, lambda *_: "")
    Stamps(tmp_path).write(task, "complete")
    assert KEY not in (tmp_path / "pipeline.json").read_text()
    assert Stamps(tmp_path).differences(task) == []
