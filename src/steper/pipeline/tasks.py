"""All tasks of a pipeline, in the order in which they are done, each with its key."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from steper.artifact import local_digest
from steper.doors import origin
from steper.examples.filters import FILTERS
from steper.lm.shipped import locate_model
from steper.pipeline import stages as do_stage
from steper.pipeline.config import StudentSettings, TeacherSettings
from steper.pipeline.plan import Task, chained
from steper.pipeline.stages import Asked
from steper.pipeline.workspace import Workspace
from steper.recipes import RECIPES
from steper.retrieve import open_retriever
from steper.retrieve.index_folder import MANIFEST_FILE
from steper.retrieve.opening import names_code
from steper.store import sha256_file
from steper.training.train_settings import TrainSettings

HF_KEYS = {"dtype", "form", "context_window", "revision"}
OPENAI_KEYS = {"api", "extra_body", "context_window"}
"""Settings that decide what a model writes; the others decide how fast it does."""


@dataclass
class TaskList:
    """Makes the tasks of a workspace.

    `before` are tasks that all others build on; `digests` stand for the files of models that these
    are yet to make, by the model's spec.
    """

    ws: Workspace
    before: tuple[Task, ...] = ()
    digests: dict[str, Any] = field(default_factory=dict)

    def all(self) -> list[Task]:
        """Every task, stage by stage."""
        names = list(self.ws.settings.data)
        stages = [*self.before]
        for by_data in (self._worlds, self._indexes, self._taught):
            stages += [by_data[n] for n in names if n in by_data]
        stages += self._built.values()
        stages += self._trained.values()
        for name in names:
            stages += self._asked(name).values()
        for name in names:
            stages += self._compared(name)
        return stages + [self._reported(name) for name in names]

    def _needed(self, *tasks: Task | None) -> tuple[list[Task], tuple[str, ...]]:
        found = [*self.before, *(task for task in tasks if task is not None)]
        return found, tuple(task.id for task in found)

    def _task(
        self, stage: Any, name: str, output: Path, own: dict[str, Any], do: Any, *needs: Task | None
    ) -> Task:
        found, ids = self._needed(*needs)
        return Task(stage, name, output, chained(own, found), do, ids)

    @cached_property
    def _worlds(self) -> dict[str, Task]:
        worlds = {}
        for name, data in self.ws.data.items():
            if data.world is None or data.settings.world is None:
                continue
            own = data.settings.world.model_dump(mode="json")
            do = partial(do_stage.make_world, data=name)
            worlds[name] = self._task("world", name, data.world / "world.json", own, do)
        return worlds

    @cached_property
    def _indexes(self) -> dict[str, Task]:
        indexes = {}
        for name in self.ws.data:
            folder = self.ws.index(name)
            if folder is None or not self.ws.settings.strategy_kind.searches:
                continue
            own = {
                "corpus": self._corpus_key(name),
                "bm25": self.ws.settings.index.model_dump(mode="json"),
            }
            do = partial(do_stage.make_index, data=name)
            indexes[name] = self._task(
                "index", name, folder / MANIFEST_FILE, own, do, self._worlds.get(name)
            )
        return indexes

    def _corpus_key(self, name: str) -> Any:
        data = self.ws.data[name]
        corpus = data.settings.corpus
        if data.world is not None:
            return "the world's"
        if corpus == "auto":
            return {path.name: self._hash(path) for path in data.files}
        if "://" in corpus:
            return corpus
        if names_code(corpus):
            return open_retriever(corpus).fingerprint()
        path = Path(corpus)
        return self._hash(path / MANIFEST_FILE if path.is_dir() else path)

    def _hash(self, path: Path) -> Any:
        """A file's hash; what stands for it where it is yet to be made."""
        return self.digests.get(str(path)) or sha256_file(path)

    def _digest(self, spec: str) -> Any:
        """What stands for a local model's files, short; None for other models."""
        return self.digests.get(spec) or (local_digest(spec) or "")[:16] or None

    def _questions_key(self, name: str) -> dict[str, Any]:
        data = self.ws.data[name]
        return data.key(self._hash)

    def _asking(self, name: str) -> dict[str, Any]:
        """What every run over a data set's questions depends on."""
        settings = self.ws.settings
        own: dict[str, Any] = {
            "questions": self._questions_key(name),
            "strategy": {
                "name": settings.strategy_name,
                **settings.strategy_settings.model_dump(mode="json"),
                **origin(settings.strategy_kind),
            },
        }
        if self.ws.index(name) is None:
            own["corpus"] = self._corpus_key(name)
        return own

    def _model_key(self, spec: str, own: TeacherSettings | StudentSettings) -> dict[str, Any]:
        """What decides what a model writes."""
        spec = locate_model(spec)
        named = {"model": spec, "digest": self._digest(spec)}
        if spec.startswith("openai:") and isinstance(own, TeacherSettings):
            openai = own.openai.model_dump(mode="json", include=OPENAI_KEYS)
            return {**named, "generation": _sampling(own), "openai": openai}
        return {**named, **_answering(own)}

    @cached_property
    def _taught(self) -> dict[str, Task]:
        teacher = self.ws.settings.teacher
        taught = {}
        for name in self.ws.data:
            own = {
                **self._asking(name),
                "teacher": self._model_key(teacher.model, teacher),
                "prompt": teacher.prompt.model_dump(mode="json"),
            }
            output = self.ws.out / "teach" / name / "trajectories.jsonl"
            do = partial(do_stage.run_teacher, data=name)
            taught[name] = self._task(
                "teach", name, output, own, do, self._worlds.get(name), self._indexes.get(name)
            )
        return taught

    @cached_property
    def _built(self) -> dict[tuple[str, str, str], Task]:
        settings = self.ws.settings
        built = {}
        for data in self.ws.data:
            for student, learner in settings.students.items():
                for method in settings.recipes:
                    examples = settings.example_settings(method)
                    own = {
                        "examples": examples.model_dump(
                            mode="json",
                            exclude=set() if "form" in examples.model_fields_set else {"form"},
                        ),
                        "filters": settings.filter_settings(method).model_dump(mode="json"),
                        "form of": learner.model,
                        **self._parts_key(method),
                    }
                    name = f"{data}/{student}/{method}"
                    output = self.ws.out / "build" / name / "manifest.json"
                    do = partial(do_stage.make_examples, data=data, student=student, method=method)
                    built[data, student, method] = self._task(
                        "build", name, output, own, do, self._taught[data]
                    )
        return built

    def _parts_key(self, method: str) -> dict[str, Any]:
        """Code and models of a method's own; {} where it has none."""
        own = self.ws.settings.recipes[method]
        recipe = RECIPES.find(own.recipe or method)
        found = {
            "recipe_from": origin(recipe.make),
            "more_filters": [{name: origin(FILTERS.find(name))} for name in own.more_filters],
            "judge": own.judge,
        }
        return {name: value for name, value in found.items() if value}

    @cached_property
    def _trained(self) -> dict[tuple[str, str, str, int], Task]:
        settings = self.ws.settings
        trained: dict[tuple[str, str, str, int], Task] = {}
        # Those that take their length from another's come after it.
        for (data, student, method), built in sorted(
            self._built.items(), key=lambda item: bool(settings.recipes[item[0][2]].tokens_of)
        ):
            for seed in settings.seeds:
                train: TrainSettings = settings.train_settings(method, seed)
                spec = locate_model(settings.students[student].model)
                own = {
                    "training": train.fingerprint(),
                    "student": self._digest(spec) or spec,
                }
                like = settings.recipes[method].tokens_of
                before = trained[data, student, like, seed] if like else None
                name = f"{data}/{student}/{method}-{seed}"
                output = self.ws.out / "train" / name / "config.json"
                do = partial(
                    do_stage.train_student, data=data, student=student, method=method, seed=seed
                )
                trained[data, student, method, seed] = self._task(
                    "train", name, output, own, do, built, before
                )
        return trained

    def _asked(self, data: str) -> dict[str, Task]:
        """Evaluations of a data set, by the run's name."""
        settings, asked = self.ws.settings, {}
        folder = self.ws.out / "eval" / data
        before = (self._worlds.get(data), self._indexes.get(data))

        def add(who: Asked, own: dict[str, Any], *needs: Task | None) -> None:
            name = who.path.relative_to(folder).as_posix()
            own = {**self._asking(data), **own}
            own["bootstrap"] = settings.evaluate.bootstrap.model_dump(mode="json")
            do = partial(do_stage.evaluate, data=data, asked=who)
            output = who.path / "metrics.json"
            asked[name] = self._task("eval", f"{data}/{name}", output, own, do, *before, *needs)

        for who in self.asked(data):
            if who.folder is not None and who.student is not None:
                key = ("train", *who.folder.relative_to(self.ws.out / "train").parts)
                trained = next(t for t in self._trained.values() if t.id == "/".join(key))
                learner = settings.students[who.student]
                add(who, {"model": _answering(learner)}, trained)
            elif who.student is not None:
                learner = settings.students[who.student]
                prompt = do_stage.base_prompt(self.ws).model_dump(mode="json")
                add(who, {"model": self._model_key(learner.model, learner), "prompt": prompt})
            else:
                teacher = settings.teacher
                model = settings.evaluate.teacher_model or teacher.model
                own = {"model": self._model_key(model, teacher)}
                add(who, {**own, "prompt": teacher.prompt.model_dump(mode="json")})
        return asked

    def asked(self, data: str) -> list[Asked]:
        """Who is asked a data set's test questions: teacher, untrained students, trained ones."""
        settings = self.ws.settings
        folder, several = self.ws.out / "eval" / data, len(settings.students) > 1
        found = []
        if settings.evaluate.teacher:
            found.append(Asked("teacher", folder / "teacher", "teacher"))
        for student in settings.students:
            prefix = f"{student} " if several else ""
            if settings.evaluate.base != "none":
                path = folder / student / "base"
                found.append(Asked(f"{prefix}base", path, "base", student))
            for method in settings.recipes:
                for seed in settings.seeds:
                    name = f"{method}-{seed}"
                    trained = self.ws.out / "train" / data / student / name
                    path = folder / student / name
                    found.append(Asked(f"{prefix}{method}", path, "student", student, trained))
        return found

    def methods(self, data: str) -> dict[str, tuple[Path, ...]]:
        """Run folders by method's name; several are a method's seeds."""
        methods: dict[str, tuple[Path, ...]] = {}
        for who in self.asked(data):
            methods[who.method] = (*methods.get(who.method, ()), who.path)
        return methods

    def baseline(self, data: str) -> str:
        """The name of the method that others are compared with."""
        wanted = self.ws.settings.baseline
        names = list(self.methods(data))
        return next((n for n in names if n == wanted or n.endswith(f" {wanted}")), names[0])

    def _compared(self, data: str) -> list[Task]:
        """The comparison; none of a single method."""
        methods = self.methods(data)
        if len(methods) < 2:
            return []
        own = self.ws.settings.evaluate
        key = {
            "baseline": self.baseline(data),
            "metrics": list(own.metrics),
            "bootstrap": own.bootstrap.model_dump(mode="json"),
        }
        do = partial(
            do_stage.compare_runs, data=data, methods=methods, baseline=self.baseline(data)
        )
        output = do_stage.comparison_file(self.ws.out, data)
        return [self._task("compare", data, output, key, do, *self._asked(data).values())]

    def report_file(self, data: str) -> Path:
        """Where the report on a data set goes."""
        if len(self.ws.data) == 1:
            return self.ws.out / "report.html"
        return self.ws.out / "report" / f"{data}.html"

    def _reported(self, data: str) -> Task:
        out = self.report_file(data)
        key = {
            "baseline": self.baseline(data),
            "report": self.ws.settings.report.model_dump(mode="json"),
            "bootstrap": self.ws.settings.evaluate.bootstrap.model_dump(mode="json"),
        }
        do = partial(
            do_stage.make_report,
            data=data,
            methods=self.methods(data),
            baseline=self.baseline(data),
            out=out,
        )
        return self._task("report", data, out, key, do, *self._asked(data).values())


def _sampling(own: TeacherSettings | StudentSettings) -> dict[str, Any]:
    """How tokens are chosen; a seed says nothing where the likeliest is taken."""
    own_settings = own.generation.model_dump(mode="json")
    return own_settings if own.generation.temperature else {"temperature": 0.0}


def _answering(own: TeacherSettings | StudentSettings) -> dict[str, Any]:
    """What decides what a local model writes, beside its weights."""
    return {"generation": _sampling(own), "hf": own.hf.model_dump(mode="json", include=HF_KEYS)}
