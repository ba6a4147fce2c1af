"""What every strategy asks and every recipe makes, as plain values: compared with golden files.

`python tests/golden/prompts.py` writes the files anew. Do that only where prompts are meant to
change, and read the difference: students that were trained on the old prompts expect those.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "examples")]

from runs import CASES, Case, run_case  # noqa: E402

from steper.data import build_corpus  # noqa: E402
from steper.data.question_files import load_questions  # noqa: E402
from steper.data.world import make_world, write_world  # noqa: E402
from steper.errors import SettingsError  # noqa: E402
from steper.examples.build import build_examples  # noqa: E402
from steper.examples.example_settings import ExampleSettings  # noqa: E402
from steper.examples.filters import FilterSettings  # noqa: E402
from steper.gold.teacher import GoldTeacher  # noqa: E402
from steper.prompt.render import PromptSettings  # noqa: E402
from steper.prompt.segments import Form  # noqa: E402
from steper.retrieve import BM25Index  # noqa: E402
from steper.runs import make_strategy, teach  # noqa: E402
from steper.strategy import STRATEGIES  # noqa: E402

LAYOUTS = ("passages_first", "append_only")
FORMS: tuple[Form, ...] = ("chat", "plain")
RECIPES = ("steper", "steper_uniform", "steper_init_agg", "steper_exp_agg", "vanilla_kd")
TARGETS = ("current", "cumulative")


def possible(case: Case, layout: str) -> bool:
    """Self-Ask's separate reader needs passages_first."""
    apart = case.strategy == "self_ask" and case.settings.get("reader", "none") != "none"
    return not apart or layout == "passages_first"


def plain(segments: Any) -> list[list[Any]]:
    """Segments as JSON values."""
    return [[s.role, s.text, s.kind, s.weight] for s in segments]


def digest(value: Any) -> str:
    """Short hash of a JSON value."""
    return hashlib.sha256(json.dumps(value, ensure_ascii=False).encode()).hexdigest()[:16]


def prompts() -> dict[str, Any]:
    """The prompts of every case, form and layout, in full with one demonstration and without."""
    found: dict[str, Any] = {}
    for name, case in CASES.items():
        for layout in (each for each in LAYOUTS if possible(case, each)):
            for form in FORMS:
                for demos in (0, 1):
                    settings = PromptSettings(
                        layout=layout, demos=demos, instruction=bool(demos), passage_words=6
                    )
                    with tempfile.TemporaryDirectory() as out:
                        _, seen = run_case(case, Path(out) / "run", settings, form)
                    key = f"{name} | {layout} | {form} | {demos} demos"
                    asked = [plain(prompt.segments) for prompt in seen["q0"]]
                    found[key] = asked if not demos else [digest(each) for each in asked]
    for name in ("ircot", "self_ask", "one_shot", "closed_book"):
        for layout in LAYOUTS:
            for form in FORMS:
                for demos, steps in ((6, "chain"), (3, "first_middle_last")):
                    settings = PromptSettings(layout=layout, demos=demos, demo_steps=steps)
                    case = next(c for c in CASES.values() if c.strategy == name)
                    with tempfile.TemporaryDirectory() as out:
                        _, seen = run_case(case, Path(out) / "run", settings, form)
                    key = f"{name} | {layout} | {form} | {demos} demos, {steps}"
                    found[key] = plain(seen["q0"][0].segments)
    return found


def made(
    run: Any, recipes: Sequence[str] = RECIPES, forms: Sequence[Form] = FORMS
) -> Iterator[tuple[str, Any]]:
    """The examples of a run: by every recipe, target, layout and form that it allows."""
    for recipe in recipes:
        for target in TARGETS:
            for layout in LAYOUTS:
                for form in forms:
                    settings = ExampleSettings(
                        recipe=recipe, target=target, layout=layout, form=form, instruction=True
                    )
                    try:
                        examples = list(build_examples(run, settings, FilterSettings(repeats=True)))
                    except SettingsError:
                        continue
                    values = [[e.id.partition("/")[2], e.kind, plain(e.segments)] for e in examples]
                    yield f"{recipe} | {target} | {layout} | {form}", values


