"""A judge of two runs: both orders, what cannot be read, resuming, agreement that is known."""

from __future__ import annotations

import json

import pytest

import steper
from doubles import FILM, DictRetriever
from examples.runs import IRCOT, Case, question, run_case
from lm.fake_server import Reply, fake_server
from steper.cli.main import run as run_command
from steper.errors import InputError, ModelError, SettingsError
from steper.evaluation.scoring import score_run
from steper.examples.build import build_examples
from steper.examples.example_settings import ExampleSettings
from steper.judging.judge import JudgeSettings, judge, read_verdict
from steper.judging.pairs import ABILITIES, RUBRICS
from steper.lm.base import FatalModelError
from steper.lm.scripted import ScriptedModel
from steper.prompt.render import PromptSettings
from steper.runs import Run, teach
from steper.strategy.one_shot import OneShot

N = 40
WORSE = 20
"""The first so many questions b answers wrong; the others are as good, in other words."""

REWORDED = ("Gold Rain was directed by one Ann Lee.", "Ann Lee, then, was born in 1950.")

BARE = PromptSettings(instruction=False, demos=0)
AGGREGATION = JudgeSettings(abilities=("aggregation",))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    asked = [question(i) for i in range(N)]
    ends = ("So the answer is: 1949.", "Hence the answer is: 1950.")
    said = {f"q{i}": [*REWORDED, ends[i >= WORSE]] for i in range(N)}
    a, _ = run_case(Case("ircot", IRCOT, {}), folder / "a", BARE, questions=asked)
    b, _ = run_case(Case("ircot", IRCOT, {}), folder / "b", BARE, questions=asked, texts=said)
    return {"a": a.path, "b": b.path}


def oracle(verdicts):
    """A judge that says of each question's number whether a (1), b (-1) or neither is better."""

    def say(request):
        said = verdicts(int(request.question_id[1:]))
        place = ("tie", "first", "second")[-said if request.sample % 2 else said]
        return f"I weighed both.\nVerdict: {place}"

    return ScriptedModel(say)


def by_gold(number):
    return int(number < WORSE)


def test_kappa_of_a_judge_that_errs_at_a_known_rate(runs, tmp_path):
    """It errs on 5 of the 20 that a has right alone, and on 4 of the 20 that are equal."""

    def errs(number):
        if number < 5:
            return -1
        return 1 if WORSE <= number < WORSE + 4 else by_gold(number)

    (line,) = judge(runs, oracle(errs), tmp_path / "j", AGGREGATION).abilities
    assert (line.n, line.wins, line.losses, line.ties) == (N, 15 + 4, 5, 16)
    assert line.difference.value == pytest.approx(14 / 40)
    agreed, chance = 31 / 40, (20 * 19 + 20 * 16 + 0 * 5) / 40**2
    assert line.gold.n == N
    assert line.gold.agreed == pytest.approx(agreed)
    assert line.gold.kappa == pytest.approx((agreed - chance) / (1 - chance)) == pytest.approx(0.6)
    assert line.gold.low < 0.6 < line.gold.high
    assert (line.same, line.first, line.unreadable, line.failed) == (1, 0.5, 0, 0)


def test_a_judge_that_says_what_gold_says_agrees_with_it(runs, tmp_path):
    (line,) = judge(runs, oracle(by_gold), tmp_path / "j", AGGREGATION).abilities
    assert (line.gold.kappa, line.gold.agreed) == (1, 1)
    assert line.p_value < 0.001
    swapped = dict(reversed(runs.items()))
    (back,) = judge(swapped, oracle(lambda n: -by_gold(n)), tmp_path / "k", AGGREGATION).abilities
    assert (back.wins, back.losses) == (line.losses, line.wins)
    assert back.gold.kappa == 1


def test_a_judge_with_a_favourite_place_prefers_nobody(runs, tmp_path):
    first = ScriptedModel(lambda request: "**Verdict:** First")
    found = judge(runs, first, tmp_path / "j")
    for line in found.abilities:
        assert (line.wins, line.losses, line.ties) == (0, 0, N)
        assert (line.same, line.first) == (0, 1)
    assert found.abilities[-1].gold.kappa == 0
    assert found.abilities[0].gold.kappa is None  # nobody can tell it from chance


def test_what_cannot_be_read_leaves_its_question_out_and_is_counted(runs, tmp_path):
    def say(request):
        return "Hard to say." if request.question_id == "q3" and request.sample % 2 else "tie"

    found = judge(runs, ScriptedModel(say), tmp_path / "j")
    assert [(one.n, one.unreadable, one.asked) for one in found.abilities] == [
        (N - 1, 1, 2 * N)
    ] * 3
    assert [one.p_holm for one in found.abilities] == [1, 1, 1]


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("Verdict: first", "first"),
        ("The first is odd.\n\n**Verdict**: *Second*.", "second"),
        ("Verdict: first, if … no.\nVerdict: tie", "tie"),
        ("verdict - TIE", "tie"),
        ("Second", "second"),
        (" **first**. ", "first"),
        ("The first one is better.", ""),
        ("Verdict: firstly, both", ""),
        ("Verdict: A", ""),
        ("", ""),
    ],
)
def test_verdicts_are_read(text, verdict):
    assert read_verdict(text) == verdict


