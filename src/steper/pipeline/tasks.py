"""All tasks of a pipeline, in the order in which they are done, each with its key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from steper.artifact import as_json, settings_hash
from steper.lm.model_settings import HFSettings
from steper.pipeline import choices, first_stages, on_policy, stages, trials
from steper.pipeline.choices import Whose
from steper.pipeline.model_keys import Key, local_key
from steper.pipeline.places import load_of, load_of_local
from steper.pipeline.plan import Load, Stage, Task, in_order
from steper.pipeline.task_keys import Keys
from steper.pipeline.tune_settings import Trial
from steper.pipeline.tuning import trials_of, tuned_as
from steper.pipeline.workspace import EvalRun, Workspace
from steper.retrieve.index_folder import MANIFEST_FILE
from steper.student import STEPER


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

    @property
    def _keys(self) -> Keys:
        return Keys(self.ws, self.digests)

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
                work = partial(first_stages.make_base, student=name)
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
            without = () if name in self.ws.data else ("apart",)  # nothing is learnt from others
            key = data.settings.world.key(*without)
            work = partial(first_stages.make_world, data=name)
            worlds[name] = self._task("world", name, data.world / "world.json", key, work)
        return worlds

    @cached_property
    def _indexes(self) -> dict[str, Task]:
        indexes = {}
        for name in [*self.ws.tests, *self.ws.apart]:
            folder = self.ws.index(name)
            if folder is None or not self.ws.settings.strategy_kind.searches:
                continue
            bm25 = self.ws.settings.index.model_dump(mode="json")
            key = {"corpus": self._keys.corpus(name), "bm25": bm25}
            world = self._worlds.get(self.ws.data_set(name).name)
            work = partial(first_stages.make_index, data=name)
            indexes[name] = self._task("index", name, folder / MANIFEST_FILE, key, work, world)
        return indexes

    @cached_property
    def _taught(self) -> dict[str, Task]:
        teacher = self.ws.settings.teacher
        taught = {}
        for name in self.ws.data:
            key = {
                **self._keys.asking(name),
                "teacher": self._keys.model(teacher.model, teacher),
                "prompt": teacher.prompt.model_dump(mode="json"),
                **({"samples": teacher.samples} if teacher.samples > 1 else {}),
            }
            output = self.ws.folder("teach", name, "trajectories.jsonl")
            work, before = partial(stages.run_teacher, data=name), self._before_learning(name)
            load = load_of(teacher.model, teacher.hf)
            taught[name] = self._task("teach", name, output, key, work, *before, load=load)
        return taught

    def _before_asking(self, name: str) -> tuple[Task | None, ...]:
        return self._worlds.get(name), self._indexes.get(name)

    def _before_learning(self, name: str) -> tuple[Task | None, ...]:
        return self._worlds.get(name), self._indexes.get(self.ws.learnt_over(name))

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
        chosen = filter(None, map(self._chosen, every))
        tasks = [*map(self._built, every), *chosen, *map(self._trained, last)]
        return in_order(tasks, self._made)

    def _once(self, stage: Stage, name: str, make: Callable[[], Task]) -> Task:
        """The task of that name, made when it is first asked for."""
        task_id = f"{stage}/{name}"
        if task_id not in self._made:
            self._made[task_id] = make()
        return self._made[task_id]

    def _built(self, whose: Whose, trial: Trial | None = None) -> Task:
        """The examples of a student's method; of an on-policy one they have its seed, too.

        Those of a trial where one is given that has examples of its own.
        """
        data, student, method, seed = whose
        settings = self.ws.settings
        trial = trial if trial and trial.built else None
        rounds = settings.rounds_of(method)
        name = f"{data}/{student}/{method}" + (f"-{seed}" if rounds else "")
        name += f".{trial.built}" if trial else ""

        def make() -> Task:
            form_of = settings.students[student].model
            key = {"form of": form_of, **self._keys.recipe(method, trial)}
            output = choices.built(self.ws, whose, trial) / "manifest.json"
            work = partial(stages.make_examples, **_named(whose), trial=trial)
            own = settings.recipe_of(method).learns == "own"
            at = self._collected if own else self._relabelled
            states = [at((data, student, m, seed)) for m in rounds]
            taught = None if settings.trains_on(method) else self._taught[data]
            waits = trial is None and self._keys.chosen(method, "examples")
            chosen = self._chosen(whose) if waits else None
            before = taught, self._bases.get(student), *states, chosen
            return self._task("build", name, output, key, work, *before)

        return self._once("build", name, make)

    def _chosen(self, whose: Whose) -> Task | None:
        """The choice of a method's values, by its own trials or those of the method it follows."""
        data, student, method, _ = whose
        settings, by = self.ws.settings, tuned_as(self.ws.settings, method)
        if settings.tune is None or by is None:
            return None
        found, name = trials_of(settings, by), f"{data}/{student}/{by}"
        whose = data, student, by, settings.tune.seed

        def make() -> Task:
            key = {**self._keys.tuned(by), "refused": found.refused}
            output = choices.choice_file(self.ws, data, student, by)
            work = partial(trials.choose, data=data, student=student, method=by)
            tried = [self._tried(whose, trial) for trial in found.tried]
            task = self._task("tune", name, output, key, work, *tried)
            return replace(task, derived=True)

        return self._once("tune", name, make)

    def _tried(self, whose: Whose, trial: Trial) -> Task:
        """A training with a trial's values, and its run over the development questions."""
        data, student, method, seed = whose
        settings = self.ws.settings
        train = settings.train_settings(method, seed, student, trial.over("train"))
        key = {
            **self._keys.training(student, train),
            **self._keys.asking(data, dev=True),
            "model": local_key(settings.students[student]),
        }
        folder = choices.trial_folder(self.ws, data, student, method, trial.name)
        before = self._dev(data), *self._before_asking(data), self._built(whose, trial)
        name = f"{data}/{student}/{method}/{trial.name}"
        work = partial(trials.run_trial, data=data, student=student, method=method, trial=trial)
        output, load = folder / trials.TRIAL, self._training_load(student)
        return self._once(
            "tune",
            name,
            lambda: self._task("tune", name, output, key, work, *before, load=load),
        )

    def _dev(self, data: str) -> Task | None:
        """The development questions of a generated world; others are there."""
        source = self.ws.data[data]
        if source.dev_made is None or source.settings.world is None:
            return None
        key = {"dev": source.dev_size}
        output, work = source.dev_made, partial(trials.make_dev, data=data)
        world = self._worlds.get(data)
        return self._once("tune", data, lambda: self._task("tune", data, output, key, work, world))

    def _collected(self, whose: Whose) -> Task:
        """The run in which students of the round before come to the states of an on-policy one."""
        data, student, method, seed = whose
        method_settings = self.ws.settings.recipes[method]
        assert method_settings.states_of is not None
        examples = self.ws.settings.example_settings(method)
        key = {
            **self._keys.asking(data),
            "model": local_key(self.ws.settings.students[student]),
            "teacher_share": method_settings.teacher_share,
            "of": {"questions": examples.questions, "seed": examples.seed},
        }
        name, output = "/".join((data, student, f"{method}-{seed}")), self.ws.collected(*whose)
        trained = self._trained((data, student, method_settings.states_of, seed))
        before, work = self._before_learning(data), partial(on_policy.collect, **_named(whose))
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
            "teacher": self._keys.model(teacher.model, teacher),
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

    def _trained(self, whose: Whose) -> Task:
        """The training of a student by a method with a seed."""
        data, student, method, seed = whose
        settings, folder = self.ws.settings, self.ws.trained(*whose)
        name = f"{data}/{student}/{method}-{seed}"

        def make() -> Task:
            train = settings.train_settings(method, seed, student)
            left_out = self._keys.chosen(method, "train")
            key = {**self._keys.training(student, train, left_out), **self._keys.tuned(method)}
            taken = settings.recipes[method].student_of is not None
            stage = stages.take_other_student if taken else stages.train_student
            work = partial(stage, **_named(whose))
            others = self.ws.trained_before(method)
            before = [self._trained((data, student, m, seed)) for m in others]
            needs = self._built(whose), *before, self._chosen(whose)
            taken = taken or choices.is_trial(self.ws, method, seed)
            load: Load = "none" if taken else self._training_load(student)
            return self._task("train", name, folder / STEPER, key, work, *needs, load=load)

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
                **self._keys.asking(data),
                **self._keys.answering(run),
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
