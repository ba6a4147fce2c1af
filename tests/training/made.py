"""Example folders made of random trajectories, as `steper build` writes them."""

from __future__ import annotations

import random
import tempfile
from dataclasses import replace
from pathlib import Path

from steper.artifact import settings_hash
from steper.examples.step_example import StepExample
from steper.prompt.render import PromptSettings, Turn, build_prompt, in_a_row, target_lead
from steper.prompt.segments import Segment
from steper.records import Passage
from steper.store import sha256_file, write_json, write_jsonl
from steper.strategy.ircot import IRCoT

TEXT = "Ann Lee film river Paris town doctor was born in the of directed by Who which"
VOCABULARY = TEXT.split()


def words(rng, low, high):
    return " ".join(rng.choice(VOCABULARY) for _ in range(rng.randint(low, high)))


def examples(
    count,
    *,
    layout="passages_first",
    form="chat",
    target="current",
    reasoning="user",
    seed=0,
    steps=None,
):
    """The step examples of `count` random IRCoT trajectories."""
    rng = random.Random(seed)
    settings = PromptSettings(layout=layout, reasoning=reasoning, instruction=False, demos=0)
    for number in range(count):
        turns = []
        for _ in range(steps or rng.randint(1, 4)):
            found = [Passage.make(words(rng, 1, 2), words(rng, 4, 9)) for _ in range(2)]
            turns.append(Turn(tuple(found), words(rng, 2, 6) + "."))
        yield from step_examples(number, words(rng, 3, 6) + "?", turns, settings, form, target)


def step_examples(number, question, turns, settings, form, target="current"):
    for at in range(len(turns)):
        shown = turns[: at + 1]
        told = [turns[at].rationale]
        if target == "cumulative":
            passages = tuple(p for turn in shown for p in turn.passages)
            told = [turn.rationale for turn in shown]
            shown = [Turn(passages)]
        prompt = build_prompt(IRCoT.words, question, shown, settings, form)
        kind = "agg" if at == len(turns) - 1 else "exp" if at else "init"
        lead = target_lead(IRCoT.words, settings, form, begun=prompt.begun)
        pieces = in_a_row(IRCoT.words, told, lead)
        yield StepExample(
            id=f"q{number}/{at + 1}",
            trajectory=f"q{number}",
            question_id=f"q{number}",
            recipe="steper",
            strategy="ircot",
            step=at + 1,
            steps=len(turns),
            kind=kind,
            form=form,
            layout=settings.layout,
            segments=(*prompt.segments, *(Segment("assistant", text, kind) for text in pieces)),
        )


def pairs(count, *, seed=0, **how):
    """The same as preference pairs: each with other words in place of its target."""
    rng = random.Random(seed + 1)
    for row in examples(count, seed=seed, **how):
        given = [s for s in row.segments if s.kind]
        other = tuple(replace(s, text=f" {words(rng, 2, 6)}.") for s in given)
        yield row.model_copy(update={"rejected": other, "recipe": "steper_dpo"})


def encoded(rows, encoder, settings, limit=None, processes=1):
    """What a training reads of the examples: their tree file, written and mapped."""
    from steper.training.data import read_data
    from steper.training.encoding import Layout, encode
    from steper.training.tree_file import write_batches

    with tempfile.TemporaryDirectory() as folder:  # what is mapped stays when its name is gone
        file = Path(folder) / "trees.arrow"
        write_batches(file, encode(rows, Layout(encoder, settings, limit), processes))
        return read_data(file, limit)


def example_folder(path: Path, rows, *, weights="learned", strategy=(), **more) -> Path:
    """A folder of examples with further settings, of its strategy or of its own."""
    rows = list(rows)
    write_jsonl(path / "examples.jsonl", rows)
    settings = {
        "recipe": "steper",
        "target": "current",
        "form": rows[0].form,
        "prompt": {"layout": rows[0].layout, "demos": 0},
        "strategy": {"name": "ircot", **dict(strategy)},
        **more,
    }
    manifest = {
        "schema_version": 1,
        "content": "step examples",
        "recipe": "steper",
        "weights": weights,
        "settings_hash": settings_hash(settings),
        "settings": settings,
        "sha256": {"examples.jsonl": sha256_file(path / "examples.jsonl")},
    }
    write_json(path / "manifest.json", manifest)
    return path


class Killed(BaseException):
    """A training's process dies."""


def die_at(step=1):
    """A `progress` that dies at this step."""

    def die(row):
        if row["step"] == step:
            raise Killed

    return die
