"""All tasks of a pipeline, in the order in which they are done, each with its key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from steper.artifact import as_json, settings_hash
from steper.doors import fingerprint_of, origin
from steper.examples.filters import FILTERS
from steper.lm.model_settings import HFSettings
from steper.lm.model_source import local_digest
from steper.lm.shipped import SHIPPED, locate_model
from steper.pipeline import on_policy, stages
from steper.pipeline.config import StudentSettings, TeacherSettings
from steper.pipeline.model_keys import Key, local_key, settings_key
from steper.pipeline.places import load_of, load_of_local
from steper.pipeline.plan import Load, Stage, Task, in_order
from steper.pipeline.untrained import base_prompt, shown_key
from steper.pipeline.workspace import EvalRun, Workspace
from steper.recipes import RECIPES
from steper.retrieve import open_retriever
from steper.retrieve.index_folder import MANIFEST_FILE
from steper.retrieve.opening import names_code
from steper.store import sha256_file
from steper.student import STEPER

Whose = tuple[str, str, str, int]
"""Data set, student, method and seed."""


@dataclass
class TaskList:
    """Makes the tasks of a workspace.

    `before` are tasks that all others build on; `digests` stand for the files of models that these
    are yet to make, by the model's spec.
    """

    ws: Workspace
    before: tuple[Task, ...] = ()
    digests: dict[str, Any] = field(default_factory=dict)
    _made: dict[str, Task] = field(default_factory=dict)

    def all(self) -> list[Task]:
        """Every task, stage by stage."""
        names = self.ws.tests
        return [
            *self.before,
            *self._bases.values(),
            *self._worlds.values(),
            *self._indexes.values(),
            *self._taught.values(),
            *self._students,
            *(task for name in names for task in self._evaluated(name)),
            *(task for name in names for task in self._compared(name)),
            *(self._reported(name) for name in names),
        ]

    def _task(
        self,
        stage: Stage,
        name: str,
        output: Path,
        key: Key,
        work: Callable[..., str],
        *needs: Task | None,
        load: Load = "none",
    ) -> Task:
        """A task; its key has the short hashes of the keys that it builds on, too."""
        before = [*self.before, *filter(None, needs)]
        after = {task.id: settings_hash(as_json(task.key)) for task in before}
        return Task(stage, name, output, {**key, "after": after}, work, tuple(after), load)

    @cached_property
    def _bases(self) -> dict[str, Task]:
        """Untrained students that a command makes; it stands for their files in later keys."""
        bases = {}
        for name, student in self.ws.settings.students.items():
            if student.made_by is not None:
                folder = Path(student.model)
                key = {"made_by": student.made_by, "model": folder.name}
                self.digests.setdefault(student.model, key)
                work = partial(stages.make_base, student=name)
                output = folder / "config.json"
                bases[name] = self._task("base", name, output, key, work, load="small")
        return bases

    @cached_property
    def _worlds(self) -> dict[str, Task]:
        worlds = {}
        for name in self.ws.tests:
            data = self.ws.data_set(name)
            if data.world is None or data.settings.world is None:
                continue
            key = data.settings.world.model_dump(mode="json")
            work = partial(stages.make_world, data=name)
            worlds[name] = self._task("world", name, data.world / "world.json", key, work)
        return worlds

    @cached_property
    def _indexes(self) -> dict[str, Task]:
        indexes = {}
        for name in self.ws.tests:
            folder = self.ws.index(name)
            if folder is None or not self.ws.settings.strategy_kind.searches:
                continue
            bm25 = self.ws.settings.index.model_dump(mode="json")
            key = {"corpus": self._corpus_key(name), "bm25": bm25}
            work, world = partial(stages.make_index, data=name), self._worlds.get(name)
            indexes[name] = self._task("index", name, folder / MANIFEST_FILE, key, work, world)
        return indexes

    def _corpus_key(self, name: str) -> Any:
        data = self.ws.data_set(name)
        corpus = data.settings.corpus
        if data.world is not None:
            return "the world's"
        if corpus == "auto":
            return {path.name: self._hash(path) for path in data.files}
        if "://" in corpus:  # by the name that is stated behind an address, if any
            return corpus.partition("#")[2] or corpus
        if names_code(corpus):
            return fingerprint_of(open_retriever(corpus))
        path = Path(corpus)
        return self._hash(path / MANIFEST_FILE if path.is_dir() else path)

    def _hash(self, path: Path) -> Any:
        """A file's hash; what stands for it where it is yet to be made."""
        return self.digests.get(str(path)) or sha256_file(path)

    def _digest(self, spec: str) -> Any:
        """What stands for a local model's files, short; None for other models."""
        return self.digests.get(spec) or (local_digest(spec) or "")[:16] or None

    def _asking_key(self, name: str) -> Key:
        """What every run over a data set's questions depends on."""
        settings = self.ws.settings
        key: Key = {
            "questions": self.ws.data_set(name).key(self._hash),
            "strategy": {
                "name": settings.strategy_name,
                **settings.strategy_settings.model_dump(mode="json"),
                **origin(settings.strategy_kind),
            },
        }
        if self.ws.index(name) is None:
            key["corpus"] = self._corpus_key(name)
        return key

    def _model_key(self, spec: str, settings: TeacherSettings | StudentSettings) -> Key:
        """What decides what a model writes."""
        found = locate_model(spec)
        # A shipped one is known by its name: another installation has it in another place.
        named = {
            "model": spec if spec.startswith(SHIPPED) else found,
            "digest": self._digest(found),
        }
        return {**named, **settings_key(found, settings)}

    @cached_property
    def _taught(self) -> dict[str, Task]:
        teacher = self.ws.settings.teacher
        taught = {}
        for name in self.ws.data:
            key = {
                **self._asking_key(name),
                "teacher": self._model_key(teacher.model, teacher),
                "prompt": teacher.prompt.model_dump(mode="json"),
                **({"samples": teacher.samples} if teacher.samples > 1 else {}),
            }
            output = self.ws.folder("teach", name, "trajectories.jsonl")
            work, before = partial(stages.run_teacher, data=name), self._before_asking(name)
            load = load_of(teacher.model, teacher.hf)
            taught[name] = self._task("teach", name, output, key, work, *before, load=load)
        return taught

    def _before_asking(self, name: str) -> tuple[Task | None, ...]:
        return self._worlds.get(name), self._indexes.get(name)

    @cached_property
    def _students(self) -> list[Task]:
        """All that makes trained students, each task after those that it builds on."""
        settings = self.ws.settings
        every = [
            (data, student, method, seed)
            for data in self.ws.data
            for student in settings.students
            for method in settings.recipes
            for seed in settings.seeds
        ]
        # Those that take their length from another's come after it.
        last = sorted(every, key=lambda whose: not settings.recipes[whose[2]].by_itself)
        tasks = [*map(self._built, every), *map(self._trained, last)]
        return in_order(tasks, self._made)

    def _once(self, stage: Stage, name: str, make: Callable[[], Task]) -> Task:
        """The task of that name, made when it is first asked for."""
        task_id = f"{stage}/{name}"
        if task_id not in self._made:
            self._made[task_id] = make()
        return self._made[task_id]

    def _built(self, whose: Whose) -> Task:
        """The examples of a student's method; of an on-policy one they have its seed, too."""
        data, student, method, seed = whose
        settings = self.ws.settings
        rounds = settings.rounds_of(method)
        name = f"{data}/{student}/{method}" + (f"-{seed}" if rounds else "")

        def make() -> Task:
            form_of = settings.students[student].model
            key = {"form of": form_of, **self._recipe_key(method)}
            output = self.ws.built(*whose) / "manifest.json"
            work = partial(stages.make_examples, **_named(whose))
            own = settings.recipe_of(method).learns == "own"
            at = self._collected if own else self._relabelled
            states = [at((data, student, m, seed)) for m in rounds]
            taught = None if settings.trains_on(method) else self._taught[data]
            before = taught, self._bases.get(student), *states
            return self._task("build", name, output, key, work, *before)

        return self._once("build", name, make)

    def _collected(self, whose: Whose) -> Task:
        """The run in which students of the round before come to the states of an on-policy one."""
        data, student, method, seed = whose
        method_settings = self.ws.settings.recipes[method]
        assert method_settings.states_of is not None
        examples = self.ws.settings.example_settings(method)
        key = {
            **self._asking_key(data),
            "model": local_key(self.ws.settings.students[student]),
            "teacher_share": method_settings.teacher_share,
            "of": {"questions": examples.questions, "seed": examples.seed},
        }
        name, output = "/".join((data, student, f"{method}-{seed}")), self.ws.collected(*whose)
        trained = self._trained((data, student, method_settings.states_of, seed))
        before, work = self._before_asking(data), partial(on_policy.collect, **_named(whose))
        load = self._student_load(student, self.ws.settings.students[student].hf)
        output /= "trajectories.jsonl"
        return self._once(
            "collect",
            name,
            lambda: self._task("collect", name, output, key, work, *before, trained, load=load),
        )

    def _relabelled(self, whose: Whose) -> Task:
        """The teacher's steps at these states."""
        data, student, method, seed = whose
        teacher = self.ws.settings.teacher
        key = {
            "teacher": self._model_key(teacher.model, teacher),
            "prompt": teacher.prompt.model_dump(mode="json"),
        }
        name, output = "/".join((data, student, f"{method}-{seed}")), self.ws.relabelled(*whose)
        collected, work = self._collected(whose), partial(on_policy.label, **_named(whose))
        load = load_of(teacher.model, teacher.hf)
        output /= "trajectories.jsonl"
        return self._once(
            "relabel",
            name,
            lambda: self._task("relabel", name, output, key, work, collected, load=load),
        )

    def _recipe_key(self, method: str) -> Key:
        """A method's settings of examples and filters, and its own code and models, if any."""
        method_settings = self.ws.settings.recipes[method]
        examples = self.ws.settings.example_settings(method)
        left_out = set() if "form" in examples.model_fields_set else {"form"}
        parts = {
            "recipe_from": origin(RECIPES.find(examples.recipe).make),
            "more_filters": [
                {name: origin(FILTERS.find(name))} for name in method_settings.more_filters
            ],
            "judge": method_settings.judge,
        }
        return {
            "examples": examples.model_dump(mode="json", exclude=left_out),
            "filters": self.ws.settings.filter_settings(method).model_dump(mode="json"),
            **{name: value for name, value in parts.items() if value},
        }

    def _trained(self, whose: Whose) -> Task:
        """The training of a student by a method with a seed."""
        data, student, method, seed = whose
        settings, folder = self.ws.settings, self.ws.trained(*whose)
        name = f"{data}/{student}/{method}-{seed}"

        def make() -> Task:
            spec = locate_model(settings.students[student].model)
            train = settings.train_settings(method, seed, student)
            key = {"training": train.fingerprint(), "student": self._digest(spec) or spec}
            for what in filter(lambda name: getattr(train, name), ("reranker", "teacher")):
                model = locate_model(getattr(train, what))
                key[what] = self._digest(model) or model
            taken = settings.recipes[method].student_of is not None
            stage = stages.take_other_student if taken else stages.train_student
            work = partial(stage, **_named(whose))
            others = self.ws.trained_before(method)
            before = [self._trained((data, student, m, seed)) for m in others]
            built = self._built(whose)
            load: Load = "none" if taken else self._training_load(student)
            return self._task("train", name, folder / STEPER, key, work, built, *before, load=load)

        return self._once("train", name, make)

    def _training_load(self, student: str) -> Load:
        if self.ws.settings.launch.processes > 1:
            return "alone"
        return self._student_load(student, HFSettings())

    def _evaluated(self, data: str) -> list[Task]:
        """Evaluations on a data set."""
        tasks, before = [], self._before_asking(data)
        for run in self.ws.eval_runs(data):
            key = {
                **self._asking_key(data),
                **self._answering_key(run),
                "bootstrap": self.ws.settings.evaluate.bootstrap.model_dump(mode="json"),
            }
            work = partial(stages.evaluate, data=data, eval_run=run)
            answers = self._trained_at(run.trained) if run.trained else self._base_of(run)
            shown = self._taught[run.data] if run.data and not run.trained else None
            output, load = run.path / "metrics.json", self._load(run)
            needs = (*before, answers, shown)
            tasks.append(self._task("eval", run.name, output, key, work, *needs, load=load))
        return tasks

    def _trained_at(self, folder: Path) -> Task:
        return next(task for task in self._students if task.output == folder / STEPER)

    def _base_of(self, run: EvalRun) -> Task | None:
        return self._bases.get(run.student) if run.student is not None else None

    def _load(self, run: EvalRun) -> Load:
        settings = self.ws.settings
        if run.student is None:
            return load_of(self.ws.model_of(run), settings.teacher.hf)
        return self._student_load(run.student, settings.students[run.student].hf)

    def _student_load(self, student: str, hf: HFSettings) -> Load:
        """`load_of_local` of an untrained student; one that is yet to be made is a small one."""
        settings = self.ws.settings.students[student]
        if settings.made_by and not Path(settings.model).is_dir():
            return "small"
        return load_of_local(settings.model, hf)

    def _answering_key(self, run: EvalRun) -> Key:
        """Who answers, and how it is prompted; a trained student is part of the tasks before."""
        settings = self.ws.settings
        if run.student is None:
            teacher = settings.teacher
            model = self._model_key(self.ws.model_of(run), teacher)
            return {"model": model, "prompt": teacher.prompt.model_dump(mode="json")}
        student = settings.students[run.student]
        if run.trained is not None:
            return {"model": local_key(student), **({"asked": run.asked} if run.asked else {})}
        prompt = base_prompt(settings, run).model_dump(mode="json")
        shown = {"shown": shown_key(settings)} if run.data else {}
        return {"model": self._model_key(student.model, student), "prompt": prompt, **shown}

    def _compared(self, data: str) -> list[Task]:
        """The comparison; none of a single method."""
        if len(self.ws.methods(data)) < 2:
            return []
        settings = self.ws.settings.evaluate
        key = {
            "baseline": self.ws.baseline(data),
            "metrics": list(settings.metrics),
            "bootstrap": settings.bootstrap.model_dump(mode="json"),
        }
        output, work = self.ws.comparison_file(data), partial(stages.compare_runs, data=data)
        return [self._task("compare", data, output, key, work, *self._evaluated(data))]

    def _reported(self, data: str) -> Task:
        key = {
            "baseline": self.ws.baseline(data),
            "report": self.ws.settings.report.model_dump(mode="json"),
            "bootstrap": self.ws.settings.evaluate.bootstrap.model_dump(mode="json"),
        }
        output, work = self.ws.report_file(data), partial(stages.make_report, data=data)
        return self._task("report", data, output, key, work, *self._evaluated(data))


def _named(whose: Whose) -> dict[str, Any]:
    """What the stages of a student are told."""
    return dict(zip(("data", "student", "method", "seed"), whose, strict=True))
