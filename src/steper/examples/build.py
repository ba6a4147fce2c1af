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

import functools
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby
from pathlib import Path
from random import Random
from typing import Any

from steper.artifact import model_digest
from steper.doors import fingerprint_of, origin
from steper.errors import InputError, ModelError, QuestionDropped
from steper.examples.asked import (
    asked_strategies,
    check_alike,
    check_recipe,
    teachers_prompt,
    wording_hash,
)
from steper.examples.build_counts import ALL_UNREADABLE, BuildCounts
from steper.examples.example_settings import ExampleSettings
from steper.examples.filters import (
    Excluded,
    Filter,
    FilterSettings,
    by_preference,
    checkable_hops,
    is_right,
    lone_problems,
    own_filters,
    own_settings,
    step_problems,
    trajectory_problem,
)
from steper.examples.step_example import StepExample, batch_of, name_of
from steper.examples.taken import taken_questions
from steper.examples.without_gold import check_filters, inconsistent, judging
from steper.lm.base import LanguageModel
from steper.lm.embedding import open_similarity
from steper.lm.judge import LMJudge, warn_of_own_work
from steper.recipes import RECIPES, Context, Draft, Recipe, Replay
from steper.recipes.base import Ranking
from steper.recipes.labels import UNREADABLE, Similarity
from steper.records import Question, Trajectory
from steper.retrieve.base import Retriever
from steper.runs import Run, check_questions
from steper.store import sha256_file
from steper.strategy import Strategy, load_strategy

Part = tuple[BuildCounts, list[StepExample]]
"""The examples of one question, and what was counted of them."""


