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
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from pathlib import Path
from random import Random
from typing import Any

from pydantic import ValidationError

from steper.doors import fingerprint_of, origin
from steper.errors import InputError, SettingsError
from steper.examples.build_counts import BuildCounts
from steper.examples.example_settings import ExampleSettings
from steper.examples.filters import (
    FILTERS,
    Excluded,
    Filter,
    FilterSettings,
    by_preference,
    checkable_hops,
    lone_problems,
    step_problems,
    trajectory_problem,
)
from steper.examples.step_example import StepExample
from steper.lm.base import LanguageModel
from steper.lm.judge import LMJudge
from steper.prompt.render import PromptSettings, recorded_prompt
from steper.prompt.segments import Form
from steper.prompt.words import demonstrations
from steper.recipes import RECIPES, Context, Draft, Recipe, Replay
from steper.records import Question, Trajectory
from steper.retrieve.base import Retriever
from steper.runs import Run, check_questions
from steper.store import field_error, sha256_file
from steper.strategy import STRATEGIES, Strategy, load_strategy
from steper.strategy.readers import READERS


@dataclass
class Build:
    """The examples of a run; each iteration makes them anew and fills `counts`.

    `teacher` is the run's strategy in the student's form and prompts, on which trajectories are
    replayed; `student` is the strategy that the student will be asked with, mostly the same.
    """

    run: Run
    settings: ExampleSettings
    filters: FilterSettings
    more_filters: tuple[Filter, ...]
    excluded: Excluded
    recipe: Recipe
    teacher: Strategy[Any]
    student: Strategy[Any]
    retriever: Retriever | None = None
    judge: LanguageModel | None = None
    counts: BuildCounts = field(default_factory=BuildCounts)

    def __iter__(self) -> Iterator[StepExample]:
        self.counts = counts = BuildCounts()
        questions = {q.id: q for q in self.run.questions()}
        taken = self._taken(questions)
        sampled = "samples" in self.run.manifest["settings"]
        for question_id, group in groupby(self.run.trajectories(), lambda t: t.question_id):
            samples = list(group)
            counts.trajectories += len(samples)
            question = questions.get(question_id)
            if question is None:
                raise InputError(
                    f"{self.run.path}: a trajectory is of question {question_id!r}, "
                    "which is not in questions.jsonl"
                )
            if question.id not in taken:
                for _ in samples:
                    counts.drop("not_taken")
                continue
            before = counts.kept
            for example in self._of_question(question, samples):
                counts.examples += 1
                counts.kinds[example.kind] += 1
                yield example
            if sampled:
                kept = str(counts.kept - before)
                counts.per_question[kept] = counts.per_question.get(kept, 0) + 1

    def _of_question(
        self, question: Question, samples: Sequence[Trajectory]
    ) -> Iterator[StepExample]:
        """The examples of the samples that are learnt; the others are counted by their reason."""
        fit = []
        for trajectory in samples:
            reason = trajectory_problem(question, trajectory, self.filters, self.excluded)
            if reason:
                self.counts.drop(reason)
            else:
                fit.append(trajectory)
        learnt = False
        for trajectory in by_preference(question, fit, self.filters):
            if learnt and self.filters.per_question != "all":
                self.counts.drop("other_sample")
                continue
            made = self._examples(question, trajectory)
            learnt = learnt or bool(made)
            yield from made

    def _taken(self, every: Collection[str]) -> Collection[str]:
        """The questions that are learnt from, by id."""
        wanted = self.settings.questions
        if wanted is None:
            return every
        if wanted > len(every):
            raise InputError(
                f"{self.run.path} holds {len(every)} questions, but {wanted} are to be learnt from "
                "(questions); a larger run was expected, or a smaller number"
            )
        return set(seeded_order(every, self.settings.seed)[:wanted])

    def _examples(self, question: Question, trajectory: Trajectory) -> list[StepExample]:
        """The examples of a fit trajectory; whatever is left out is counted."""
        check_questions([question], self.student.prompt)
        replay = Replay(trajectory, self.teacher)
        problems = step_problems(question, replay, self.filters, self.more_filters)
        if 0 in problems:
            self.counts.drop(problems[0])
            return []
        alone = lone_problems(question, replay, self.filters)
        made: list[StepExample] = []
        left_out: list[str] = []
        left_alone: list[str] = []
        for draft in self.recipe.make(replay, self._context(question, trajectory)):
            if reason := _draft_problem(draft, problems):
                left_out.append(reason)
            elif reason := _draft_problem(draft, alone):
                left_alone.append(reason)
            else:
                made.append(self._example(trajectory, draft, len(replay.steps)))
        if self.filters.on_bad_step == "trajectory" and (problems or left_out):
            self.counts.drop(next(iter(problems.values()), None) or left_out[0])
            return []
        left_out += left_alone
        if not made:
            self.counts.drop(left_out[0] if len(set(left_out)) == 1 else "no_example_left")
            return []
        self._keep(question, replay, left_out)
        return made

    def _keep(self, question: Question, replay: Replay, left_out: Sequence[str]) -> None:
        """Count a trajectory that has examples."""
        for reason in left_out:
            self.counts.drop_step(reason)
        for reason in replay.diverged:
            self.counts.diverged[reason] = self.counts.diverged.get(reason, 0) + 1
        self.counts.kept += 1
        if self.filters.gold_seen and not checkable_hops(question):
            self.counts.unchecked["gold_seen"] = self.counts.unchecked.get("gold_seen", 0) + 1

    def _context(self, question: Question, trajectory: Trajectory) -> Context:
        return Context(
            target=self.settings.target,
            end_of_turn=self.settings.end_of_turn,
            question=question,
            student=self.student,
            rng=Random(f"{self.settings.seed}/{_name(trajectory)}"),
            retriever=self.retriever,
            judge=LMJudge(self.judge, question.id) if self.judge else None,
        )

    def _example(self, trajectory: Trajectory, draft: Draft, steps: int) -> StepExample:
        assert draft.target is not None
        step = draft.step
        name = _name(trajectory)
        return StepExample(
            id=f"{name}#{step.index}{'.' if draft.name else ''}{draft.name}",
            trajectory=name,
            question_id=trajectory.question_id,
            recipe=self.recipe.name,
            strategy=self.student.name,
            step=step.index,
            steps=steps,
            kind=step.kind,
            form=self.student.form,
            layout=self.student.prompt.layout,
            segments=(*draft.prompt.segments, *draft.target),
        )

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """All that decides what the examples are (JSON values); compared on a second build."""
        trajectories = self.run.path / "trajectories.jsonl"
        if not trajectories.exists():
            trajectories = self.run.path / "trajectories.part"
        inference = self.recipe.asked(self.settings.target)
        reranked = {"reranker": inference.reranker, "candidates": inference.candidates}
        return {
            **self.settings.model_dump(mode="json"),
            "form": self.student.form,
            "prompt": self.student.prompt.model_dump(mode="json"),
            "strategy": self.student.fingerprint(),
            "filters": self.filters.model_dump(mode="json"),
            "wording": wording_hash(self.student),
            **_given("recipe_from", origin(self.recipe.make)),
            **_given("filters_from", [origin(f) or f.__name__ for f in self.more_filters]),
            **_given("inference", reranked if inference.reranker else None),
            **_given("retriever", self.retriever and fingerprint_of(self.retriever)),
            **_given("judge", self.judge and fingerprint_of(self.judge)),
            "inputs": {
                "trajectories_sha256": sha256_file(trajectories),
                "questions_sha256": sha256_file(self.run.path / "questions.jsonl"),
                "excluded_sha256": list(self.excluded.hashes),
            },
        }


