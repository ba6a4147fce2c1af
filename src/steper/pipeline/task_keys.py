"""Keys of tasks: all that decides their results, beside the tasks that they build on."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steper.doors import fingerprint_of, origin
from steper.examples.filters import FILTERS
from steper.lm.model_source import local_digest
from steper.lm.shipped import SHIPPED, locate_model
from steper.pipeline.config import StudentSettings, TeacherSettings
from steper.pipeline.model_keys import Key, local_key, settings_key
from steper.pipeline.tune_settings import Trial, described, values_of
from steper.pipeline.tuning import taken_values, trials_of, tuned_as
from steper.pipeline.untrained import base_prompt, shown_key
from steper.pipeline.workspace import EvalRun, Workspace
from steper.recipes import RECIPES
from steper.retrieve import open_retriever
from steper.retrieve.index_folder import MANIFEST_FILE
from steper.retrieve.opening import names_code
from steper.store import sha256_file
from steper.training.train_settings import TrainSettings


@dataclass(frozen=True)
class Keys:
    """Makes the keys of a workspace; `digests` stand for files that are yet to be made, by path."""

    ws: Workspace
    digests: dict[str, Any]

    def corpus(self, name: str) -> Any:
        """What stands for the passages of a data set."""
        data = self.ws.data_set(name)
        corpus = data.settings.corpus
        if data.world is not None:
            return "the world's"
        if corpus == "auto":
            return {path.name: self.hash(path) for path in data.files}
        if "://" in corpus:  # by the name that is stated behind an address, if any
            return corpus.partition("#")[2] or corpus
        if names_code(corpus):
            return fingerprint_of(open_retriever(corpus))
        path = Path(corpus)
        return self.hash(path / MANIFEST_FILE if path.is_dir() else path)

    def hash(self, path: Path) -> Any:
        """A file's hash; what stands for it where it is yet to be made."""
        return self.digests.get(str(path)) or sha256_file(path)

    def digest(self, spec: str) -> Any:
        """What stands for a local model's files, short; None for other models."""
        return self.digests.get(spec) or (local_digest(spec) or "")[:16] or None

    def asking(self, name: str, dev: bool = False) -> Key:
        """What every run over a data set's questions depends on, or over those for development."""
        settings = self.ws.settings
        whose = self.ws.data[name].dev_key if dev else self.ws.data_set(name).key
        key: Key = {
            "questions": whose(self.hash),
            "strategy": {
                "name": settings.strategy_name,
                **settings.strategy_settings.model_dump(mode="json"),
                **origin(settings.strategy_kind),
            },
        }
        if self.ws.index(name) is None:
            key["corpus"] = self.corpus(name)
        return key

    def model(self, spec: str, settings: TeacherSettings | StudentSettings) -> Key:
        """What decides what a model writes."""
        found = locate_model(spec)
        # A shipped one is known by its name: another installation has it in another place.
        named = {
            "model": spec if spec.startswith(SHIPPED) else found,
            "digest": self.digest(found),
        }
        return {**named, **settings_key(found, settings)}

    def recipe(self, method: str, trial: Trial | None = None) -> Key:
        """A method's settings of examples and filters, and its own code and models, if any.

        Those of a trial where one is given; without, those that are chosen later are left out.
        """
        method_settings = self.ws.settings.recipes[method]
        over = trial.over("examples") if trial else {}
        examples = self.ws.settings.example_settings(method, over)
        left_out = set() if "form" in examples.model_fields_set else {"form"}
        left_out |= set() if trial else self.chosen(method, "examples")
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

    def chosen(self, method: str, section: str) -> set[str]:
        """The settings of a section that are chosen for a method by tuning."""
        settings = self.ws.settings
        if settings.tune is None or tuned_as(settings, method) is None:
            return set()
        return {*values_of(taken_values(settings, method, settings.tune.grid), section)}

    def training(
        self, student: str, settings: TrainSettings, left_out: Collection[str] = ()
    ) -> Key:
        """A training's settings and models, without those that are chosen later."""
        spec, made = locate_model(self.ws.settings.students[student].model), settings.fingerprint()
        training = {name: value for name, value in made.items() if name not in left_out}
        key: Key = {"training": training, "student": self.digest(spec) or spec}
        for what in {"reranker", "teacher"}.difference(left_out):
            if model := getattr(settings, what):
                key[what] = self.digest(locate_model(model)) or locate_model(model)
        return key

    def tuned(self, method: str) -> Key:
        """How a method's values are chosen; nothing where they are not."""
        settings = self.ws.settings
        by = tuned_as(settings, method)
        if settings.tune is None or by is None:
            return {}
        tried = [described(trial.values) for trial in trials_of(settings, by).tried]
        own = {"method": by, "metric": settings.tune.metric, "tried": "; ".join(tried)}
        return {"tuned": own}

    def answering(self, run: EvalRun) -> Key:
        """Who answers, and how it is prompted; a trained student is part of the tasks before."""
        settings = self.ws.settings
        if run.student is None:
            teacher = settings.teacher
            model = self.model(self.ws.model_of(run), teacher)
            return {"model": model, "prompt": teacher.prompt.model_dump(mode="json")}
        student = settings.students[run.student]
        if run.trained is not None:
            return {"model": local_key(student), **({"asked": run.asked} if run.asked else {})}
        prompt = base_prompt(settings, run).model_dump(mode="json")
        shown = {"shown": shown_key(settings)} if run.data else {}
        return {"model": self.model(student.model, student), "prompt": prompt, **shown}
