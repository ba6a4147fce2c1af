"""A teacher's steps at a student's states: asked once each, resumed, learnt as asked."""

from __future__ import annotations

import json

import pytest

import steper
from doubles import FILM, DictRetriever
from examples.runs import IRCOT, Case, question, run_case
from prompt.made_tokenizers import KINDS_OF_TOKENIZERS
from steper.cli.main import run as run_command
from steper.errors import InputError, ModelError, SettingsError
from steper.examples.build import build_examples
from steper.examples.example_settings import ExampleSettings
from steper.examples.filters import FilterSettings
from steper.gold.teacher import GoldTeacher
from steper.lm.base import FatalModelError
from steper.lm.scripted import ScriptedModel
from steper.prompt.encode import Encoder
from steper.prompt.render import PromptSettings
from steper.records import Passage
from steper.relabelling import relabel
from steper.runs import Run, teach
from steper.strategy.ircot import IRCoT

BARE = PromptSettings(instruction=False, demos=0)
TEACHERS = PromptSettings(demos=1)
WRONG = [IRCOT[0], "Ann Lee was born in Oslo in 1949.", "So the answer is: 1949."]
"""What the student writes: its second step is wrong, and so is its answer."""
RIGHT = [*IRCOT[:2], IRCOT[2]]


@pytest.fixture
def wrong_run(tmp_path):
    """A student's run of one question, and the prompts that it was asked."""
    run, seen = run_case(Case("ircot", WRONG, {}), tmp_path / "student", BARE, "chat")
    return run, seen["q0"]


def teacher(texts=RIGHT, asked=None, form="chat"):
    def write(request):
        if asked is not None:
            asked.append(request)
        return texts[request.step - 1]

    return ScriptedModel(write, form=form)


def test_each_state_of_the_student_gets_the_teachers_step(wrong_run, tmp_path):
    student, _ = wrong_run
    asked = []
    run = relabel(student, teacher(asked=asked), tmp_path / "labels", TEACHERS)
    found = list(run.trajectories())
    own = next(student.trajectories())
    assert [(t.begun, t.sample) for t in found] == [(0, 0), (1, 1), (2, 2)]
    assert [t.steps[-1].rationale for t in found] == RIGHT
    assert [[s.rationale for s in t.steps[:-1]] for t in found] == [[], WRONG[:1], WRONG[:2]]
    assert [t.steps[-1].context for t in found] == [s.context for s in own.steps]
    assert [t.steps[-1].kind for t in found] == ["init", "exp", "agg"]
    assert [t.status for t in found] == ["capped", "capped", "answered"]
    assert [r.rationales for r in asked] == [(), tuple(WRONG[:1]), tuple(WRONG[:2])]
    assert all(WRONG[1] in r.prompt.text() for r in asked[2:])


def test_an_early_answer_aggregates_and_a_first_one_that_goes_on_does_not(wrong_run, tmp_path):
    texts = [IRCOT[0], "So the answer is: 1950.", "Ann Lee was born in 1950."]
    run = relabel(wrong_run[0], teacher(texts), tmp_path / "labels", TEACHERS)
    assert [t.steps[-1].kind for t in run.trajectories()] == ["init", "agg", "exp"]


def test_the_manifest_counts_the_teachers_calls_and_tokens_alone(wrong_run, tmp_path):
    run = relabel(wrong_run[0], teacher(), tmp_path / "labels", TEACHERS)
    counts = run.manifest["counts"]
    assert (counts["generations"], counts["searches"], counts["steps"]) == (3, 0, 3)
    used = sum(t.steps[-1].usage.completion_tokens for t in run.trajectories())
    assert counts["completion_tokens"] == used
    assert counts["stop_reasons"] == {"answered": 1, "one_step": 2}


def test_what_was_written_is_not_asked_for_again(wrong_run, tmp_path):
    def dies(request):
        if request.step == 3:
            raise ModelError("no more")
        return RIGHT[request.step - 1]

    out = tmp_path / "labels"
    failing = ScriptedModel(dies, form="chat")
    relabel(wrong_run[0], failing, out, TEACHERS)
    assert Run(out).manifest["counts"]["failed"] == 1
    asked = []
    relabel(wrong_run[0], teacher(asked=asked), out, TEACHERS, retry_failed=True)
    assert [r.step for r in asked] == [3]
    whole = relabel(wrong_run[0], teacher(), tmp_path / "undisturbed", TEACHERS)
    assert _lines(Run(out)) == _lines(whole)
    with pytest.raises(SettingsError, match=r"prompt\.demos is 1 there, 0 now"):
        relabel(wrong_run[0], teacher(), out, BARE)