def test_both_orders_are_asked_with_the_same_words(runs, tmp_path):
    asked = {}

    def say(request):
        asked[request.sample] = request.prompt.text()
        return "tie"

    judge(runs, ScriptedModel(say), tmp_path / "j", JudgeSettings(questions=1, seed=3))
    assert sorted(asked) == [0, 1, 2, 3, 4, 5]
    for one, other in ((0, 1), (2, 3), (4, 5)):
        head, first, second = _parts(asked[one])
        assert _parts(asked[other]) == (head, second, first)
    (number,) = [q.id for q in Run(tmp_path / "j").questions()]
    _, begins, _ = _parts(asked[0])
    assert begins == f"[Gold Rain] {FILM['Gold Rain']}\nSays: {IRCOT[0]}"
    _, goes_on, _ = _parts(asked[2])
    assert goes_on.startswith(f"Said before: {IRCOT[0]}\n[Gold Rain]")
    assert goes_on.endswith(f"Says: {IRCOT[1]}")
    head, ends, other = _parts(asked[4])
    assert ends.endswith(f"Says: {IRCOT[2]}\nAnswer: 1950")
    assert "Right answer: 1950" in head
    assert ("Answer: 1949" in other) == (int(number[1:]) < WORSE)


def _parts(text):
    head, _, rest = text.removesuffix("\n\nWhy: ").partition("\n\n# First\n")
    first, _, second = rest.partition("\n\n# Second\n")
    return head, first, second


def test_what_is_shown_twice_alike_is_a_tie_and_not_asked(runs, tmp_path):
    """Like a in all but the last step of the first questions."""
    texts = {f"q{i}": [*IRCOT[:2], "So the answer is: 1949."] for i in range(WORSE)}
    asked = [question(i) for i in range(N)]
    like, _ = run_case(Case("ircot", IRCOT, {}), tmp_path / "c", BARE, questions=asked, texts=texts)
    calls = []

    def say(request):
        calls.append(request)
        return "Verdict: second" if request.sample % 2 else "Verdict: first"

    both = {"a": runs["a"], "c": like.path}
    found = judge(both, ScriptedModel(say), tmp_path / "j")
    assert len(calls) == 2 * WORSE
    assert [(one.n, one.ties, one.alike, one.asked) for one in found.abilities] == [
        (N, N, N, 0),
        (N, N, N, 0),
        (N, N - WORSE, N - WORSE, 2 * WORSE),
    ]
    last = found.abilities[-1]
    assert last.difference.value == pytest.approx(WORSE / N)
    assert (last.same, last.gold.n) == (1, WORSE)
    with pytest.raises(InputError, match="a and again show the same on every"):
        judge({"a": runs["a"], "again": runs["a"]}, ScriptedModel(say), tmp_path / "k")


def test_who_answers_at_once_shows_no_expansion(runs, tmp_path):
    asked = [question(i) for i in range(3)]
    model = ScriptedModel(lambda request: " ".join(IRCOT))
    at_once = teach(asked, OneShot(None, BARE), model, DictRetriever(FILM), tmp_path / "c")
    both = {"a": runs["a"], "c": at_once.path}
    found = judge(both, ScriptedModel(lambda request: "tie"), tmp_path / "j")
    assert [one.n for one in found.abilities] == [3, 0, 3]
    line = found.abilities[1]
    assert (line.difference, line.p_value, line.p_holm, line.same, line.gold) == (None,) * 5
    only = JudgeSettings(abilities=("expansion",))
    with pytest.raises(InputError, match="a and c: no question on which both show expansion"):
        judge(both, oracle(by_gold), tmp_path / "k", only)
    assert not (tmp_path / "k").exists()


def test_what_was_judged_is_not_asked_again(runs, tmp_path):
    calls = []

    def dies(request):
        calls.append((request.question_id, request.sample))
        if len(calls) == 30:
            raise FatalModelError("the key was refused")
        return "tie"

    out = tmp_path / "j"
    with pytest.raises(FatalModelError):
        judge(runs, ScriptedModel(dies), out, in_flight=1)
    found = judge(runs, ScriptedModel(dies), out, in_flight=1)
    assert len(calls) == 6 * N + 1  # the one that broke it off is asked again
    whole = judge(runs, ScriptedModel(lambda request: "tie"), tmp_path / "whole")
    assert found == whole
    judge(runs, ScriptedModel(dies), out)
    assert len(calls) == 6 * N + 1


def test_a_changed_verdict_is_told_when_it_is_counted_again(runs, tmp_path, caplog):
    out = tmp_path / "j"
    judge(runs, ScriptedModel(lambda request: "tie"), out)
    verdicts = out / "trajectories.jsonl"
    verdicts.write_text(verdicts.read_text().replace('"tie"', '"first"', 1))
    judge(runs, ScriptedModel(lambda request: "tie"), out)
    assert "j/trajectories.jsonl: changed since it was written" in caplog.text


