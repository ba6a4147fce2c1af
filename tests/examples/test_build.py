"""Trajectories become examples; whatever is left out is counted by its reason."""

import pytest
from runs import CASES, INLINE, IRCOT, Case, question, run_case

from doubles import FILM
from steper.errors import InputError, SettingsError
from steper.examples.build import build_examples
from steper.examples.example_settings import ExampleSettings
from steper.examples.filters import FilterSettings
from steper.grounding import grounded_share, telling_words
from steper.prompt.render import PromptSettings, Turn, build_prompt
from steper.prompt.words import demonstrations
from steper.recipes import RECIPES
from steper.records import Passage
from steper.store import read_json, write_json
from steper.strategy.ircot import IRCoT

BARE = PromptSettings(instruction=False, demos=0)


def kinds(build):
    return [(e.step, e.kind) for e in build]


def target(example):
    return "".join(s.text for s in example.segments if s.kind is not None)


def prompt(example):
    return "".join(s.text for s in example.segments if s.kind is None)


def one(tmp_path, case, **settings):
    run, _ = run_case(case, tmp_path, BARE)
    return list(build_examples(run, ExampleSettings(form="plain", **settings)))


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ("steper", [(1, "init"), (2, "exp"), (3, "agg")]),
        ("steper_uniform", [(1, "init"), (2, "exp"), (3, "agg")]),
        ("steper_init_agg", [(1, "init"), (3, "agg")]),
        ("steper_exp_agg", [(2, "exp"), (3, "agg")]),
        ("vanilla_kd", [(3, "agg")]),
    ],
)
def test_a_recipe_takes_its_steps(recipe, expected, tmp_path):
    examples = one(tmp_path, CASES["ircot"], recipe=recipe)
    assert [(e.step, e.kind) for e in examples] == expected
    assert {e.steps for e in examples} == {3}
    assert len({e.trajectory for e in examples}) == 1
    assert len({e.id for e in examples}) == len(examples)
    assert all(e.segments[-1].kind == e.kind and e.segments[-1].weight == 1 for e in examples)


def test_learned_weights_are_steper_s_alone():
    weights = {name: recipe.weights for name, recipe in RECIPES.ours().items()}
    assert weights["steper"] == weights["steper_init_agg"] == "learned"
    assert weights["steper_uniform"] == weights["vanilla_kd"] == "uniform"


def test_current_targets_are_single_rationales_after_the_earlier_ones(tmp_path):
    examples = one(tmp_path, CASES["ircot"])
    assert [target(e) for e in examples] == [f" {text}" for text in IRCOT]
    assert prompt(examples[2]).endswith(f"\nA: {IRCOT[0]} {IRCOT[1]}")


def test_cumulative_targets_are_all_rationales_after_the_bare_question(tmp_path):
    examples = one(tmp_path, CASES["ircot"], target="cumulative")
    assert [target(e) for e in examples] == [" " + " ".join(IRCOT[: n + 1]) for n in range(3)]
    assert all(prompt(e).endswith("born?\nA:") for e in examples)
    assert [prompt(e).count("Wikipedia Title") for e in examples] == [1, 2, 2]


def test_cumulative_self_ask_joins_by_lines_and_has_no_cue(tmp_path):
    examples = one(tmp_path, CASES["self_ask"], target="cumulative")
    assert target(examples[-1]) == "\n" + "\n".join(INLINE)
    assert prompt(examples[-1]).endswith("Are follow up questions needed here: Yes.")


@pytest.mark.parametrize("target_is", ["current", "cumulative"])
@pytest.mark.parametrize("layout", ["passages_first", "append_only"])
def test_vanilla_kd_writes_the_whole_chain_from_all_passages(layout, target_is, tmp_path):
    (example,) = one(tmp_path, CASES["ircot"], recipe="vanilla_kd", layout=layout, target=target_is)
    passages = tuple(Passage.make(t, FILM[t]) for t in ("Gold Rain", "Ann Lee"))
    settings = BARE.model_copy(update={"layout": layout})
    expected = build_prompt(IRCoT.words, question().text, [Turn(passages)], settings, "plain")
    assert example.segments[: -len(IRCOT)] == expected.segments
    assert [s.text for s in example.segments[-len(IRCOT) :]] == [f" {text}" for text in IRCOT]


