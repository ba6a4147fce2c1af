"""What a recipe may do: segments with weights, its context, its students' inference."""

import random
from dataclasses import replace

import pytest
from runs import CASES, run_case

from doubles import FILM, DictRetriever
from prompt.made_tokenizers import byte_level
from steper.errors import SettingsError
from steper.examples.build import build_examples
from steper.examples.example_settings import ExampleSettings
from steper.lm.function import FunctionModel
from steper.prompt.encode import Encoder
from steper.prompt.render import PromptSettings
from steper.recipes import RECIPES, Draft, Inference, Recipe, learn
from steper.training.encoding import lay_out

BARE = PromptSettings(instruction=False, demos=0)


def made(tmp_path, make, case="ircot", settings=None, searches=False, **more):
    run, _ = run_case(CASES[case], tmp_path / "run", BARE)
    inference = more.pop("inference", Inference())
    recipe = Recipe("mine", make, "uniform", "", inference=inference, searches=searches)
    return build_examples(run, settings or ExampleSettings(form="plain"), recipe=recipe, **more)


def in_three(replay, context):
    """Each step's text in three pieces: shown, at half weight, in full."""
    for step in replay.steps:
        text = replay.written(step)
        third = len(text) // 3
        parts = (text[:third], 0.0), (text[third : 2 * third], 0.5), (text[2 * third :], 1.0)
        target = tuple(learn(part, step.kind, weight) for part, weight in parts)
        yield Draft(step, replay.prompt(step), target, (step.index,))


def test_weights_reach_the_tokens(tmp_path):
    encoder = Encoder(byte_level(chat=False))
    plain = list(made(tmp_path / "a", RECIPES.find("steper").make))
    for example, whole in zip(made(tmp_path / "b", in_three), plain, strict=True):
        encoded, usual = encoder.example(example), encoder.example(whole)
        assert encoded.prompt == usual.prompt
        assert encoded.ids[: encoded.prompt] == usual.ids[: usual.prompt]
        target = encoded.weights[encoded.prompt :]
        assert sorted(set(target)) == [0.0, 0.5, 1.0]
        assert target == sorted(target)
        learnt = [kind >= 0 for kind in encoded.kinds]
        assert learnt == [weight > 0 for weight in encoded.weights]
        (tree,) = lay_out([encoded], "steps")
        assert tree.weights.sum() == pytest.approx(sum(encoded.weights))


def test_a_piece_may_count_to_another_kind(tmp_path):
    def by_part(replay, context):
        first, *_, last = replay.steps
        target = (learn(replay.written(first), "init"), learn(replay.written(last), "agg"))
        yield Draft(last, replay.prompt_without_reasoning(()), target, (1, last.index))

    (example,) = made(tmp_path, by_part)
    encoded = Encoder(byte_level(chat=False)).example(example)
    assert {kind for kind in encoded.kinds if kind >= 0} == {0, 2}


def test_several_examples_of_a_step_have_names_of_their_own(tmp_path):
    def twice(replay, context):
        step = replay.steps[-1]
        for name in ("a", "b"):
            target = (learn(replay.written(step), step.kind),)
            yield Draft(step, replay.prompt(step), target, (step.index,), name)

    assert [e.id.partition("/")[2] for e in made(tmp_path, twice)] == ["q0#3.a", "q0#3.b"]


def test_the_context_has_what_a_recipe_needs(tmp_path):
    seen = []

    def look(replay, context):
        found = context.search("Who is Ann Lee?", 1)
        seen.append((context.question.answers, found[0].passage.title, context.rng.random()))
        seen.append(context.ask_judge("Does the passage help?"))
        step = replay.steps[-1]
        target = (learn(replay.written(step), step.kind),)
        yield Draft(step, replay.prompt(step), target, (step.index,))

    def build(seed):
        seen.clear()
        judge = FunctionModel(
            lambda request: f"yes, {request.prompt.messages()[-1]['content'][:4]}"
        )
        settings = ExampleSettings(form="plain", seed=seed)
        parts = {"retriever": DictRetriever(FILM), "judge": judge}
        out = tmp_path / str(random.random())
        built = made(out, look, settings=settings, searches=True, **parts)
        assert len(list(built)) == 1
        assert {"retriever", "judge", "recipe_from"} <= built.fingerprint.keys()
        return list(seen)

    first, again, other = build(1), build(1), build(2)
    assert first[0][:2] == (("1950",), "Ann Lee")
    assert first[1] == "yes, Does"
    assert first == again
    assert first[0][2] != other[0][2]