@dataclass
class Build:
    """The examples of a run; each iteration makes them anew and fills `counts`.

    `teacher` is the run's strategy in the student's form and prompts, on which trajectories are
    replayed; `student` is the strategy that the student will be asked with, mostly the same. The
    examples of `more` runs follow, the same but for the run.
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
    judge: LMJudge | None = None
    similarity: Similarity | None = None
    more: tuple[Build, ...] = ()
    counts: BuildCounts = field(default_factory=BuildCounts)
    _learnt: set[tuple[str, int]] = field(default_factory=set)

    def __iter__(self) -> Generator[StepExample, None, None]:
        self.counts = BuildCounts()
        builds = (self, *self.more)
        for build in builds:
            build.counts = self.counts
            build._learnt.clear()
        every = {i for build in builds for i in build.run.questions().keys}
        taken = taken_questions(every, self.settings, self.run.path)
        parts = (part for build in builds for part in build._parts(taken))
        if self.judge:
            self.judge.used.clear()
            made = self.judge.side_by_side(parts)
        else:
            made = (part() for part in parts)
        with closing(made):
            for counts, examples in made:
                self.counts.add(counts)
                if self.judge and self.counts.all_unreadable():
                    raise ModelError(f"{self.judge.lm.name}: {ALL_UNREADABLE}")
                yield from examples
        if self.judge:
            self.counts.judge = self.judge.cost()

    def _parts(self, taken: set[str]) -> Iterator[Callable[[], Part]]:
        """What makes the examples of each question of this run alone, of the questions `taken`."""
        questions = self.run.questions().by_key
        sampled = "samples" in self.run.manifest["settings"]
        for question_id, group in groupby(self.run.trajectories(), lambda t: t.question_id):
            question = questions.get(question_id)
            if question is None:
                raise InputError(
                    f"{self.run.path}: a trajectory is of question {question_id!r}, "
                    "which is not in questions.jsonl"
                )
            part = replace(self, counts=BuildCounts())  # counted apart: others are made meanwhile
            learnt = question_id in taken
            yield functools.partial(part._part, question, list(group), learnt, sampled)

    def _part(
        self, question: Question, samples: Sequence[Trajectory], taken: bool, sampled: bool
    ) -> Part:
        """What is counted of a question's samples, and their examples."""
        counts = self.counts
        counts.trajectories = len(samples)
        if not taken:
            counts.dropped["not_taken"] = len(samples)
            return counts, []
        examples = list(self._of_question(question, samples))
        counts.examples = len(examples)
        for example in examples:
            counts.kinds[example.kind] += 1
        if sampled:
            counts.per_question[str(counts.kept)] = 1
        return counts, examples

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
        if share := self.filters.consistent:
            apart = inconsistent(samples, share)
            for _ in filter(lambda t: t.key in apart, fit):
                self.counts.drop("not_consistent")
            fit = [trajectory for trajectory in fit if trajectory.key not in apart]
        learnt = False
        for trajectory in by_preference(question, fit, self.filters):
            alike = trajectory.begun is None  # states of one question are no samples of it
            if alike and learnt and self.filters.per_question != "all":
                self.counts.drop("other_sample")
                continue
            made = self._examples(question, trajectory, samples)
            learnt = learnt or bool(made)
            yield from made

    def rankings(self) -> Iterator[Ranking]:
        """What a reranker of the students learns, of each trajectory that gave examples."""
        rank, questions = self.recipe.rank, self.run.questions().by_key
        for trajectory in self.run.trajectories():
            if rank is not None and trajectory.key in self._learnt:
                question = questions[trajectory.question_id]
                replay = Replay(trajectory, self.teacher)
                yield rank(replay, self._context(question, trajectory))
        for build in self.more:
            yield from build.rankings()

    def _examples(
        self, question: Question, trajectory: Trajectory, samples: Sequence[Trajectory]
    ) -> list[StepExample]:
        """The examples of a fit trajectory; whatever is left out is counted."""
        check_questions([question], self.student.prompt)
        replay = Replay(trajectory, self.teacher)
        more = (*self.more_filters, *judging(self.judge, self.filters))
        problems = step_problems(question, replay, self.filters, more)
        begun = trajectory.begun or 0
        problems = {i: why for i, why in problems.items() if not 0 < i <= begun}
        if 0 in problems:
            self.counts.drop(problems[0])
            return []
        alone = lone_problems(question, replay, self.filters)
        made: list[StepExample] = []
        left_out: list[str] = []
        left_alone: list[str] = []
        context = self._context(question, trajectory, samples)
        try:
            drafts = list(self.recipe.make(replay, context))
        except QuestionDropped:  # a judge's answer that is none
            self.counts.drop(UNREADABLE)
            return []
        for draft in drafts:
            if draft.left_out:
                left_alone.append(draft.left_out)
            elif any(index <= begun for index in draft.supervises):
                left_out.append("not_its_own")
            elif reason := _draft_problem(draft, problems):
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
        self._keep(context, replay, left_out)
        return made

    def _keep(self, context: Context, replay: Replay, left_out: Sequence[str]) -> None:
        """Count a trajectory that has examples."""
        for reason in left_out:
            self.counts.drop_step(reason)
        for reason in replay.diverged:
            self.counts.diverged[reason] = self.counts.diverged.get(reason, 0) + 1
        self.counts.kept += 1
        self._learnt.add(replay.trajectory.key)
        if self.recipe.labels:
            source = context.labeller.source
            self.counts.labels[source] = self.counts.labels.get(source, 0) + 1
        if self.filters.gold_seen and not checkable_hops(context.question):
            self.counts.unchecked["gold_seen"] = self.counts.unchecked.get("gold_seen", 0) + 1

    def _context(
        self, question: Question, trajectory: Trajectory, samples: Sequence[Trajectory] = ()
    ) -> Context:
        return Context(
            target=self.settings.target,
            end_of_turn=self.settings.end_of_turn,
            question=question,
            student=self.student,
            rng=Random(f"{self.settings.seed}/{name_of(trajectory)}"),
            retriever=self.retriever,
            judge=self.judge.of(question.id) if self.judge else None,
            labels=self.settings.labels,
            similarity=self.similarity,
            samples=samples,
            pairs_at=self.settings.pairs_at,
            is_right=lambda answer: is_right(answer, question, self.filters),
        )

    def _example(self, trajectory: Trajectory, draft: Draft, steps: int) -> StepExample:
        assert draft.target is not None
        step, name = draft.step, name_of(trajectory)
        return StepExample(
            id=f"{name}#{step.index}{'.' if draft.name else ''}{draft.name}",
            trajectory=batch_of(trajectory),
            question_id=trajectory.question_id,
            recipe=self.recipe.name,
            strategy=self.student.name,
            step=step.index,
            steps=steps,
            kind=step.kind,
            form=self.student.form,
            layout=self.student.prompt.layout,
            segments=(*draft.prompt.segments, *draft.target),
            rejected=draft.rejected,
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
            **_embedder(self.settings),
            **_given("tokens", list(self.recipe.tokens)),
            **_given("retriever", self.retriever and fingerprint_of(self.retriever)),
            **_given("judge", self.judge and self.judge.fingerprint()),
            "inputs": {
                "trajectories_sha256": sha256_file(trajectories),
                "questions_sha256": sha256_file(self.run.path / "questions.jsonl"),
                "excluded_sha256": list(self.excluded.hashes),
                **_given("more", [build.fingerprint["inputs"] for build in self.more]),
            },
        }


