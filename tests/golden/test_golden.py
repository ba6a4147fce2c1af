"""Prompts and examples are those of the golden files, byte by byte."""

import json

import prompts
import pytest

SLOW = [pytest.param("gold", marks=pytest.mark.slow)]


def read(name):
    return json.loads(prompts.path(name).read_text("utf-8"))


def compare(made, golden):
    made = json.loads(json.dumps(made, ensure_ascii=False))
    assert sorted(made) == sorted(golden)
    changed = [key for key in golden if made[key] != golden[key]]
    assert not changed, f"{len(changed)} of {len(golden)} changed, the first: {changed[0]}"


@pytest.mark.parametrize("name", [*(n for n in prompts.GOLDEN if n != "gold"), *SLOW])
def test_prompts_and_examples_are_the_golden_ones(name):
    compare(prompts.GOLDEN[name](), read(name))


def test_the_gold_teacher_says_what_it_said():
    """With chats of one recipe of each kind; what others make of steps, `examples` has."""
    recipes = ("steper", "vanilla_kd")
    others = [f": {name} |" for name in prompts.RECIPES if name not in recipes]
    others.append("| plain")
    golden = {k: v for k, v in read("gold").items() if not any(name in k for name in others)}
    assert len(golden) > 80
    compare(prompts.gold(recipes, ["chat"]), golden)