@pytest.mark.parametrize(
    ("recipe", "layout", "told"),
    [
        ("vanilla_kd", "append_only", True),
        ("vanilla_kd", "passages_first", False),
        ("steper", "append_only", False),
    ],
)
def test_a_form_that_vanilla_kd_never_sees_is_told(recipe, layout, told, tmp_path, caplog):
    one(tmp_path, CASES["ircot"], recipe=recipe, layout=layout)
    assert ("vanilla_kd in append_only" in caplog.text) == told


def test_the_students_prompt_settings_go_over_the_runs(tmp_path):
    teacher = PromptSettings(demos=2, passage_words=3)
    run, _ = run_case(CASES["ircot"], tmp_path, teacher)
    build = build_examples(run, ExampleSettings(instruction=False))
    assert build.student.prompt == PromptSettings(instruction=False, demos=0, passage_words=3)
    first = next(iter(build))
    assert first.form == "chat"
    assert first.segments[0].text.startswith("Wikipedia Title: Gold Rain\nGold Rain is\n\n")


def test_a_run_of_before_showed_each_demonstration_as_one_chain(tmp_path):
    run, _ = run_case(CASES["ircot"], tmp_path, PromptSettings(demos=2))
    assert build_examples(run).student.prompt.demo_steps == "first_middle_last"
    manifest = read_json(tmp_path / "manifest.json")
    del manifest["settings"]["prompt"]["demo_steps"]
    write_json(tmp_path / "manifest.json", manifest)
    build = build_examples(run, ExampleSettings(demos=2))
    assert build.student.prompt.demo_steps == "chain"
    assert build.fingerprint["prompt"] == manifest["settings"]["prompt"]
    text = "".join(s.text for s in next(iter(build)).segments)
    assert text.count("When was the director of the film Jaws born?") == 1
    again = build_examples(run, ExampleSettings(demos=2, demo_steps="all"))
    text = "".join(s.text for s in next(iter(again)).segments)
    assert text.count("When was the director of the film Jaws born?") == 3


@pytest.mark.parametrize(
    ("case", "settings", "message"),
    [
        ("ircot", {"recipe": "stepper"}, "unknown recipe 'stepper'; did you mean steper"),
        (
            "ircot",
            {"target": "cumulative", "layout": "append_only"},
            "reasoning=user and target=current",
        ),
        ("self_ask, reader", {"target": "cumulative"}, "the model cannot write all of the"),
        (
            "self_ask, reader",
            {"target": "cumulative", "reasoning": "assistant"},
            "one; use target=current",
        ),
        ("ircot", {"reasoning": "anew"}, "use target=cumulative"),
        ("ircot", {"target": "cumulative", "reasoning": "user"}, "reasoning=anew or assistant"),
        ("ircot", {"recipe": "vanilla_kd", "reasoning": "user"}, "reasoning=anew or assistant"),
        ("self_ask, reader", {"layout": "append_only"}, "needs layout=passages_first"),
    ],
)
def test_what_cannot_be_is_refused(case, settings, message, tmp_path):
    run, _ = run_case(CASES[case], tmp_path, BARE)
    with pytest.raises(SettingsError, match=message):
        build_examples(run, ExampleSettings(**settings))


def test_a_question_that_is_a_demonstration_is_refused(tmp_path):
    shown = question(text=demonstrations()[0].question)
    run, _ = run_case(CASES["ircot"], tmp_path, BARE, questions=[shown])
    with pytest.raises(InputError, match="is one of the prompt's demonstrations"):
        list(build_examples(run, ExampleSettings(demos=1)))


def test_every_drop_has_its_reason(film_run):
    build = build_examples(film_run)
    assert len(list(build)) == 3
    assert (build.counts.trajectories, build.counts.kept) == (4, 1)
    assert build.counts.dropped == {"wrong_answer": 1, "no_gold_answer": 1, "capped": 1}
    assert build.counts.kinds == {"init": 1, "exp": 1, "agg": 1}
    assert len(list(build)) == 3
    assert build.counts.trajectories == 4