def test_a_run_that_was_broken_off_goes_on_where_it_stopped(wrong_run, tmp_path):
    def ends(request):
        if request.step == 3:
            raise FatalModelError("the key was refused")
        return RIGHT[request.step - 1]

    out, asked = tmp_path / "labels", []
    with pytest.raises(FatalModelError):
        relabel(wrong_run[0], ScriptedModel(ends, form="chat"), out, TEACHERS, in_flight=1)
    assert Run(out).manifest["status"] == "running"
    relabel(wrong_run[0], teacher(asked=asked), out, TEACHERS)
    assert [r.step for r in asked] == [3]
    assert Run(out).manifest["counts"]["generations"] == 3


def _lines(run):
    return (run.path / "trajectories.jsonl").read_bytes()


def test_the_gold_teacher_tells_what_the_student_got_wrong(tmp_path):
    texts = ["Ann Lee directed Gold Rain.", *WRONG[1:]]  # the first fact as gold words it
    student, _ = run_case(Case("ircot", texts, {}), tmp_path / "student", BARE, "chat")
    gold = GoldTeacher([question()], look_ahead=False)
    run = relabel(student, gold, tmp_path / "labels", BARE)
    written = [t.steps[-1].rationale for t in run.trajectories()]
    assert written[0] == texts[0]
    assert "1950" in written[1]
    assert "1950" in written[2]
    assert "1949" not in " ".join(written)


def test_a_state_without_its_gold_passage_is_dropped_by_itself(tmp_path):
    texts = ["Ann Lee directed Gold Rain.", "So the answer is: 1949."]
    run, _ = run_case(Case("ircot", texts, {"k": 1}), tmp_path / "student", BARE, "chat")
    hops = question().model_copy(update={"gold": question().gold[:1]})
    other = Passage.make("Nowhere", "Ann Lee was born in 1950.")
    second = hops.decomposition[1].model_copy(update={"passage_id": other.id})
    unfound = hops.model_copy(
        update={"gold": (*hops.gold, other), "decomposition": (hops.decomposition[0], second)}
    )
    labels = relabel(run, GoldTeacher([unfound], look_ahead=False), tmp_path / "labels", BARE)
    assert [t.status for t in labels.trajectories()] == ["capped", "dropped"]
    assert labels.manifest["counts"]["errors"] == {"gold_passage_not_retrieved": 1}


def test_the_examples_prompts_are_what_the_student_is_asked_at_its_states(wrong_run, tmp_path):
    student, prompts = wrong_run
    labels = relabel(student, teacher(), tmp_path / "labels", TEACHERS)
    settings = ExampleSettings(recipe="steper_onpolicy", form="chat", instruction=False)
    examples = list(build_examples(labels, settings))
    assert [e.kind for e in examples] == ["init", "exp", "agg"]
    assert len({e.trajectory for e in examples}) == 1  # a batch counts trajectories
    for kind in ("byte_level", "unigram"):
        encoder = Encoder(KINDS_OF_TOKENIZERS[kind](chat=True))
        for prompt, example in zip(prompts, examples, strict=True):
            ids, one = encoder.prompt(prompt), encoder.example(example)
            assert one.ids[: len(ids)] == ids
            assert one.prompt == len(ids)
            assert all(k < 0 for k in one.kinds[: len(ids)])
    learnt = ["".join(s.text for s in e.segments if s.kind) for e in examples]
    assert [text.strip() for text in learnt] == RIGHT


def test_a_wrong_answer_and_a_repeat_are_left_out_and_hopeless_states_stay(wrong_run, tmp_path):
    texts = [IRCOT[0], WRONG[0], "So the answer is: 1948."]
    labels = relabel(wrong_run[0], teacher(texts), tmp_path / "labels", TEACHERS)
    build = build_examples(labels, ExampleSettings(recipe="steper_onpolicy"))
    assert [e.step for e in build] == [1]
    assert build.counts.dropped == {"repeated_query": 1, "wrong_answer": 1}


def test_the_teachers_own_run_is_learnt_beside(wrong_run, tmp_path):
    own = teach([question()], IRCoT(None, TEACHERS), teacher(), DictRetriever(FILM), tmp_path / "t")
    labels = relabel(wrong_run[0], teacher(), tmp_path / "labels", TEACHERS)
    settings = ExampleSettings(recipe="steper_onpolicy")
    both = build_examples(own, settings, more_runs=[labels])
    examples = list(both)
    assert len({e.id for e in examples}) == len(examples) == 6
    assert both.counts.trajectories == 4
    assert both.fingerprint["inputs"]["more"]
    assert both.fingerprint != build_examples(own, settings).fingerprint
    assert list(both) == examples
    assert json.dumps(both.counts.as_dict())


