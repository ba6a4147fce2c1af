"""A student is asked as it was trained, in every form: layout × reasoning × target."""

from __future__ import annotations

from functools import cache
from itertools import product

import pytest
from runs import CASES, IRCOT, Case, only, question, run_case

from doubles import FILM, DictRetriever
from prompt.made_tokenizers import KINDS_OF_TOKENIZERS
from steper.errors import SettingsError
from steper.examples.build import build_examples
from steper.examples.example_settings import ExampleSettings
from steper.examples.filters import FilterSettings
from steper.lm.scripted import ScriptedModel
from steper.prompt.encode import Encoder
from steper.prompt.render import PromptSettings
from steper.runs import teach

BARE = PromptSettings(instruction=False, demos=0)
LAYOUTS = ("passages_first", "append_only")
REASONING = (None, "user", "assistant", "anew")
TARGETS = ("current", "cumulative")
WHERE = {
    f"{layout}, {reasoning}, {target}": {
        "layout": layout,
        "reasoning": reasoning,
        "target": target,
    }
    for layout, reasoning, target in product(LAYOUTS, REASONING, TARGETS)
}
ALLOWED = {
    "steper": {
        "passages_first, None, current": "user",
        "passages_first, None, cumulative": "anew",
        "passages_first, user, current": "user",
        "passages_first, assistant, current": "assistant",
        "passages_first, assistant, cumulative": "assistant",
        "passages_first, anew, cumulative": "anew",
        "append_only, None, current": "user",
        "append_only, user, current": "user",
        "append_only, assistant, current": "assistant",
    },
    "vanilla_kd": {
        f"{layout}, {reasoning}, {target}": reasoning or "assistant"
        for layout, reasoning, target in product(LAYOUTS, REASONING, TARGETS)
        if (reasoning != "user" or layout == "append_only")
        and (reasoning != "anew" or layout == "passages_first")
    },
}
"""How the students of each combination are asked; what is not here is refused."""

LOOPS = [name for name, case in CASES.items() if case.strategy in ("ircot", "self_ask")]
NO_FILTER = FilterSettings(repeats=True, correct="none")


def build(run, recipe, where, form):
    settings = ExampleSettings(recipe=recipe, form=form, **WHERE[where])
    return build_examples(run, settings, NO_FILTER)


@pytest.mark.parametrize("recipe", ALLOWED)
@pytest.mark.parametrize("where", WHERE)
def test_every_combination_is_decided(where, recipe, tmp_path):
    run, _ = run_case(CASES["ircot"], tmp_path, BARE, "chat")
    if where not in ALLOWED[recipe]:
        with pytest.raises(SettingsError, match="use "):
            build(run, recipe, where, "chat")
        return
    built = build(run, recipe, where, "chat")
    assert built.student.prompt.reasoning == ALLOWED[recipe][where]
    assert list(built)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("form", ["chat", "plain"])
def test_a_student_that_ends_its_steps_has_to_learn_to(form, layout, tmp_path):
    """Without ends of middle steps something has to cut them; Vanilla-KD's chain has one end."""
    how = {"form": form, "layout": layout, "end_of_turn": "last_step"}
    run, _ = run_case(Case("ircot", IRCOT, {"keep": "all"}), tmp_path / "all", BARE, form)
    with pytest.raises(SettingsError, match=r"^end_of_turn=last_step .* use end_of_turn=every_st"):
        build_examples(run, ExampleSettings(**how))
    assert list(build_examples(run, ExampleSettings(recipe="vanilla_kd", **how), NO_FILTER))
    for case in ("ircot", "self_ask", "one_shot"):
        run, _ = run_case(CASES[case], tmp_path / case, BARE, form)
        assert list(build_examples(run, ExampleSettings(**how), NO_FILTER))


def asked_again(run, built, examples):
    """A run of the student's, which writes word by word what its examples teach, and its requests.

    Where a prompt shows a part of a target already, the student goes on behind it.
    """
    requests = []

    def write(request):
        requests.append(request)
        (taught,) = [e for e in examples if e.step == request.step]
        whole = "".join(s.text for s in taught.segments)
        shown = request.prompt.text()
        assert whole.startswith(shown)
        return whole[len(shown) :]

    model = ScriptedModel(write, form=built.student.form)
    out = run.path.parent / "student"
    return teach([question()], built.student, model, DictRetriever(FILM), out), requests


def possible(name, where):
    """A separate reader's answers are not the student's text, and stand in no turn of its own."""
    apart = CASES[name].strategy == "self_ask" and "reader" in CASES[name].settings
    return not apart or ("cumulative" not in where and "append_only" not in where)


QUICK = ("ircot", "self_ask", "self_ask, reader")
FORMS = [
    pytest.param(
        name, where, form, marks=[] if form == "chat" or name in QUICK else pytest.mark.slow
    )
    for name, where, form in product(LOOPS, ALLOWED["steper"], ("chat", "plain"))
    if "None" not in where and possible(name, where)
]


@pytest.mark.parametrize(("name", "where", "form"), FORMS)
def test_a_student_that_writes_what_it_learnt_lives_through_the_trajectory(
    name, where, form, tmp_path
):
    """Its prompts are prefixes of the training sequences, id by id, and its record the same."""
    run, _ = run_case(CASES[name], tmp_path / "teacher", BARE, form)
    built = build(run, "steper", where, form)
    examples = list(built)
    student, requests = asked_again(run, built, examples)
    teacher, own = only(run), only(student)
    assert own.answer == teacher.answer
    assert [s.query for s in own.steps] == [s.query for s in teacher.steps]
    assert [s.context for s in own.steps] == [s.context for s in teacher.steps]
    for kind in ("byte_level", "unigram"):
        encoder = encoder_of(kind, form)
        encoded = [encoder.example(example) for example in examples]
        for request, one in zip(requests, encoded, strict=True):
            ids = encoder.prompt(request.prompt)
            assert one.ids[: len(ids)] == ids
            assert len(one.ids) > len(ids) >= one.prompt
    check_ends(encoded, encoder.turn_end(form))


@cache
def encoder_of(kind, form):
    return Encoder(KINDS_OF_TOKENIZERS[kind](chat=form == "chat"))


def check_ends(encoded, end):
    """No end of turn is learnt where another example learns to go on from the same ids."""
    ended = [e for e in encoded if e.ids[-1] == end and e.kinds[-1] >= 0]
    assert encoded[-1] in ended
    for one, other in product(ended, encoded):
        before = one.ids[:-1]
        if other.ids[: len(before)] == before and len(other.ids) > len(before):
            assert other.ids[len(before)] == end or other.kinds[len(before)] < 0