@pytest.mark.parametrize(
    ("answer", "filters", "kept"),
    [
        ("May 1950", {}, True),
        ("May 1950", {"correct": "em"}, False),
        ("May 1950", {"correct": "f1"}, False),
        ("May 1950", {"correct": "f1", "threshold": 0.6}, True),
        ("19507", {}, False),
        ("19507", {"correct": "acc"}, True),
        ("1949", {"correct": "none"}, True),
        ("1950", {"max_steps": 2}, False),
        ("1950", {"max_steps": 3}, True),
    ],
)
def test_answers_and_steps_are_held_against_the_settings(answer, filters, kept, tmp_path):
    case = Case("ircot", [*IRCOT[:2], f"So the answer is: {answer}."], {})
    run, _ = run_case(case, tmp_path, BARE)
    build = build_examples(run, filters=FilterSettings(**filters))
    assert bool(list(build)) is kept


def bad_run(tmp_path, texts):
    run, _ = run_case(Case("ircot", texts, {}), tmp_path, BARE)
    return run


def dropped_steps(run, recipe="steper", target="current", **filters):
    filters = FilterSettings(on_bad_step="step", **filters)
    build = build_examples(run, ExampleSettings(recipe=recipe, target=target), filters)
    return [e.step for e in build], build.counts


def test_a_hop_told_before_its_passage_was_seen_is_a_bad_step(tmp_path):
    guess = "Gold Rain was directed by Ann Lee, who was born in 1950."
    run = bad_run(tmp_path, [guess, "So the answer is: 1950."])
    whole = build_examples(run, filters=FilterSettings(gold_seen=True))
    assert list(whole) == []
    assert whole.counts.dropped == {"gold_passage_not_seen": 1}
    steps, counts = dropped_steps(run, gold_seen=True)
    assert steps == [2]
    assert counts.dropped_steps == {"gold_passage_not_seen": 1}
    assert counts.kept == 1


def test_questions_without_hop_answers_are_counted_as_unchecked(tmp_path):
    bare = question().model_copy(update={"decomposition": ()})
    run, _ = run_case(CASES["ircot"], tmp_path, BARE, questions=[bare])
    build = build_examples(run, filters=FilterSettings(gold_seen=True))
    assert len(list(build)) == 3
    assert build.counts.unchecked == {"gold_seen": 1}


def test_a_manifest_with_unknown_prompt_settings_is_named(film_run):
    manifest = film_run.path / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"passage_words"', '"passage_lines"'))
    with pytest.raises(
        InputError, match=r"manifest\.json: settings\.prompt\.passage_lines: unknown"
    ):
        build_examples(film_run)


def test_a_bad_step_takes_every_example_that_supervises_it(tmp_path):
    guess = "Gold Rain was directed by Ann Lee, who was born in 1950."
    run = bad_run(tmp_path, [guess, "So the answer is: 1950."])
    for settings in ({"recipe": "vanilla_kd"}, {"target": "cumulative"}):
        steps, counts = dropped_steps(run, gold_seen=True, **settings)
        assert steps == []
        assert counts.dropped == {"gold_passage_not_seen": 1}


def test_what_was_not_given_is_not_grounded(tmp_path):
    run = bad_run(tmp_path, [IRCOT[0], "Ann Lee was born in Bergen in 1950.", IRCOT[2]])
    # Ann, Lee and 1950 were given, Bergen was not.
    assert dropped_steps(run, min_grounded=0.75)[0] == [1, 2, 3]
    steps, counts = dropped_steps(run, min_grounded=0.8)
    assert steps == [1, 3]
    assert counts.dropped_steps == {"not_grounded": 1}


@pytest.mark.parametrize("case", ["ircot forced by a repeat", "self_ask forced by a repeat"])
def test_a_repeated_step_goes_by_itself(case, tmp_path):
    run, _ = run_case(CASES[case], tmp_path, BARE)
    build = build_examples(run)
    assert kinds(build) == [(1, "init"), (3, "agg")]
    assert (build.counts.kept, build.counts.dropped) == (1, {})
    assert build.counts.dropped_steps == {"repeated_query": 1}
    assert dropped_steps(run, repeats=True)[0] == [1, 2, 3]


@pytest.mark.parametrize("after", ["answer", "continue"])
def test_a_self_ask_step_that_asks_nothing_and_comes_again_goes(after, tmp_path):
    stuck = "Intermediate answer: Ann Lee is a film director."
    case = Case("self_ask", [stuck, stuck, INLINE[2]], {"repeated_query": after})
    run, _ = run_case(case, tmp_path, BARE)
    build = build_examples(run)
    assert kinds(build) == [(1, "init"), (3, "agg")]
    assert build.counts.dropped_steps == {"repeated_query": 1}


