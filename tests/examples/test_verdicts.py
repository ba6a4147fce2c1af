"""What a judge was paid for is kept: the same build asks nothing again."""

import pytest
from runs import CASES, question, run_case

from steper.errors import InputError, ModelError
from steper.examples.build import build_examples
from steper.examples.example_folder import write_examples
from steper.examples.example_settings import ExampleSettings
from steper.examples.filters import FilterSettings
from steper.lm.base import Completion
from steper.lm.function import FunctionModel
from steper.prompt.render import PromptSettings
from steper.records import Usage
from steper.store import read_json

BARE = PromptSettings(instruction=False, demos=0)
COST = Usage(prompt_tokens=40, completion_tokens=2, dollars=0.5)


@pytest.fixture
def run(tmp_path):
    questions = [question(n, f"When was the director of Gold Rain born, {n}?") for n in range(6)]
    return run_case(CASES["ircot"], tmp_path / "run", BARE, "chat", questions)[0]


class Judge:
    """Answers as told; counts its calls, and breaks down at one of them."""

    def __init__(self, answer="yes", fails_at=None, form="chat"):
        self.answer, self.fails_at, self.asked, self.form = answer, fails_at, 0, form

    def __call__(self, request):
        self.asked += 1
        if self.asked == self.fails_at:
            raise ModelError("the server went away")
        return Completion(text=self.answer, usage=COST)


def built(run, judge, out, overwrite=False, recipe="steper", labels="auto", judged="answer"):
    filters = FilterSettings(judged=judged)
    settings = ExampleSettings(recipe=recipe, labels=labels)
    lm = FunctionModel(judge, form=judge.form)
    return write_examples(
        build_examples(run, settings, filters, judge=lm), out, overwrite=overwrite
    )


@pytest.mark.parametrize(
    "how", [{}, {"recipe": "con", "labels": "judge", "judged": "none"}], ids=["filter", "labels"]
)
def test_the_same_command_asks_nothing_again(how, run, tmp_path):
    answer = "full" if how else "yes"
    whole = Judge(answer)
    counts = built(run, whole, tmp_path / "whole", **how).counts.judge
    out = tmp_path / "out"
    with pytest.raises(ModelError, match="went away"):
        built(run, first := Judge(answer, fails_at=2), out, **how)
    assert not out.exists()
    built(run, second := Judge(answer), out, **how)
    assert first.asked - 1 + second.asked == whole.asked
    assert read_json(out / "manifest.json")["counts"]["judge"] == counts
    assert counts == {
        "calls": whole.asked,
        "prompt_tokens": 40 * whole.asked,
        "completion_tokens": 2 * whole.asked,
        "dollars": 0.5 * whole.asked,
    }
    same = [(tmp_path / name / "examples.jsonl").read_bytes() for name in ("whole", "out")]
    assert same[0] == same[1]
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"run", "whole", "out"}


def test_no_example_left_loses_no_verdict(run, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(InputError, match="6 × judge_unreadable"):
        built(run, Judge("I would say yes."), out)
    again = Judge("yes")
    with pytest.raises(InputError, match="6 × judge_unreadable"):
        built(run, again, out)
    assert again.asked == 0


def test_another_judge_is_asked_anew(run, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(ModelError):
        built(run, Judge(fails_at=4), out)
    built(run, other := Judge(form="plain"), out)
    assert other.asked == 6


def test_a_damaged_verdict_is_told_and_overwrite_begins_anew(run, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(ModelError):
        built(run, Judge(fails_at=4), out)
    (journal,) = tmp_path.glob(".out*/verdicts.jsonl")
    journal.write_bytes(journal.read_bytes().replace(b'"yes"', b'"no"', 1))
    with pytest.raises(InputError, match=r"verdicts\.jsonl, line 1: changed .* --overwrite"):
        built(run, Judge(), out)
    built(run, anew := Judge(), out, overwrite=True)
    assert anew.asked == 6
