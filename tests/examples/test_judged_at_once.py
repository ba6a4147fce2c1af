"""A judge that `build` asks many things at once, at a real server: the same comes of it."""

import signal
import subprocess
import sys
import threading

import pytest
import yaml
from runs import CASES, IRCOT, question, run_case

from lm.fake_server import Reply, fake_server
from steper.cli.main import run as command
from steper.lm.judge import read_word
from steper.prompt.render import PromptSettings
from steper.store import read_json, write_json

BARE = PromptSettings(instruction=False, demos=0)
COUNT = 12

HOW = {
    "answer": (["--judged", "answer"], "yes", "no"),
    "steps": (["--judged", "steps"], "yes", "no"),
    "labels": (["--recipe", "con", "--labels", "judge"], "full", "none"),
}
"""Options, and what the judge says of most things and of some."""


@pytest.fixture
def run(tmp_path):
    asked = [question(n, f"When was the director of Gold Rain born, {n}?") for n in range(COUNT)]
    texts = {q.id: [f"{IRCOT[0][:-1]}, says {q.id}.", *IRCOT[1:]] for q in asked}
    return run_case(CASES["ircot"], tmp_path / "run", BARE, "chat", asked, texts)[0].path


def build(run, server, out, *options):
    """The arguments of a build whose judge is at that server."""
    config = out.with_suffix(".yaml")
    config.write_text(yaml.safe_dump({"openai": {"base_url": server.url, "max_retries": 0}}))
    return [
        *("build", str(run), "--out", str(out), "--judge", "openai:m", "--config", str(config)),
        *options,
    ]


def asked_in(call):
    return call[1]["messages"][-1]["content"]


def made(out):
    return (out / "examples.jsonl").read_bytes(), read_json(out / "manifest.json")["counts"]


@pytest.mark.parametrize("how", HOW)
def test_many_are_asked_at_once_and_the_same_comes_of_it(how, run, tmp_path):
    options, most, some = HOW[how]
    together = threading.Barrier(8, timeout=30)

    def says(number, body):
        text = body["messages"][-1]["content"]
        return Reply(some if ", 3?" in text or "Passage: Oslo" in text else most)

    def at_once(number, body):
        if number < 8:
            together.wait()  # none of the first eight is answered before all are there
        return says(number, body)

    with fake_server(at_once) as many:
        assert command(build(run, many, tmp_path / "many", *options, "--in-flight", "8")) == 0
    with fake_server(says) as one:
        assert command(build(run, one, tmp_path / "one", *options, "--in-flight", "1")) == 0
    assert (many.busiest, one.busiest) == (8, 1)
    assert sorted(map(asked_in, many.calls)) == sorted(map(asked_in, one.calls))
    assert len({*map(asked_in, one.calls)}) == len(one.calls) >= COUNT
    assert made(tmp_path / "many") == made(tmp_path / "one")


def test_a_failing_server_is_one_line_and_what_was_answered_is_not_asked_again(
    run, tmp_path, capsys
):
    together = threading.Barrier(4, timeout=30)

    def fails(number, body):
        if number < 4:
            together.wait()
        # The third of those under way fails; the others, later than it, are paid for.
        return (
            Reply(status=400, body={"error": {"message": "no such luck"}})
            if number == 2
            else (Reply("yes", sleep=0.3))
        )

    out = tmp_path / "out"
    with fake_server(fails) as server:
        arguments = build(run, server, out, "--judged", "answer", "--in-flight", "4")
        assert command(arguments) == 2
        assert len(server.calls) == 4
    error = capsys.readouterr().err
    assert (error.count("\n"), "400" in error, "no such luck" in error) == (1, True, True)
    with fake_server(lambda *_: Reply("yes")) as again:
        assert command(build(run, again, out, "--judged", "answer", "--in-flight", "4")) == 0
    assert len(again.calls) == COUNT - 3
    assert len({asked_in(call) for call in (*server.calls, *again.calls)}) == COUNT
    assert made(out)[1]["judge"]["calls"] == COUNT


