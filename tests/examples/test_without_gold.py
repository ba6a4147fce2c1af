"""Choosing what to learn from without gold answers: agreement, a judge, the first bad step."""

import pytest
from runs import CASES, IRCOT, question, run_case

from doubles import FILM, DictRetriever
from steper.cli.main import run as command
from steper.errors import InputError, SettingsError
from steper.examples.build import build_examples
from steper.examples.example_folder import write_examples
from steper.examples.example_settings import ExampleSettings
from steper.examples.filters import FilterSettings
from steper.examples.without_gold import inconsistent, verified
from steper.lm.function import FunctionModel
from steper.lm.scripted import ScriptedModel
from steper.prompt.render import PromptSettings
from steper.records import Hop
from steper.runs import teach
from steper.strategy.ircot import IRCoT, IRCoTSettings
from steper.strategy.replay import Replay

BARE = PromptSettings(instruction=False, demos=0)


def unlabelled(number=0):
    return question(number).model_copy(update={"answers": (), "gold": (), "decomposition": ()})


def sampled(folder, answers, questions=1):
    """A run in which the samples of each question give these answers; "" gives none."""

    def script(request):
        if request.step < 3:
            return IRCOT[request.step - 1]
        answer = answers[request.sample]
        return f"So the answer is: {answer}." if answer else ""

    strategy = IRCoT(IRCoTSettings(force_answer=False), BARE)
    asked = [unlabelled(n) for n in range(questions)]
    model = ScriptedModel(script, identity="film")
    return teach(asked, strategy, model, DictRetriever(FILM), folder, samples=len(answers))


@pytest.mark.parametrize(
    ("answers", "share", "kept"),
    [
        (("1950", "1949", "1950"), 0.6, {0, 2}),
        (("1950", "1949", "1950"), 0.7, set()),
        (("in 1950.", "The 1950", "1950"), 0.6, {1, 2}),
        (("1949", "1950"), 0.5, {0}),
        (("", "1950", ""), 0.3, {1}),
        (("", "1950", ""), 0.4, set()),
        (("", ""), 0.1, set()),
    ],
)
def test_samples_that_agree_are_kept(answers, share, kept, tmp_path):
    run = sampled(tmp_path / "run", answers)
    samples = list(run.trajectories())
    left = {key for key in (t.key for t in samples) if key not in inconsistent(samples, share)}
    assert {sample for _, sample in left} == kept
    filters = FilterSettings(correct="none", consistent=share)
    build = build_examples(run, ExampleSettings(), filters)
    assert len({e.trajectory for e in build}) == len(kept)
    unanswered = sum(not a for a in answers)
    found = build.counts.dropped.get("not_consistent", 0)
    assert found == len(answers) - len(kept) - unanswered


def test_one_sample_has_nothing_to_agree_with(tmp_path):
    run, _ = run_case(CASES["ircot"], tmp_path, BARE, "chat", [unlabelled()])
    with pytest.raises(SettingsError, match="has one of each; make more: steper teach --samples"):
        build_examples(run, ExampleSettings(), FilterSettings(consistent=0.5))


def test_what_to_do_without_gold_is_said(tmp_path, capsys):
    run, _ = run_case(CASES["ircot"], tmp_path / "run", BARE, "chat", [unlabelled()])
    with pytest.raises(InputError, match=r"no_gold_answer\); .*--consistent 0\.6 .*--judged"):
        write_examples(build_examples(run), tmp_path / "out")
    assert command(["build", str(run.path), "--out", str(tmp_path / "out")]) == 2
    assert "--correct none" in capsys.readouterr().err
    out = str(tmp_path / "out")
    assert command(["build", str(run.path), "--out", out, "--correct", "none"]) == 0


def judged(run, answer, by):
    asked = []

    def says(request):
        asked.append(request.prompt.text())
        return answer(asked[-1])

    filters = FilterSettings(correct="none", judged=by, on_bad_step="step")
    build = build_examples(run, ExampleSettings(), filters, judge=FunctionModel(says))
    return [e.step for e in build], build.counts, asked


def test_a_judge_of_answers(tmp_path):
    run, _ = run_case(CASES["ircot"], tmp_path, BARE, "chat", [unlabelled(), unlabelled(1)])
    steps, counts, asked = judged(run, lambda text: "Yes.", "answer")
    assert (steps, len(asked)) == ([1, 2, 3, 1, 2, 3], 1)  # both ask the same
    assert "Gold Rain was directed by Ann Lee." in asked[0]
    assert FILM["Ann Lee"] in asked[0]
    assert asked[0].endswith("Answer: 1950")
    steps, counts, _ = judged(run, lambda text: "no, it is not", "answer")
    assert (steps, counts.dropped) == ([], {"judged_wrong": 2})