def examples() -> dict[str, Any]:
    """The examples of every case, hashed; in full for a few."""
    found: dict[str, Any] = {}
    for name, case in CASES.items():
        for teacher in FORMS:
            with tempfile.TemporaryDirectory() as out:
                settings = PromptSettings(demos=0, passage_words=6)
                run, _ = run_case(case, Path(out) / "run", settings, teacher)
                for key, values in made(run):
                    full = teacher == "chat" and key.startswith(("steper |", "vanilla"))
                    shown = values if full and name in ("ircot", "self_ask") else digest(values)
                    found[f"{name} | {teacher} teacher | {key}"] = shown
    return found


def gold(recipes: Sequence[str] = RECIPES, forms: Sequence[Form] = FORMS) -> dict[str, Any]:
    """What the gold teacher says in every strategy, of a small world's questions."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_world(make_world(5, "culture", {"train": 4, "dev": 1, "test": 24}), folder)
        questions = load_questions(folder / "test.json")
        retriever = BM25Index.build(build_corpus(questions))
        for ahead in (False, True):
            for name, options in (
                ("ircot", {}),
                ("ircot", {"reader": "direct"}),
                ("ircot", {"reader": "cot"}),
                ("ircot", {"max_steps": 2}),
                ("self_ask", {}),
                ("self_ask", {"reader": "direct"}),
                ("self_ask", {"reader": "cot", "show_passages": True}),
                ("self_ask", {"max_steps": 2}),
                ("one_shot", {"k": 8}),
                ("closed_book", {}),
            ):
                lm = GoldTeacher(questions, look_ahead=ahead)
                settings = STRATEGIES.find(name).settings_type(**options)
                strategy = make_strategy(name, lm, settings, PromptSettings(demos=0))
                out = folder / f"{name}-{len(found)}"
                run = teach(questions, strategy, lm, retriever, out)
                said = [
                    [t.question_id, t.status, t.answer, t.error, [s.raw for s in t.steps]]
                    for t in run.trajectories()
                ]
                key = f"{name} {json.dumps(options)}{' ahead' if ahead else ''}"
                found[key] = said[:6] if not ahead else []
                found[f"{key}: all"] = digest(said)
                if not ahead:
                    examples = made(run, recipes, forms)
                    found |= {f"{key}: {how}": digest(values) for how, values in examples}
    return found


def continued() -> dict[str, Any]:
    """Prompts and examples whose reasoning begins the assistant's turn."""
    found: dict[str, Any] = {}
    for name, case in CASES.items():
        with tempfile.TemporaryDirectory() as out:
            settings = PromptSettings(
                reasoning="assistant", demos=0, instruction=False, passage_words=6
            )
            run, seen = run_case(case, Path(out) / "run", settings, "chat")
            found[name] = [plain(prompt.segments) for prompt in seen["q0"]]
            for recipe in ("steper", "vanilla_kd"):
                for ends in ("every_step", "last_step"):
                    how = ExampleSettings(recipe=recipe, reasoning="assistant", end_of_turn=ends)
                    built = build_examples(run, how, FilterSettings(repeats=True))
                    values = [[plain(e.segments), e.segments[-1].ends] for e in built]
                    found[f"{name} | {recipe} | {ends}"] = digest(values)
    return found


GOLDEN = {"prompts": prompts, "examples": examples, "gold": gold, "continued": continued}


def path(name: str) -> Path:
    """Where a golden file stands."""
    return HERE / f"{name}.json"


def main() -> None:
    """Write all golden files."""
    for name, make in GOLDEN.items():
        text = json.dumps(make(), ensure_ascii=False, indent=0, sort_keys=True)
        path(name).write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
