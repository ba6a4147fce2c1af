"""A run's trajectories → step examples, by a recipe; what is left out is counted by its reason.

    build = build_examples("runs/m1", ExampleSettings(recipe="steper"))
    for example in build: ...
    print(build.counts)

The student is prompted as `ExampleSettings` say, which may differ from the teacher's prompts: a
student that has learnt the task needs no demonstrations, so there are none by default. Everything
else is the run's own unless set. Give the student's runs the same prompt settings (the manifest of
an examples folder has them), or it is asked in words that it was not trained on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from steper.errors import InputError, SettingsError
from steper.examples.filters import (
    Excluded,
    FilterSettings,
    checkable_hops,
    step_problems,
    trajectory_problem,
)
from steper.examples.records import StepExample
from steper.prompt.render import Layout, PromptSettings
from steper.prompt.segments import Form, Segment
from steper.prompt.words import TEMPLATES, demonstrations, instruction
from steper.recipes import Draft, Recipe, Replay, Target, find_recipe
from steper.records import Question, Record, Trajectory
from steper.runs import Run, check_questions
from steper.store import field_error, sha256_file
from steper.strategy.replay import separate_answerer


class ExampleSettings(Record):
    """What examples are made, and how the student is prompted."""

    recipe: str = Field("steper", description="what a trajectory becomes; see steper.recipes")
    target: Target = Field(
        "current",
        description="current: a step's own rationale, after the earlier ones (what inference asks "
        "for); cumulative: all rationales up to it, as in StepER's equations",
    )
    form: Form = Field("chat", description="chat: the student's chat template; plain: plain text")
    layout: Layout | None = Field(None, description="layout of the prompts (none: the run's own)")
    instruction: bool | None = Field(
        None, description="begin with the strategy's instruction (none: as the run does)"
    )
    demos: int = Field(0, ge=0, description="few-shot demonstrations in the student's prompts")
    passage_words: int | None = Field(
        None, ge=1, description="words of a passage that a prompt shows (none: the run's own)"
    )

    def prompt(self, teacher: PromptSettings) -> PromptSettings:
        """The student's prompt settings, given those of the run."""
        own = {
            "layout": self.layout,
            "instruction": self.instruction,
            "demos": self.demos,
            "passage_words": self.passage_words,
        }
        return teacher.model_copy(update={k: v for k, v in own.items() if v is not None})