def test_a_judge_of_steps_keeps_those_before_the_first_bad_one(tmp_path):
    run, _ = run_case(CASES["ircot"], tmp_path, BARE, "chat", [unlabelled()])
    doubts = lambda text: "no" if text.endswith("Ann Lee was born in 1950.") else "yes"  # noqa: E731
    steps, counts, asked = judged(run, doubts, "steps")
    assert (steps, len(asked)) == ([1], 2)
    assert counts.dropped_steps == {"judged_unsupported": 2}
    assert "Said before: Gold Rain was directed by Ann Lee." in asked[1]


def test_a_judge_that_says_neither_and_one_that_is_missing(tmp_path):
    run, _ = run_case(CASES["ircot"], tmp_path, BARE, "chat", [unlabelled()])
    _, counts, _ = judged(run, lambda text: "Perhaps", "answer")
    assert counts.dropped == {"judge_unreadable": 1}
    maybe = lambda text: "Perhaps" if "Said before: Gold" in text else "yes"  # noqa: E731
    steps, counts, _ = judged(run, maybe, "steps")
    assert (steps, counts.dropped_steps) == ([1], {"judge_unreadable": 2})
    with pytest.raises(SettingsError, match="judged=answer asks a judge; name its model: --judge"):
        build_examples(run, ExampleSettings(), FilterSettings(judged="answer"))


def hops(asked):
    """With triples, whose facts can be looked up."""
    first, second = asked.gold
    triples = (
        Hop(answer="Ann Lee", subject="Gold Rain", relation="director", passage_id=first.id),
        Hop(answer="1950", subject="Ann Lee", relation="date of birth", passage_id=second.id),
    )
    return asked.model_copy(update={"decomposition": triples, "type": "compositional"})


@pytest.mark.parametrize(
    ("texts", "answer", "bad"),
    [
        (IRCOT, "1950", {}),
        ([*IRCOT[:2], "So the answer is: 1949."], "1950", {3}),
        ([IRCOT[0], "Ann Lee was born in 1949.", IRCOT[2]], "1950", {2, 3}),
        (["Gold Rain was directed by Bo Young.", *IRCOT[1:]], "1950", {1, 2, 3}),
        (["Gold Rain is a film.", *IRCOT[1:]], "1950", {1, 2, 3}),
        (["Gold Rain is a film.", *IRCOT[1:]], None, {2, 3}),
        ([*IRCOT[:2], "So the answer is: 1949."], None, {3}),
    ],
)
def test_steps_up_to_the_first_that_is_not_verified(texts, answer, bad, tmp_path):
    """Gold facts and answers count where they are known; else names and numbers alone."""
    asked = hops(question()) if answer else unlabelled()
    case = CASES["ircot"]
    run, _ = run_case(case, tmp_path, BARE, "chat", [asked], {"q0": texts})
    (trajectory,) = run.trajectories()
    problems = verified(asked, Replay(trajectory, IRCoT(None, BARE, "chat")))
    assert set(problems) == set(bad)
    assert set(problems.values()) <= {"not_verified"}


def test_sound_steps_of_a_wrong_trajectory_are_learnt(tmp_path):
    texts = {"q0": [*IRCOT[:2], "So the answer is: 1949."]}
    run, _ = run_case(CASES["ircot"], tmp_path, BARE, "chat", [hops(question())], texts)
    filters = FilterSettings(correct="none", on_bad_step="step")
    build = build_examples(run, ExampleSettings(), filters, more_filters=["verified"])
    assert [e.step for e in build] == [1, 2]
    assert build.counts.dropped_steps == {"not_verified": 1}


def test_steper_verified_is_steper_with_that_filter_and_what_is_set_goes_over_it(tmp_path):
    texts = {"q0": [*IRCOT[:2], "So the answer is: 1949."]}
    run, _ = run_case(CASES["ircot"], tmp_path, BARE, "chat", [hops(question())], texts)
    settings = ExampleSettings(recipe="steper_verified")
    build = build_examples(run, settings)
    given = FilterSettings(correct="none", on_bad_step="step")
    same = build_examples(run, ExampleSettings(), given, more_filters=["verified"])
    alike = {"recipe", "trajectory"}
    found, others = ([e.model_dump(exclude=alike) for e in each] for each in (build, same))
    assert found == others
    assert [e.step for e in build] == [1, 2]
    assert build.counts.dropped_steps == {"not_verified": 1}
    assert build.fingerprint["filters"] == same.fingerprint["filters"]
    assert build.fingerprint["filters_from"] == same.fingerprint["filters_from"]
    whole = build_examples(run, settings, FilterSettings(correct="em"), more_filters=["verified"])
    assert not list(whole)
    assert whole.counts.dropped == {"wrong_answer": 1}
    assert len(whole.more_filters) == 1


def test_steper_verified_needs_no_gold_answers(tmp_path):
    run, _ = run_case(CASES["ircot"], tmp_path, BARE, "chat", [unlabelled()])
    assert [e.step for e in build_examples(run, ExampleSettings(recipe="steper_verified"))] == [
        1,
        2,
        3,
    ]