def test_a_further_run_of_other_questions_is_learnt_too(tmp_path):
    """As trajectories over several worlds, or over more questions made later, are."""
    runs = [
        teach([question(i)], IRCoT(None, TEACHERS), teacher(), DictRetriever(FILM), tmp_path / n)
        for i, n in enumerate("ab")
    ]
    build = build_examples(runs[0], ExampleSettings(), more_runs=[runs[1]])
    assert [e.question_id for e in build] == ["q0"] * 3 + ["q1"] * 3
    assert build.counts.dropped == {}
    one = build_examples(runs[0], ExampleSettings(questions=1), more_runs=[runs[1]])
    assert len({e.question_id for e in one}) == 1
    assert one.counts.dropped == {"not_taken": 1}


def test_runs_that_would_teach_two_prompts_are_refused(wrong_run, tmp_path):
    short = TEACHERS.model_copy(update={"passage_words": 5})
    own = teach([question()], IRCoT(None, short), teacher(), DictRetriever(FILM), tmp_path / "t")
    labels = relabel(wrong_run[0], teacher(), tmp_path / "labels", TEACHERS)
    with pytest.raises(SettingsError, match="passage_words is 5 there, 350 now"):
        build_examples(own, ExampleSettings(recipe="steper_onpolicy"), more_runs=[labels])


@pytest.mark.parametrize("recipe", ["vanilla_kd", "steper"])
def test_no_recipe_learns_the_students_own_steps(recipe, wrong_run, tmp_path):
    labels = relabel(wrong_run[0], teacher(), tmp_path / "labels", TEACHERS)
    cumulative = "cumulative" if recipe == "steper" else "current"
    settings = ExampleSettings(recipe=recipe, target=cumulative)
    build = build_examples(labels, settings, FilterSettings(on_bad_step="step"))
    assert [e.step for e in build] == [1]
    assert build.counts.dropped == {"not_its_own": 2}


def test_cumulative_targets_are_refused(wrong_run, tmp_path):
    labels = relabel(wrong_run[0], teacher(), tmp_path / "labels", TEACHERS)
    with pytest.raises(SettingsError, match="use target=current"):
        build_examples(labels, ExampleSettings(recipe="steper_onpolicy", target="cumulative"))


def test_a_labelled_run_is_neither_labelled_again_nor_scored(wrong_run, tmp_path):
    from steper.evaluation.scoring import score_run

    labels = relabel(wrong_run[0], teacher(), tmp_path / "labels", TEACHERS)
    with pytest.raises(InputError, match="name a run of the student's own"):
        relabel(labels, teacher(), tmp_path / "again", TEACHERS)
    with pytest.raises(InputError, match="score the student's own run"):
        score_run(labels.path)


def test_a_teacher_with_too_small_a_window_drops_the_state(wrong_run, tmp_path):
    small = teacher()
    small.context_window = 128 + 64 + 40
    small.count_tokens = lambda text: len(text) // 4
    run = relabel(wrong_run[0], small, tmp_path / "labels", BARE)
    reasons = [t.reason for t in run.trajectories()]
    assert "state_not_reached" in reasons


def test_the_commands_label_and_learn_from_both_runs(wrong_run, tmp_path, capsys):
    student, out = wrong_run[0], tmp_path / "labels"
    own = teach([question()], IRCoT(None, BARE), teacher(), DictRetriever(FILM), tmp_path / "t")
    bare = ["--no-instruction", "--demos", "0"]
    assert run_command(["relabel", str(student.path), "--model", "gold", "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "3 teacher calls, 0 tokens" in shown
    relabel_anew = ["relabel", str(student.path), "--model", "gold", "--out", str(out), *bare]
    assert run_command(relabel_anew) == 2
    assert "prompt.demos is 3 there, 0 now" in capsys.readouterr().err
    assert run_command([*relabel_anew, "--overwrite"]) == 0
    build = ["build", str(own.path), str(out), "--recipe", "steper_onpolicy"]
    assert run_command([*build, "--out", str(tmp_path / "examples")]) == 0
    assert "4 trajectories: " in capsys.readouterr().out


@pytest.mark.parametrize("named", ["nothing", "labels"])
def test_the_command_names_a_run_that_has_no_states(named, wrong_run, tmp_path, capsys):
    relabel(wrong_run[0], teacher(), tmp_path / "labels", TEACHERS)
    arguments = ["relabel", str(tmp_path / named), "--model", "gold", "--out", str(tmp_path / "o")]
    assert run_command(arguments) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (tmp_path / "o").exists()


def test_from_python(wrong_run, tmp_path):
    def write(request):
        return RIGHT[request.step - 1]

    told = {"instruction": False, "demos": 0}
    run = steper.relabel(wrong_run[0], write, tmp_path / "labels", told)
    assert [t.steps[-1].rationale for t in run.trajectories()] == RIGHT