def seeded_order(ids: Iterable[str], seed: int) -> list[str]:
    """Ids in an order by `seed` that depends on each id alone: more questions change no place."""
    return sorted(ids, key=lambda i: (hashlib.sha256(f"{seed}/{i}".encode()).digest(), i))


def _name(trajectory: Trajectory) -> str:
    """What no other trajectory is called, of this run or another."""
    sample = f"@{trajectory.sample}" if trajectory.sample else ""
    return f"{trajectory.settings}/{trajectory.question_id}{sample}"


def _given(name: str, value: Any) -> dict[str, Any]:
    return {name: value} if value else {}


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
    recipe: Recipe | None = None,
    strategy: type[Strategy[Any]] | None = None,
    more_filters: Sequence[Filter | str] = (),
    exclude: Sequence[Path | str] = (),
    retriever: Retriever | None = None,
    judge: LanguageModel | None = None,
    partial: bool = False,
    allow_code: bool = False,
) -> Build:
    """The examples that a recipe makes of a run's trajectories: an iterable that counts.

    `recipe` and `strategy` are given where they are objects; else the settings and the run name
    them. A run whose strategy is code outside this package and its plug-ins needs `allow_code`.
    `exclude` are question files that training must not see. `partial` takes an unfinished run as
    far as it is. Raises InputError where `run` is no complete run, SettingsError where the settings
    contradict the run's strategy; iteration raises InputError at a bad record.
    """
    settings = settings or ExampleSettings()
    recipe = recipe or RECIPES.find(settings.recipe)
    run = run if isinstance(run, Run) else Run(Path(run))
    made_with = _checked_manifest(run, partial)
    place = run.path / "manifest.json"
    kind, own = load_strategy(
        made_with["strategy"], strategy, allow_code=allow_code, place=str(place)
    )
    prompt = _teachers_prompt(made_with["prompt"], place)
    teacher, student = asked_strategies(recipe, settings, kind, own, prompt, str(place))
    check_recipe(recipe, settings, student, retriever is not None, judge is not None)
    return Build(
        run=run,
        settings=settings,
        filters=filters or FilterSettings(),
        more_filters=tuple(FILTERS.find(f) if isinstance(f, str) else f for f in more_filters),
        excluded=Excluded.read(Path(path) for path in exclude),
        recipe=recipe,
        teacher=teacher,
        student=student,
        retriever=retriever,
        judge=judge,
    )