@dataclass
class BuildCounts:
    """What came in and what of it became examples.

    `kept` trajectories have at least one example. `dropped` counts trajectories and `dropped_steps`
    single steps of kept ones, by their first reason (`filters.REASONS`). `unchecked`
    counts the kept ones that a filter could not judge, by the filter's name.
    """

    trajectories: int = 0
    kept: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    dropped_steps: dict[str, int] = field(default_factory=dict)
    unchecked: dict[str, int] = field(default_factory=dict)
    examples: int = 0
    kinds: dict[str, int] = field(default_factory=lambda: {"init": 0, "exp": 0, "agg": 0})

    def drop(self, reason: str) -> None:
        """Count a dropped trajectory."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1

    def drop_step(self, reason: str) -> None:
        """Count a dropped step of a trajectory that stays."""
        self.dropped_steps[reason] = self.dropped_steps.get(reason, 0) + 1


@dataclass
class Build:
    """The examples of a run; each iteration makes them anew and fills `counts`."""

    run: Run
    settings: ExampleSettings
    filters: FilterSettings
    excluded: Excluded
    recipe: Recipe
    prompt: PromptSettings
    strategy: dict[str, Any]
    counts: BuildCounts = field(default_factory=BuildCounts)

    def __iter__(self) -> Iterator[StepExample]:
        self.counts = counts = BuildCounts()
        questions = {q.id: q for q in self.run.questions()}
        for trajectory in self.run.trajectories():
            counts.trajectories += 1
            question = questions.get(trajectory.question_id)
            if question is None:
                raise InputError(
                    f"{self.run.path}: a trajectory is of question {trajectory.question_id!r}, "
                    "which is not in questions.jsonl"
                )
            for example in self._examples(question, trajectory):
                counts.examples += 1
                counts.kinds[example.kind] += 1
                yield example

    def _examples(self, question: Question, trajectory: Trajectory) -> list[StepExample]:
        """The examples of a trajectory; whatever is left out is counted."""
        reason = trajectory_problem(question, trajectory, self.filters, self.excluded)
        if reason:
            self.counts.drop(reason)
            return []
        check_questions([question], self.prompt)
        replay = Replay(trajectory, self.strategy, self.prompt, self.settings.form)
        problems = step_problems(question, replay, self.filters)
        made: list[StepExample] = []
        left_out: list[str] = []
        for draft in self.recipe.make(replay, self.settings.target):
            reason = _draft_problem(draft, problems)
            if reason:
                left_out.append(reason)
            else:
                made.append(self._example(trajectory, draft))
        if self.filters.on_bad_step == "trajectory" and (problems or left_out):
            self.counts.drop(next(iter(problems.values()), None) or left_out[0])
            return []
        if not made:
            self.counts.drop(left_out[0] if len(set(left_out)) == 1 else "no_example_left")
            return []
        for reason in left_out:
            self.counts.drop_step(reason)
        self.counts.kept += 1
        if self.filters.gold_seen and not checkable_hops(question):
            self.counts.unchecked["gold_seen"] = self.counts.unchecked.get("gold_seen", 0) + 1
        return made

    def _example(self, trajectory: Trajectory, draft: Draft) -> StepExample:
        assert draft.target is not None
        step = draft.step
        name = f"{trajectory.settings}/{trajectory.question_id}"
        return StepExample(
            id=f"{name}#{step.index}",
            trajectory=name,
            question_id=trajectory.question_id,
            recipe=self.recipe.name,
            strategy=trajectory.strategy,
            step=step.index,
            steps=len(trajectory.steps),
            kind=step.kind,
            form=self.settings.form,
            layout=self.prompt.layout,
            segments=(*draft.prompt.segments, Segment("assistant", draft.target, step.kind)),
        )

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """All that decides what the examples are (JSON values); compared on a second build."""
        trajectories = self.run.path / "trajectories.jsonl"
        if not trajectories.exists():
            trajectories = self.run.path / "trajectories.part"
        return {
            **self.settings.model_dump(mode="json"),
            "prompt": self.prompt.model_dump(mode="json"),
            "strategy": self.strategy,
            "filters": self.filters.model_dump(mode="json"),
            "wording": wording_hash(self.strategy["name"], self.prompt),
            "inputs": {
                "trajectories_sha256": sha256_file(trajectories),
                "questions_sha256": sha256_file(self.run.path / "questions.jsonl"),
                "excluded_sha256": list(self.excluded.hashes),
            },
        }


def _draft_problem(draft: Draft, problems: dict[int, str]) -> str | None:
    """Why a draft is no example: a step that it supervises is bad, or has no text."""
    for index in draft.supervises:
        if index in problems:
            return problems[index]
    return "cannot_be_written" if draft.target is None else None


def build_examples(
    run: Run | Path | str,
    settings: ExampleSettings | None = None,
    filters: FilterSettings | None = None,
    *,
    exclude: Sequence[Path] = (),
    partial: bool = False,
) -> Build:
    """The examples that a recipe makes of a run's trajectories: an iterable that counts.

    `exclude` are question files that training must not see. `partial` takes an unfinished run as
    far as it is. Raises InputError where `run` is no complete run, SettingsError where the settings
    contradict the run's strategy; iteration raises InputError at a bad record.
    """
    settings = settings or ExampleSettings()
    run = run if isinstance(run, Run) else Run(Path(run))
    if not (run.path / "manifest.json").exists():
        raise InputError(f"{run.path} is not a run folder: it has no manifest.json")
    manifest = run.manifest
    made_with = manifest.get("settings") if isinstance(manifest, dict) else None
    if not isinstance(made_with, dict) or not {"strategy", "prompt"} <= made_with.keys():
        raise InputError(f"{run.path / 'manifest.json'}: not the manifest of a run")
    if manifest["status"] != "complete" and not partial:
        raise InputError(
            f"{run.path} is unfinished ({manifest['status']}): finish it with the same "
            "`steper teach`, or use --partial"
        )
    prompt = settings.prompt(_teachers_prompt(made_with["prompt"], run.path / "manifest.json"))
    _check(settings, prompt, made_with["strategy"])
    return Build(
        run=run,
        settings=settings,
        filters=filters or FilterSettings(),
        excluded=Excluded.read(exclude),
        recipe=find_recipe(settings.recipe),
        prompt=prompt,
        strategy=made_with["strategy"],
    )


def _teachers_prompt(value: Any, manifest: Path) -> PromptSettings:
    try:
        return PromptSettings.model_validate(value)
    except ValidationError as error:
        raise InputError(f"{manifest}: settings.prompt.{field_error(error)}") from None


def _check(settings: ExampleSettings, prompt: PromptSettings, strategy: dict[str, Any]) -> None:
    """Refuse what cannot be: combinations of target, layout and strategy."""
    find_recipe(settings.recipe)
    cumulative = settings.target == "cumulative" and settings.recipe != "vanilla_kd"
    if cumulative and prompt.layout == "append_only":
        raise SettingsError(
            "target=cumulative leaves earlier reasoning out of the prompt, and append_only has it "
            "there as turns; use target=current, or layout=passages_first"
        )
    if separate_answerer(strategy):
        if cumulative:
            raise SettingsError(
                "target=cumulative would train on what the separate reader wrote: the run has "
                "one; use target=current"
            )
        if prompt.layout == "append_only":
            raise SettingsError(
                "the run has a separate reader, which answers outside the prompt, so it needs "
                "layout=passages_first"
            )


def wording_hash(strategy: str, prompt: PromptSettings) -> str:
    """Short hash of all fixed words that prompts of this strategy and its readers are made of."""
    digest = hashlib.sha256()
    for name in (strategy, "reader_direct", "reader_cot"):
        digest.update(repr(TEMPLATES[name]).encode())
        digest.update(instruction(name).encode() if prompt.instruction else b"")
    for demo in demonstrations()[: prompt.demos]:
        digest.update(demo.model_dump_json().encode())
    return digest.hexdigest()[:16]