def _embedder(settings: ExampleSettings) -> dict[str, Any]:
    """An embedding model in a folder is known by its bytes, wherever the folder is."""
    folder = Path(settings.embedder).expanduser()
    here = settings.labels == "embedding" and folder.is_dir()
    return {"embedder": {"digest": model_digest(folder)}} if here else {}


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
    judge: LanguageModel | LMJudge | None = None,
    partial: bool = False,
    allow_code: bool = False,
    more_runs: Sequence[Run | Path | str] = (),
) -> Build:
    """The examples that a recipe makes of a run's trajectories: an iterable that counts.

    `recipe` and `strategy` are given where they are objects; else the settings and the run name
    them. A run whose strategy is code outside this package and its plug-ins needs `allow_code`.
    `exclude` are question files that training must not see. `more_runs` are learnt from as well,
    such as steps at a student's states. `partial` takes an unfinished run as far as it is. Raises
    InputError where `run` is no complete run, SettingsError where the settings contradict the run's
    strategy; iteration raises InputError at a bad record.
    """
    settings = settings or ExampleSettings()
    judge = judge if judge is None or isinstance(judge, LMJudge) else LMJudge(judge)
    recipe = recipe or RECIPES.find(settings.recipe)
    filters = own_settings(recipe, filters)
    if more_runs:
        how: dict[str, Any] = {
            "recipe": recipe,
            "strategy": strategy,
            "more_filters": more_filters,
            "exclude": exclude,
            "retriever": retriever,
            "judge": judge,
            "partial": partial,
            "allow_code": allow_code,
        }
        first, *others = (build_examples(r, settings, filters, **how) for r in (run, *more_runs))
        check_alike(first, others)
        return replace(first, more=tuple(others))
    run = run if isinstance(run, Run) else Run(Path(run))
    made_with = run.made_with(partial)
    place = run.path / "manifest.json"
    kind, own = load_strategy(
        made_with["strategy"], strategy, allow_code=allow_code, place=str(place)
    )
    prompt = teachers_prompt(made_with["prompt"], place)
    teacher, student = asked_strategies(recipe, settings, kind, own, prompt, str(place))
    check_recipe(recipe, settings, student, retriever is not None, judge is not None)
    check_filters(filters, run, judge is not None)
    if judge is not None:
        warn_of_own_work(judge.lm, made_with, run.path)
    embeds = recipe.labels and settings.labels == "embedding"
    return Build(
        run=run,
        settings=settings,
        filters=filters,
        more_filters=own_filters(recipe, more_filters),
        excluded=Excluded.read(Path(path) for path in exclude),
        recipe=recipe,
        teacher=teacher,
        student=student,
        retriever=retriever,
        judge=judge,
        similarity=open_similarity(settings.embedder) if embeds else None,
    )
