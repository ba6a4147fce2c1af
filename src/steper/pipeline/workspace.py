"""What the tasks of one pipeline share: where things go, questions, at most one open model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steper.data import load_corpus
from steper.data.world.generate import TRAIN_CORPUS
from steper.evaluation.leakage import GRAVE, Leakage, demonstrated, find_leakage
from steper.examples.student_form import student_form
from steper.lm.base import LanguageModel
from steper.lm.shipped import locate_model
from steper.pipeline.config import BASE_DEMOS, PipelineSettings
from steper.pipeline.data_sets import AskedSet, DataSet, check_apart, check_dev
from steper.pipeline.plan import Stage
from steper.prompt.segments import Form
from steper.records import Passage
from steper.retrieve import open_retriever
from steper.retrieve.base import Retriever
from steper.retrieve.opening import names_code

TEST_QUESTIONS = "test-questions.jsonl"

TRAIN = ".train"
"""What the name of a data set ends in where its training questions have an index of their own."""


@dataclass(frozen=True)
class EvalRun:
    """A run over a data set's test questions: the teacher's, an untrained student's, a trained one.

    `method` is what tables call it, `recipe` the same without data set and student, `name` its
    task, `path` the run's folder. `student` is None for the teacher. `data` is what it was trained
    on or, untrained, is shown right trajectories of; None for all others, and so is `trained`, a
    trained student's folder. `asked` are settings of the strategy over a trained student's own,
    which `evaluate.also` has by the name `also`.
    """

    method: str
    recipe: str
    name: str
    path: Path
    student: str | None = None
    trained: Path | None = None
    data: str | None = None
    asked: dict[str, Any] = field(default_factory=dict)
    also: str = ""


def also_named(method: str, name: str) -> str:
    """What tables call a method that is asked once more, as `evaluate.also` says by this name."""
    return f"{method} ({name})"


@dataclass
class Workspace:
    """One pipeline at work in the folder `out`.

        world/DATA/   index/DATA/   index/DATA.train/   teach/DATA/   build/DATA/STUDENT/RECIPE/
        tune/DATA/STUDENT/RECIPE/…
        train/DATA/STUDENT/RECIPE-SEED/   eval/DATA/…   compare/DATA.json   report.html
        collect/DATA/STUDENT/RECIPE-SEED/   relabel/…   (on-policy)

    Close it when done: it holds indexes and a model.
    """

    settings: PipelineSettings
    out: Path
    data: dict[str, DataSet] = field(default_factory=dict)
    asked: dict[str, AskedSet] = field(default_factory=dict)
    _retrievers: dict[str, Retriever] = field(default_factory=dict)
    _leakage: dict[str, Leakage] = field(default_factory=dict)
    _forms: dict[str, Form] = field(default_factory=dict)
    _model: tuple[str, LanguageModel] | None = None

    def __post_init__(self) -> None:
        for name, settings in self.settings.data.items():
            world = self.folder("world", name) if settings.world else None
            dev = self.settings.tune.questions if self.settings.tune else 0
            made = self.folder("tune", name, "dev.json") if dev and world else None
            self.data[name] = DataSet(name, settings, world, dev, made)
        for name, asked in self.settings.evaluate.further.items():
            world = self.folder("world", name) if asked.world else None
            self.asked[name] = AskedSet(name, asked, world)

    @property
    def tests(self) -> list[str]:
        """The names of all test questions: those of the data sets, and those only asked."""
        return [*self.data, *self.asked]

    def data_set(self, name: str) -> DataSet:
        """The questions of this name, or of the data set whose training index it names."""
        name = name.removesuffix(TRAIN) if name in self.apart else name
        return self.data.get(name) or self.asked[name]

    @property
    def apart(self) -> list[str]:
        """The names of indexes for training questions alone, of worlds that have them apart."""
        worlds = {name: found.settings.world for name, found in self.data.items()}
        return [f"{name}{TRAIN}" for name, world in worlds.items() if world and world.apart]

    def learnt_over(self, data: str) -> str:
        """The name of the index that a data set's training questions are asked over."""
        return f"{data}{TRAIN}" if f"{data}{TRAIN}" in self.apart else data

    def check_apart(self, data: str, test: str) -> None:
        """Refuse, as an InputError, questions only asked that a data set trains on."""
        source, asked = self.data[data], self.asked[test]
        check_apart(f"evaluate.further.{test}", source, source.train, asked, asked.test, GRAVE)

    def check_questions(self) -> None:
        """Refuse, as an InputError, test questions that are learnt from, before anything is done.

        Those of files that are yet to be made, a world's, say, are looked at before their teacher
        runs.
        """
        for data, source in self.data.items():
            if source.is_made:
                self.check_learnt(data)

    def check_learnt(self, data: str) -> None:
        """The same of the questions of one data set, which are there."""
        self.leakage(data).check(f"data.{data}")
        if self.data[data].dev_size and self.data[data].is_made:
            self.check_dev(data)
        for asked in self.asked.values():
            if asked.is_made:
                self.check_apart(data, asked.name)

    def check_dev(self, data: str) -> None:
        """Refuse, as an InputError, development questions that are trained on or tested on."""
        asked = {name: found.test for name, found in self.asked.items() if found.is_made}
        check_dev(self.data[data], asked)

    def folder(self, stage: Stage, *names: str) -> Path:
        """Where a stage writes what has these names."""
        return self.out.joinpath(stage, *names)

    def anew(self) -> Workspace:
        """The same with nothing open, for another process."""
        return Workspace(self.settings, self.out)

    def test_questions(self, data: str) -> Path:
        """The file of a data set's test questions, which no example may be made of."""
        return self.folder("build", data, TEST_QUESTIONS)

    def trained(self, data: str, student: str, method: str, seed: int) -> Path:
        """Where a trained student goes."""
        return self.folder("train", data, student, f"{method}-{seed}")

    def begins_with(self, data: str, student: str, method: str, seed: int) -> str:
        """The model that a method trains: the untrained one, or the student of `states_of`."""
        before = self._trains_on(method)
        if before is not None:
            return str(self.trained(data, student, before, seed))
        return locate_model(self.settings.students[student].model)

    def trained_before(self, method: str) -> tuple[str, ...]:
        """The methods whose students one needs: for its length, to train them on, to take them."""
        before = self._trains_on(method), self.settings.recipes[method].student_of
        return (*self.settings.length_of(method), *filter(None, before))

    def _trains_on(self, method: str) -> str | None:
        return self.settings.recipes[method].states_of if self.settings.trains_on(method) else None

    def built(self, data: str, student: str, method: str, seed: int) -> Path:
        """Where a method's examples go; those of students' states depend on the students' seed."""
        own = self.settings.recipes[method].states_of is not None
        return self.folder("build", data, student, f"{method}-{seed}" if own else method)

    def collected(self, data: str, student: str, method: str, seed: int) -> Path:
        """Where the run goes in which students come to the states of an on-policy method."""
        return self.folder("collect", data, student, f"{method}-{seed}")

    def relabelled(self, data: str, student: str, method: str, seed: int) -> Path:
        """Where the teacher's steps at these states go."""
        return self.folder("relabel", data, student, f"{method}-{seed}")

    def comparison_file(self, data: str) -> Path:
        """Where a data set's comparison goes."""
        return self.folder("compare", f"{data}.json")

    def report_file(self, data: str) -> Path:
        """Where the report on a data set goes."""
        if list(self.data) == [data]:
            return self.out / "report.html"
        return self.folder("report", f"{data}.html")

    def eval_runs(self, test: str) -> list[EvalRun]:
        """All runs over the test questions of this name."""
        settings = self.settings
        runs = [self._eval_run("teacher", "", f"{test}/teacher")] * settings.evaluate.teacher
        for student in settings.students:
            whose = f"{student} " if len(settings.students) > 1 else ""
            if settings.evaluate.base != "none":
                runs.append(self._eval_run("base", whose, f"{test}/{student}/base", student))
            for data in [test] if test in self.data else self.data:
                runs += self._trained_runs(test, data, student, whose)
        return [*runs, *self._asked_also(runs)]

    def _trained_runs(self, test: str, data: str, student: str, whose: str) -> Iterator[EvalRun]:
        """Those of the students that were trained on a data set."""
        below = test if test == data else f"{test}/{data}"
        if test != data and len(self.data) > 1:
            whose = f"{data} {whose}"
        if self.settings.evaluate.base_demos is not None:
            name = f"{below}/{student}/{BASE_DEMOS}"
            yield self._eval_run(BASE_DEMOS, whose, name, student, None, data)
        for method in self.settings.recipes:
            for seed in self.settings.seeds:
                trained = self.trained(data, student, method, seed)
                name = f"{below}/{student}/{method}-{seed}"
                yield self._eval_run(method, whose, name, student, trained, data)

    def _eval_run(
        self, recipe: str, whose: str, name: str, *answering: Any, **asked: Any
    ) -> EvalRun:
        path = self.folder("eval", *name.split("/"))
        return EvalRun(f"{whose}{recipe}", recipe, name, path, *answering, **asked)

    def _asked_also(self, runs: list[EvalRun]) -> Iterator[EvalRun]:
        """The trained students' runs once more for each entry of `evaluate.also`.

        Not of those whose recipe asks them by a strategy of its own, which has no such settings.
        """
        for also, asked in self.settings.evaluate.also.items():
            for run in runs:
                own = run.trained and self.settings.asked_by(run.recipe).settings_type.model_fields
                if own and asked.keys() <= own.keys():
                    whose = run.method.removesuffix(run.recipe)
                    recipe, name = also_named(run.recipe, also), f"{run.name}.{also}"
                    who = (run.student, run.trained, run.data)
                    yield self._eval_run(recipe, whose, name, *who, asked=asked, also=also)

    def model_of(self, run: EvalRun) -> str:
        """The model that answers, as the settings name it: of a trained student what it was."""
        if run.student is not None:
            return self.settings.students[run.student].model
        return self.settings.evaluate.teacher_model or self.settings.teacher.model

    def methods(self, data: str) -> dict[str, tuple[Path, ...]]:
        """Run folders by method's name; several are a method's seeds."""
        methods: dict[str, tuple[Path, ...]] = {}
        for run in self.eval_runs(data):
            methods[run.method] = (*methods.get(run.method, ()), run.path)
        return methods

    def against(self, data: str) -> dict[str, str]:
        """What the methods of `evaluate.also` are compared with: the baseline asked likewise.

        Or as it is, where its recipe asks it by a strategy without such settings.
        """
        baseline, runs = self.baseline(data), self.eval_runs(data)
        there = {run.method for run in runs}
        likewise = {run.also: also_named(baseline, run.also) for run in runs if run.also}
        likewise = {also: name if name in there else baseline for also, name in likewise.items()}
        return {run.method: likewise[run.also] for run in runs if run.also}

    def baseline(self, data: str) -> str:
        """The name of the method that others are compared with."""
        wanted, names = self.settings.baseline, list(self.methods(data))
        return next((n for n in names if n == wanted or n.endswith(f" {wanted}")), names[0])

    def leakage(self, data: str) -> Leakage:
        """What test questions have in common with what is learnt from, looked up once.

        A data set's own training questions; those of all, for questions that are only asked; and
        demonstrations where prompts show them, the teacher's or the students'.
        """
        if data not in self._leakage:
            learnt = [self.data[data]] if data in self.data else self.data.values()
            sources = {name: found for each in learnt for name, found in each.learnt_from.items()}
            shown = self.settings.teacher.prompt.demos, self.settings.student_prompt().demos
            if max(shown):
                sources["the demonstrations"] = demonstrated(max(shown))
            self._leakage[data] = find_leakage(self.data_set(data).test, sources)
        return self._leakage[data]

    def corpus_learnt(self, data: str) -> str:
        """What a manifest says of the corpus that training questions were asked over."""
        if self.learnt_over(data) in self.apart:
            return f"{TRAIN_CORPUS}.jsonl"
        return self.data[data].settings.corpus

    def index(self, data: str) -> Path | None:
        """Where a data set's index is made; None where it names an index or a server itself."""
        corpus = self.data_set(data).settings.corpus
        if "://" in corpus or names_code(corpus) or Path(corpus).is_dir():
            return None
        return self.folder("index", data)

    def searched(self, data: str) -> Path | str:
        """What is searched: the index that is made, or what the configuration names."""
        return self.index(data) or self.data_set(data).settings.corpus

    def passages(self, data: str) -> list[Passage]:
        """The passages to index."""
        source = self.data_set(data)
        world, corpus = source.world, source.settings.corpus
        if world is not None:
            file = TRAIN_CORPUS if data in self.apart else "corpus"
            return list(load_corpus(world / f"{file}.jsonl"))
        if corpus == "auto":
            return source.corpus()
        return list(load_corpus(Path(corpus)))

    def retriever(self, data: str) -> Retriever | None:
        """A data set's retriever, opened once; None where the strategy does not search."""
        if not self.settings.strategy_kind.searches:
            return None
        if data not in self._retrievers:
            self._retrievers[data] = open_retriever(self.searched(data))
        return self._retrievers[data]

    def form(self, student: str) -> Form:
        """How a student is addressed; its tokenizer is read once."""
        if student not in self._forms:
            model = locate_model(self.settings.students[student].model)
            self._forms[student] = student_form(model)
        return self._forms[student]

    def release(self, data: str) -> None:
        """Close a data set's retriever: its index is about to be replaced."""
        if retriever := self._retrievers.pop(data, None):
            retriever.close()

    def model(self, mark: str, opened: Callable[[], LanguageModel]) -> LanguageModel:
        """The model of this mark: the one that is open, or a new one in its place."""
        if self._model is None or self._model[0] != mark:
            self.close_model()
            self._model = (mark, opened())
        return self._model[1]

    def close_model(self) -> None:
        """Close the open model: memory and threads are needed for something else."""
        if self._model is not None:
            _, model = self._model
            self._model = None
            model.close()

    def close(self) -> None:
        """Close all that is open."""
        self.close_model()
        for name in list(self._retrievers):
            self.release(name)