def asked_strategies(
    recipe: Recipe,
    settings: ExampleSettings,
    kind: type[Strategy[Any]],
    own: dict[str, Any],
    teachers: PromptSettings,
    place: str,
) -> tuple[Strategy[Any], Strategy[Any]]:
    """(the teacher's strategy in the student's form and prompts, the student's).

    `own` are the teacher's settings of the strategy `kind`, `teachers` those of its prompts; they
    stand at `place`. Raises InputError for settings that the strategy does not have.
    """
    inference = recipe.asked(settings.target)
    form = inference.form if inference.form and "form" not in settings.model_fields_set else None
    prompt = settings.prompt(teachers, inference)
    whose = f"{place}, with the inference of recipe {recipe.name}" if inference.settings else place
    given = {} if inference.strategy else inference.settings
    teacher = _strategy(kind, {**own, **given}, prompt, form or settings.form, whose)
    if not inference.strategy:
        return teacher, teacher
    other = STRATEGIES.find(inference.strategy)
    return teacher, _strategy(other, dict(inference.settings), prompt, teacher.form, whose)


def _checked_manifest(run: Run, partial: bool) -> dict[str, Any]:
    """The settings that a run was made with; InputError where it is none, or unfinished."""
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
    return made_with


def _teachers_prompt(value: Any, manifest: Path) -> PromptSettings:
    try:
        return PromptSettings.model_validate(recorded_prompt(value))
    except ValidationError as error:
        raise InputError(f"{manifest}: settings.prompt.{field_error(error)}") from None


def _strategy(
    kind: type[Strategy[Any]], own: dict[str, Any], prompt: PromptSettings, form: Form, place: str
) -> Strategy[Any]:
    try:
        settings = kind.settings_type.model_validate(own)
    except ValidationError as error:
        raise InputError(f"{place}: settings.strategy.{field_error(error)}") from None
    return kind(settings, prompt, form)


def check_recipe(
    recipe: Recipe, settings: ExampleSettings, student: Strategy[Any], corpus: bool, judge: bool
) -> None:
    """Refuse what the recipe cannot make, with a SettingsError; whether corpus and judge are there.

    `student` is the strategy as the student will be asked.
    """
    if recipe.check is not None:
        recipe.check(settings.target, settings.end_of_turn, student)
    for needed, there, what in (
        (recipe.searches, corpus, "searches, so it needs a corpus: --corpus"),
        (recipe.judges, judge, "asks a judge, so it needs a model for it: --judge"),
    ):
        if needed and not there:
            raise SettingsError(f"recipe {recipe.name} {what}")


def wording_hash(strategy: Strategy[Any]) -> str:
    """Short hash of all fixed words that prompts of this strategy and its readers are made of."""
    digest = hashlib.sha256()
    for words in (strategy.words, *(reader.words for reader in READERS.values())):
        fixed = (words.name, words.head, words.cue, words.lead, words.turn_cue, words.turn_lead)
        digest.update(repr(fixed).encode())
        instruction = words.instruct(strategy.prompt.written_anew)
        digest.update(instruction.encode() if strategy.prompt.instruction else b"")
        for demo in demonstrations()[: strategy.prompt.demos]:
            digest.update(repr((demo.question, words.demonstrate(demo))).encode())
    return digest.hexdigest()[:16]