@pytest.fixture
def heeded():
    """SIGINT as a terminal's: jobs in the background ignore it, with their children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeded")
@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_build_ends_at_once_and_goes_on(kind, run, tmp_path):
    out, hang, answered = tmp_path / "out", threading.Event(), threading.Event()

    def answers_some(number, body):
        if number >= 4:
            answered.set()  # the first four were answered, or these were not asked
            hang.wait(30)
        return Reply("yes")

    with fake_server(answers_some) as server:
        arguments = build(run, server, out, "--judged", "answer", "--in-flight", "4")
        process = subprocess.Popen(
            [sys.executable, "-m", "steper", *arguments], stderr=subprocess.PIPE, text=True
        )
        while not (answered.wait(0.1) and len(server.calls) == 8):
            assert process.poll() is None
        process.send_signal(kind)
        try:
            error = process.communicate(timeout=20)[1]
        finally:
            process.kill()
            hang.set()
    assert process.returncode == 130
    assert error == "steper: interrupted; the same command goes on from here\n"
    with fake_server(lambda *_: Reply("yes")) as again:
        assert command(build(run, again, out, "--judged", "answer", "--in-flight", "4")) == 0
    assert len(again.calls) == COUNT - 4


def test_a_server_that_asks_to_wait_is_waited_for(run, tmp_path):
    def busy(number, body):
        return Reply(status=429, headers={"retry-after-ms": "300"}) if number == 1 else Reply("yes")

    out = tmp_path / "out"
    with fake_server(busy) as server:
        arguments = build(run, server, out, "--judged", "answer", "--in-flight", "1")
        out.with_suffix(".yaml").write_text(yaml.safe_dump({"openai": {"base_url": server.url}}))
        assert command(arguments) == 0
    times = [at for _, _, at in server.calls]
    assert len(times) == COUNT + 1
    assert times[2] - times[1] >= 0.3
    assert made(out)[1]["kept"] == COUNT


def test_what_a_server_withholds_leaves_out_what_it_was_asked_about(run, tmp_path, caplog):
    """Else the same build would end there each time."""

    def withholds(number, body):
        own = ", 3?" in body["messages"][-1]["content"]
        return Reply("", finish="content_filter") if own else Reply("yes")

    with fake_server(withholds) as server:
        assert command(build(run, server, tmp_path / "out", "--judged", "answer")) == 0
    counts = made(tmp_path / "out")[1]
    assert (counts["kept"], counts["dropped"]) == (COUNT - 1, {"judge_unreadable": 1})
    assert "withheld the text: finish_reason content_filter" in caplog.text


def test_what_is_too_long_for_a_judge_is_left_out_and_asked_again(run, tmp_path, caplog):
    """Also where it is the first that is asked: nothing was paid for it."""
    said = "This model's maximum context length is 4096 tokens. However, you requested 5000."

    def refuses(number, body):
        long = ", 0?" in body["messages"][-1]["content"]
        return Reply(status=400, body={"error": {"message": said}}) if long else Reply("yes")

    with fake_server(refuses) as server:
        arguments = build(run, server, tmp_path / "out", "--judged", "answer", "--in-flight", "1")
        assert command(arguments) == 0
    counts = made(tmp_path / "out")[1]
    assert (counts["kept"], counts["dropped"]) == (COUNT - 1, {"judge_unreadable": 1})
    assert counts["judge"]["calls"] == COUNT - 1
    assert said in caplog.text


def test_a_key_that_a_server_repeats_is_written_nowhere(run, tmp_path, capsys, monkeypatch):
    key = "sk-0123456789abcdef"
    monkeypatch.setenv("OPENAI_API_KEY", key)

    def repeats(number, body):
        error = {"error": {"message": f"what is {key}?"}}
        return Reply(f"yes, by {key}") if number < 3 else Reply(status=400, body=error)

    with fake_server(repeats) as server:
        arguments = build(run, server, tmp_path / "out", "--judged", "answer", "--in-flight", "1")
        assert command(arguments) == 2
    assert "what is [hidden]?" in (error := capsys.readouterr().err)
    assert key not in error
    (journal,) = tmp_path.glob(".out*/verdicts.jsonl")
    assert journal.read_text().count("yes, by [hidden]") == 3
    assert key not in journal.read_text()


def test_a_judge_that_is_never_understood_is_not_paid_to_the_end(
    run, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("steper.examples.build_counts.MANY", 3)
    with fake_server(lambda *_: Reply("Let me think.")) as server:
        arguments = build(run, server, tmp_path / "out", "--judged", "answer", "--in-flight", "1")
        assert command(arguments) == 2
        asked = len(server.calls)
        assert command(arguments) == 2
    assert asked < COUNT
    assert "none of what was asked for" in capsys.readouterr().err


def test_room_for_a_verdict_can_be_set(run, tmp_path):
    with fake_server(lambda *_: Reply("yes")) as server:
        arguments = build(run, server, tmp_path / "out", "--judged", "answer")
        assert command([*arguments, "--max-tokens", "2000"]) == 0
    assert {body["max_tokens"] for _, body, _ in server.calls} == {2000}
    assert read_json(tmp_path / "out/manifest.json")["settings"]["judge"]["max_tokens"] == 2000


def test_a_judge_of_its_own_work_is_told(run, tmp_path, caplog):
    manifest = read_json(run / "manifest.json")
    manifest["settings"]["model"] = {"kind": "openai", "model": "m"}
    write_json(run / "manifest.json", manifest)
    with fake_server(lambda *_: Reply("yes")) as server:
        assert command(build(run, server, tmp_path / "out", "--judged", "answer")) == 0
    assert "openai:m is to judge" in caplog.text


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("Yes.", "yes"),
        ("**Answer:** No, as the passages say otherwise", "no"),
        ("Verdict - yes", "yes"),
        ("`no`", "no"),
        ("yes—because", "yes"),
        ("Not at all", ""),
        ("I would say yes", ""),
        ("", ""),
    ],
)
def test_the_word_that_a_verdict_begins_with(text, word):
    assert read_word(text, ("yes", "no")) == word