def test_a_chain_that_repeats_itself_is_no_example(tmp_path):
    run, _ = run_case(CASES["ircot forced by a repeat"], tmp_path, BARE)
    build = build_examples(run, ExampleSettings(recipe="vanilla_kd"))
    assert list(build) == []
    assert build.counts.dropped == {"repeated_query": 1}


def test_a_repeat_takes_its_trajectory_where_the_filter_is_named(tmp_path):
    run, _ = run_case(CASES["ircot forced by a repeat"], tmp_path, BARE)
    build = build_examples(run, more_filters=["repeats"])
    assert list(build) == []
    assert build.counts.dropped == {"repeated_query": 1}


def test_filters_keep_a_sound_run(tmp_path):
    everything = {"gold_seen": True, "min_grounded": 1.0, "repeats": False}
    for name in ("ircot", "self_ask", "self_ask, reader"):
        run, _ = run_case(CASES[name], tmp_path / name, BARE)
        build = build_examples(run, filters=FilterSettings(**everything))
        assert len(list(build)) == len(CASES[name].texts), name


def test_an_answer_forced_before_its_passage_was_found_is_a_guess(tmp_path):
    run, _ = run_case(CASES["self_ask forced at the cap"], tmp_path, BARE)
    assert dropped_steps(run, gold_seen=True)[0] == [1, 2]


def test_a_step_that_cannot_follow_its_prompt_goes(tmp_path):
    texts = ["Follow up: Who directed Gold Rain?", "So the final answer is: 1950"]
    run, _ = run_case(Case("self_ask", texts, {}), tmp_path, BARE, "chat")
    plain = ExampleSettings(form="plain")
    build = build_examples(run, plain)
    assert list(build) == []
    assert build.counts.dropped == {"cannot_be_written": 1}
    build = build_examples(run, plain, FilterSettings(on_bad_step="step"))
    assert kinds(build) == [(1, "init")]
    assert build.counts.dropped_steps == {"cannot_be_written": 1}


def test_test_questions_are_left_out_by_id_and_by_text(film_run, tmp_path):
    file = tmp_path / "test.jsonl"
    file.write_text(
        '{"id": "q0", "question": "Something else?"}\n'
        '{"id": "x", "question": "when was director of GOLD RAIN born 1"}\n'
    )
    build = build_examples(film_run, exclude=[file])
    assert list(build) == []
    assert build.counts.dropped["test_question_id"] == 1
    assert build.counts.dropped["test_question_text"] == 1


def test_an_unfinished_run_is_refused_unless_asked_for(film_run):
    (film_run.path / "trajectories.jsonl").rename(film_run.path / "trajectories.part")
    manifest = film_run.path / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"complete"', '"running"'))
    with pytest.raises(InputError, match="is unfinished"):
        build_examples(film_run)
    build = build_examples(film_run, partial=True)
    assert len(list(build)) == 3
    assert build.fingerprint["inputs"]["trajectories_sha256"]


def test_telling_words_are_names_and_numbers():
    text = "So São Paulo's 12th mayor was born in 1950. The poet answered: Yes. Follow up: Who?"
    assert telling_words(text) == ["sao", "paulo", "12th", "1950"]
    assert grounded_share("Sao Paulo, 1951", ["The town of São Paulo."]) == pytest.approx(2 / 3)
    assert grounded_share("so it is", []) == 1


def test_settings_that_came_later_are_written_only_where_they_are_set():
    later = {"seed", "reasoning", "end_of_turn", "demo_steps"}
    assert not later & set(ExampleSettings().model_dump(mode="json"))
    assert "reasoning" not in PromptSettings().model_dump(mode="json")
    changed = ExampleSettings(seed=3, reasoning="assistant", end_of_turn="last_step")
    given = changed.model_dump(mode="json")
    assert (given["seed"], given["reasoning"], given["end_of_turn"]) == (
        3,
        "assistant",
        "last_step",
    )
    assert (
        ExampleSettings.model_validate(ExampleSettings().model_dump(mode="json"))
        == ExampleSettings()
    )
