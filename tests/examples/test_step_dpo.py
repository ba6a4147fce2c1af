"""Preference pairs: the teacher's step, or a sound sample's, against what failed at the state."""

from __future__ import annotations

import json

import pytest
from runs import CASES, IRCOT, Case, question, run_case

from doubles import FILM, DictRetriever
from prompt.made_tokenizers import KINDS_OF_TOKENIZERS
from steper.cli.main import run as command
from steper.errors import InputError, SettingsError
from steper.examples.build import build_examples
from steper.examples.example_folder import write_examples
from steper.examples.example_settings import ExampleSettings
from steper.lm.scripted import ScriptedModel
from steper.prompt.encode import Encoder
from steper.prompt.render import PromptSettings
from steper.records import Trajectory
from steper.relabelling import relabel
from steper.runs import teach
from steper.strategy.ircot import IRCoT, IRCoTSettings

BARE = PromptSettings(instruction=False, demos=0)
SETTINGS = ExampleSettings(recipe="steper_dpo")
ALL = ExampleSettings(recipe="steper_dpo", pairs_at="all")
WRONG = [IRCOT[0], "Ann Lee was born in Oslo in 1949.", "So the answer is: 1949."]


def labelled(folder, own=WRONG, said=IRCOT, asked=None):
    """The run in which a teacher `said` what it would where a student wrote its `own`."""
    student, seen = run_case(
        Case("ircot", own, {}), folder / "student", BARE, "chat", [asked or question()]
    )
    teacher = ScriptedModel(lambda request: said[request.step - 1], form="chat")
    return relabel(student, teacher, folder / "labels", BARE), seen["q0"]


def text_of(segments):
    return "".join(s.text for s in segments if s.kind).strip()


def test_the_teachers_step_is_preferred_where_the_student_failed_with_another(tmp_path):
    run, prompts = labelled(tmp_path)
    build = build_examples(run, ALL)
    pairs = list(build)
    assert [p.kind for p in pairs] == ["exp", "agg"]
    assert [text_of(p.segments) for p in pairs] == IRCOT[1:]
    assert [text_of(p.rejected) for p in pairs] == WRONG[1:]
    assert build.counts.dropped == {"same_text": 1}
    assert len({p.trajectory for p in pairs}) == 1  # a batch counts trajectories
    for kind in ("byte_level", "unigram"):
        encoder = Encoder(KINDS_OF_TOKENIZERS[kind](chat=True))
        for pair, prompt in zip(pairs, prompts[1:], strict=True):
            ids = encoder.prompt(prompt)
            better, worse = encoder.example(pair), encoder.example(pair.worse)
            assert better.prompt == worse.prompt == len(ids)
            assert better.ids[: len(ids)] == worse.ids[: len(ids)] == ids
            assert better.ids[-1] == worse.ids[-1]  # both learn to end their turn
            assert better.ids != worse.ids


def test_only_the_first_state_at_which_they_differ_gives_a_pair(tmp_path):
    run, _ = labelled(tmp_path)
    build = build_examples(run, SETTINGS)
    assert [(p.step, text_of(p.rejected)) for p in build] == [(2, WRONG[1])]
    assert build.counts.dropped == {"same_text": 1, "not_first": 1}


@pytest.mark.parametrize(
    ("own", "said", "answers", "dropped"),
    [
        (IRCOT, ["A film.", "She was born.", IRCOT[2]], ("1950",), {"not_failed": 3}),
        (WRONG, ["A film.", "She was born.", "So the answer is: 1948."], (), {"no_gold_answer": 1}),
        (WRONG, [s.replace(".", " .") for s in WRONG[:2]] + IRCOT[2:], None, {"same_text": 2}),
        ([*IRCOT[:2], ""], IRCOT, None, {"same_text": 2, "cannot_be_written": 1}),
    ],
)
def test_what_is_no_pair_is_counted_by_its_reason(own, said, answers, dropped, tmp_path):
    asked = question() if answers is None else question().model_copy(update={"answers": answers})
    run, _ = labelled(tmp_path, own, said, asked)
    build = build_examples(run, SETTINGS)
    pairs = list(build)
    unknown = {} if answers != () else {"no_known_failure": 2}
    assert build.counts.dropped == dropped | unknown
    assert len(pairs) == 3 - sum(build.counts.dropped.values())


def test_a_trajectory_without_an_answer_failed_whether_gold_is_known_or_not(tmp_path):
    endless = [*WRONG[:2], "Oslo is a town."]
    case = Case("ircot", endless, {"max_steps": 3, "force_answer": False})
    asked = question().model_copy(update={"answers": ()})
    student, _ = run_case(case, tmp_path / "student", BARE, "chat", [asked])
    teacher = ScriptedModel(lambda request: IRCOT[request.step - 1], form="chat")
    run = relabel(student, teacher, tmp_path / "labels", BARE)
    build = build_examples(run, SETTINGS)
    found = [(text_of(p.segments), text_of(p.rejected)) for p in build]
    assert found == [(IRCOT[1], WRONG[1])]
    assert build.counts.dropped == {"same_text": 1, "no_gold_answer": 1}