def test_failed_verdicts_are_counted_and_asked_for_again(runs, tmp_path):
    def fails(request):
        if request.question_id == "q1":
            raise ModelError("busy")
        return "tie"

    out = tmp_path / "j"
    (line,) = judge(runs, ScriptedModel(fails), out, AGGREGATION).abilities
    assert (line.n, line.failed, line.unreadable) == (N - 1, 2, 0)
    calm = ScriptedModel(lambda request: "tie")
    (line,) = judge(runs, calm, out, AGGREGATION, retry_failed=True).abilities
    assert (line.n, line.failed) == (N, 0)


def test_other_settings_or_runs_are_refused(runs, tmp_path):
    out, calm = tmp_path / "j", ScriptedModel(lambda request: "tie")
    judge(runs, calm, out, AGGREGATION)
    with pytest.raises(SettingsError, match=r"judge\.abilities"):
        judge(runs, calm, out)
    with pytest.raises(SettingsError, match="judged"):
        judge(dict(reversed(runs.items())), calm, out, AGGREGATION)
    with pytest.raises(InputError, match="compares two runs; 1 are named"):
        judge({"a": runs["a"]}, calm, tmp_path / "k")


def test_a_window_that_is_small_shortens_passages_or_drops(runs, tmp_path):
    def windowed(tokens):
        model = ScriptedModel(lambda request: "tie")
        model.context_window, model.count_tokens = tokens, lambda text: len(text.split())
        return model

    settings = JudgeSettings(abilities=("aggregation",), max_tokens=16, questions=2)
    (line,) = judge(runs, windowed(500), tmp_path / "j", settings).abilities
    assert line.n == 2
    found = judge(runs, windowed(100), tmp_path / "k", settings)
    assert (found.abilities[0].n, found.abilities[0].failed) == (0, 4)
    errors = Run(tmp_path / "k").manifest["counts"]["errors"]
    assert set(errors) == {"no_room"}


def test_verdicts_are_no_run(runs, tmp_path):
    out = tmp_path / "j"
    judge(runs, oracle(by_gold), out, AGGREGATION)
    with pytest.raises(InputError, match="a judge's verdicts, not answers"):
        score_run(out)
    with pytest.raises(InputError, match="a judge's verdicts"):
        build_examples(out, ExampleSettings())


def test_the_command_asks_a_server_and_says_what_its_verdicts_are_worth(runs, tmp_path, capsys):
    def answer(number, body):
        text = body["messages"][-1]["content"]
        first, second = text.split("# Second")
        if "# First" not in first:  # the probe at the start
            return Reply("x")
        right = ["Answer: 1950" in part for part in (first.split("# First")[1], second)]
        said = "tie" if right[0] == right[1] else "first" if right[0] else "second"
        return Reply(f"Because.\nVerdict: {said}")

    out = tmp_path / "j"
    with fake_server(answer) as server:
        line = ["judge", f"x={runs['a']}", f"y={runs['b']}", "--out", str(out)]
        line += ["--model", "openai:m", "--base-url", f"{server.url}/v1"]
        line += ["--ability", "aggregation"]
        assert run_command(line) == 0
        shown = capsys.readouterr().out
        calls = len(server.calls)
        assert run_command([*line, "--json"]) == 0
        assert len([c for c in server.calls[calls:] if "# First" in str(c)]) == 0
    assert "1.00 [1.00, 1.00] of 40" in shown
    assert "+50.0" in shown
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((out / "preferences.json").read_text())
    assert (printed["a"], printed["b"]) == ("x", "y")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--ability", "agregation"], "unknown ability 'agregation'; did you mean aggregation"),
        (["--questions", "0"], "--questions is 0; at least 1 was expected"),
        (["--max-tokens", "0"], "--max-tokens is 0"),
        (["--model", "openai:m"], "the environment variable OPENAI_API_KEY is not set"),
        (["--model", "gold"], "gold annotations weigh nothing; name a language model as the judge"),
    ],
)
def test_wrong_options_are_one_line(more, said, runs, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    line = ["judge", *map(str, runs.values()), "--out", str(tmp_path / "j")]
    line += [] if "--model" in more else ["--model", "builtins:len"]
    assert run_command([*line, *more]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "j").exists()


def test_abilities_have_rubrics():
    assert set(ABILITIES) == {"initialization", "expansion", "aggregation"} == set(RUBRICS)
    assert len(set(RUBRICS.values())) == 3


def test_from_python_with_a_function_as_the_judge(runs, tmp_path):
    found = steper.judge(runs, lambda request: "tie", tmp_path / "j", {"questions": 2})
    assert [one.ties for one in found.abilities] == [2, 2, 2]
    assert "a − b" in repr(found)
    assert "κ with gold facts" in found._repr_html_()