def test_what_a_recipe_needs_is_asked_for_before_anything_is_made(tmp_path):
    with pytest.raises(SettingsError, match="recipe mine searches, so it needs a corpus: --corpus"):
        made(tmp_path, in_three, searches=True)


def test_a_recipe_says_how_its_students_are_asked(tmp_path):
    """Vanilla-KD's students may answer at once, over the passages that were gathered."""

    def at_once(replay, context):
        step = replay.steps[-1]
        passages = replay.gathered(step)
        prompt = context.student.render(replay.trajectory.question, turns_of(passages))
        target = (learn(replay.written_up_to(step), step.kind),)
        yield Draft(step, prompt, target, (1, 2, 3))

    def turns_of(passages):
        from steper.prompt.render import Turn

        return [Turn(tuple(passages))]

    inference = Inference("one_shot", {"k": 9}, {"instruction": True}, form="chat")
    settings = ExampleSettings()
    built = made(tmp_path, at_once, settings=settings, inference=inference)
    (example,) = built
    assert built.fingerprint["strategy"]["name"] == example.strategy == "one_shot"
    assert built.fingerprint["strategy"]["k"] == 9
    assert built.fingerprint["form"] == example.form == "chat"
    assert example.segments[0].text.startswith("Answer the question from the passages.")
    plain = ExampleSettings(form="plain", instruction=False)
    assert next(iter(made(tmp_path / "b", at_once, settings=plain, inference=inference))).form == (
        "plain"
    )


@pytest.mark.parametrize("form", ["chat", "plain"])
def test_the_end_of_turn_is_learnt_where_it_is_asked_for(tmp_path, form):
    encoder = Encoder(byte_level(chat=form == "chat"))
    ends = {}
    for where in ("every_step", "last_step"):
        settings = ExampleSettings(form=form, reasoning="assistant", end_of_turn=where)
        built = made(tmp_path / where, RECIPES.find("steper").make, settings=settings)
        encoded = [encoder.example(example) for example in built]
        end = encoder.turn_end(form)
        ends[where] = [e.ids[-1] == end and e.kinds[-1] >= 0 for e in encoded]
    # The second step's sentence finds nothing new, so the third goes on in the same turn.
    assert ends == {"every_step": [True, False, True], "last_step": [False, False, True]}


def test_vanilla_kds_students_go_on_with_their_own_turn(tmp_path):
    """Its target is one turn; asked with its reasoning in the user's, it would see a new form."""
    run, _ = run_case(CASES["ircot"], tmp_path, BARE, "chat")
    built = build_examples(run, ExampleSettings(recipe="vanilla_kd"))
    assert built.fingerprint["prompt"]["reasoning"] == "assistant"
    (example,) = built
    assert [s.role for s in example.segments] == ["user", *["assistant"] * 3]


def test_divergences_are_counted(tmp_path):
    """A student that keeps all that is written is asked for other things than its teacher."""
    run, _ = run_case(CASES["ircot"], tmp_path, BARE, texts={"q0": TWO_SENTENCES})
    every = RECIPES.find("steper")
    settings = ExampleSettings(form="plain")
    as_taught = build_examples(run, settings)
    assert len(list(as_taught)) == 3
    assert not as_taught.counts.diverged
    keeps_all = replace(every, name="mine", inference=Inference(settings={"keep": "all"}))
    built = build_examples(run, settings, recipe=keeps_all)
    texts = [example.segments[-1].text.strip() for example in built]
    assert texts[0] == TWO_SENTENCES[0]
    assert built.fingerprint["strategy"]["keep"] == "all"
    assert built.counts.diverged == {"other_text": 1, "other_query": 1}


TWO_SENTENCES = [
    "Gold Rain was directed by Ann Lee. She is from Oslo.",
    "Ann Lee was born in 1950.",
    "So the answer is: 1950.",
]