def test_labels_say_what_the_student_wrote_and_older_ones_give_no_pair(tmp_path):
    run, _ = labelled(tmp_path)
    rows = [json.loads(line) for line in (run.path / "trajectories.jsonl").read_text().splitlines()]
    found = [Trajectory.model_validate(row).instead_of for row in rows]
    assert [own.rationale for own in found] == WRONG
    assert {(own.answer, own.status) for own in found} == {("1949", "answered")}
    for row in rows:
        del row["instead_of"]
    (run.path / "trajectories.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match=r"no example is left .*3 × no_pair"):
        write_examples(build_examples(run, SETTINGS), tmp_path / "pairs")


def sampled(folder, texts):
    """A run of one question of whose samples each wrote its own texts."""
    strategy = IRCoT(IRCoTSettings(force_answer=False), BARE, "chat")
    model = ScriptedModel(lambda request: texts[request.sample][request.step - 1], form="chat")
    asked = [question()]
    return teach(asked, strategy, model, DictRetriever(FILM), folder, samples=len(texts))


def test_among_samples_a_sound_ones_step_is_preferred_at_the_same_state(tmp_path):
    other = ["Somebody directed it.", *WRONG[1:]]
    run = sampled(tmp_path / "run", [IRCOT, WRONG, other])
    build = build_examples(run, SETTINGS)
    pairs = [(p.step, text_of(p.segments), text_of(p.rejected)) for p in build]
    assert pairs == [(1, IRCOT[0], other[0]), (2, IRCOT[1], WRONG[1])]
    assert build.counts.dropped == {"wrong_answer": 2}
    assert build.counts.dropped_steps == {"no_pair": 1}  # nobody else came to the third state


def test_what_a_sound_sample_wrote_as_well_is_not_rejected(tmp_path):
    late = [*IRCOT[:2], "So the answer is: 1949."]
    fine = ["Gold Rain is a film.", *IRCOT[1:]]
    bad = ["Gold Rain is a film.", *WRONG[1:]]
    run = sampled(tmp_path / "run", [IRCOT, fine, bad, late])
    pairs = [
        (p.step, text_of(p.segments), text_of(p.rejected)) for p in build_examples(run, SETTINGS)
    ]
    assert (1, IRCOT[0], bad[0]) not in pairs
    assert (3, IRCOT[2], late[2]) in pairs


def test_a_run_of_one_sample_has_no_pairs(tmp_path):
    run, _ = run_case(CASES["ircot"], tmp_path / "run", BARE, "chat")
    build = build_examples(run, SETTINGS)
    assert not list(build)
    assert build.counts.dropped == {"no_pair": 1}


def test_cumulative_targets_are_refused(tmp_path):
    run, _ = labelled(tmp_path)
    with pytest.raises(SettingsError, match="target=cumulative"):
        build_examples(run, ExampleSettings(recipe="steper_dpo", target="cumulative"))


@pytest.mark.parametrize("form", ["chat", "plain"])
def test_pairs_are_written_read_and_exported_in_trls_preference_format(form, tmp_path, capsys):
    run, _ = labelled(tmp_path)
    out = tmp_path / "pairs"
    given = ["build", str(run.path), "--recipe", "steper_dpo", "--form", form, "--out", str(out)]
    assert command([*given, "--pairs-at", "all", "--export", "jsonl"]) == 0
    assert "1 × same_text" in capsys.readouterr().out
    rows = [json.loads(line) for line in (out / "messages.jsonl").read_text().splitlines()]
    text = (lambda value: value) if form == "plain" else (lambda value: value[0]["content"])
    assert [text(row["chosen"]).strip() for row in rows] == IRCOT[1:]
    assert [text(row["rejected"]).strip() for row in rows] == WRONG[1:]
    assert "completion" not in rows[0]
    assert json.loads((out / "manifest.json").read_text())["counts"]["kinds"] == {
        "init": 0, "exp": 1, "agg": 1,
    }  # fmt: skip


def test_steper_gkd_learns_at_every_step_of_the_students_own(tmp_path):
    wrong = [IRCOT[0], IRCOT[0], "So the answer is: 1949."]
    case = Case("ircot", wrong, {"repeated_query": "continue"})
    run, _ = run_case(case, tmp_path / "run", BARE, "chat")
    build = build_examples(run, ExampleSettings(recipe="steper_gkd"))
    assert [text_of(e.segments) for e in build] == wrong
    assert not list(build_examples(run, ExampleSettings(recipe="steper")))
