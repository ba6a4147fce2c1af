"""Prompts and examples are those of the golden files, byte by byte."""

import json

import prompts
import pytest


@pytest.mark.parametrize("name", prompts.GOLDEN)
def test_prompts_and_examples_are_the_golden_ones(name):
    golden = json.loads(prompts.path(name).read_text("utf-8"))
    made = json.loads(json.dumps(prompts.GOLDEN[name](), ensure_ascii=False))
    assert sorted(made) == sorted(golden)
    changed = [key for key in golden if made[key] != golden[key]]
    assert not changed, f"{len(changed)} of {len(golden)} changed, the first: {changed[0]}"
