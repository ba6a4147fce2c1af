"""`--smoke`: a pipeline made so small that all of it runs in a couple of minutes on two cores.

Everything that the configuration says is kept but sizes: data sets are cut to ten training and ten
test questions, big models are replaced by tiny random ones of the same architecture, training ends
after a few steps. The teacher's trajectories are gold annotations, because a random teacher would
answer nothing right and leave nothing to learn; the random teacher is asked the test questions all
the same. Scores mean nothing then. What was replaced is said in `notes`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from steper.data import read_question_file
from steper.dryrun.stand_ins import cut_files, generated, write_rows
from steper.dryrun.tiny import LLAMA, Family, family_of, is_large, make_tiny_model
from steper.errors import ModelError
from steper.lm.shipped import model_folder
from steper.pipeline.config import PipelineSettings, StudentSettings, TeacherSettings
from steper.pipeline.data_settings import AskedSettings, DataSettings
from steper.pipeline.pipeline import Pipeline
from steper.pipeline.plan import Task
from steper.pipeline.tune_settings import TuneSettings
from steper.store import sha256_file

QUESTIONS = 10
DEV_QUESTIONS = 3
STEPS = 3
BATCH = 2
MAX_TOKENS = 32
PASSAGE_WORDS = 40
RESAMPLES = 200
SMALL_BYTES = 100 << 20
"""A model folder below this size is small enough as it is."""

LENGTHS = {"epochs", "max_steps", "max_tokens", "batch_size", "save_every", "eval_every"}
CLUSTER = {"trainer", "processes", "report_to", "dtype"}
"""Training settings that a smoke run sets itself or does without."""


def smoke_pipeline(settings: PipelineSettings, out: Path | str) -> tuple[Pipeline, list[str]]:
    """The small pipeline in the folder `out`, and in words what was replaced."""
    maker = _Smaller(settings, Path(out).absolute() / "stand-ins")
    small = maker.settings()
    return Pipeline(small, out, tuple(maker.tasks), maker.digests), maker.notes


class _Smaller:
    """Makes the small settings, collecting what has to be made first, and what to say of it.

    `folder` is for what stands in for data and models.
    """

    def __init__(self, settings: PipelineSettings, folder: Path) -> None:
        self._old = settings
        self._folder = folder
        self.tasks: list[Task] = []
        self.digests: dict[str, Any] = {}
        self.notes: list[str] = []

    def settings(self) -> PipelineSettings:
        """The small settings."""
        old = self._old
        data = {name: self._data(name, settings) for name, settings in old.data.items()}
        students = {name: self._student(name, settings) for name, settings in old.students.items()}
        teacher, teacher_model = self._teacher()
        limit = min(MAX_TOKENS, old.strategy_settings.max_tokens)
        small = {"max_steps": STEPS, "batch_size": BATCH, "micro_batch_size": 1}
        train = {**_kept(old.train.model_dump(exclude_unset=True)), **small}
        recipes = {
            name: method.model_copy(update={"train": _kept(method.train)})
            for name, method in old.recipes.items()
        }
        tune = self._tune()
        evaluate = {
            "teacher_model": teacher_model,
            "further": self._further(),
            "bootstrap": old.evaluate.bootstrap.model_copy(update={"resamples": RESAMPLES}),
        }
        self.notes.append(
            f"training ends after {STEPS} steps of {BATCH} trajectories, generations after "
            f"{limit} tokens, prompts show {PASSAGE_WORDS} words of a passage; seed "
            f"{old.seeds[0]} alone. Scores of random models mean nothing: this run shows that "
            "every stage works"
        )
        return old.model_copy(
            update={
                "data": data,
                "students": students,
                "teacher": teacher,
                "strategy": {**old.strategy, "max_tokens": limit},
                "train": type(old.train).model_validate(train),
                "recipes": recipes,
                "seeds": old.seeds[:1],
                "tune": tune,
                "evaluate": old.evaluate.model_copy(update=evaluate),
                "jobs": 1,  # each task takes less time than a process of its own to start
            }
        )

    def _tune(self) -> TuneSettings | None:
        """Two values at the most of what is tried, asked about a few questions."""
        old = self._old.tune
        left_out = {f"train.{name}" for name in LENGTHS | CLUSTER}
        grid = (
            {place: v[:2] for place, v in old.grid.items() if place not in left_out} if old else {}
        )
        if old is None or not grid:
            return None
        self.notes.append(f"each setting is tuned by two values on {DEV_QUESTIONS} questions")
        return old.model_copy(update={"grid": grid, "questions": DEV_QUESTIONS})

    def _data(self, name: str, old: DataSettings) -> DataSettings:
        """A data set of ten training and ten test questions."""
        whole = {"train_size": None, "test_size": None, "dev": None}
        if old.world is not None:
            train, test = min(QUESTIONS, old.world.train), min(QUESTIONS, old.world.test)
            self.notes.append(f"{name}: a world of {train} + {test} questions")
            world = old.world.model_copy(update={"train": train, "test": test})
            return old.model_copy(update={"world": world, **whole})
        named = [path for path in (old.questions, old.test) if path]
        there = [path for path in named if path.is_file()]
        kind = old.benchmark if old.benchmark != "auto" else "2wikimultihopqa"
        missing = " and ".join(str(path) for path in named if path not in there)
        if there:
            source = " and ".join(path.name for path in there)
            source += "" if len(there) > 1 else ", test questions held out"
            source += f" ({missing} not there)" if missing else ""
            note = f"questions of {source}; their contexts are the corpus"
            self.notes.append(f"{name}: {QUESTIONS} + {QUESTIONS} {note}")
        else:
            note = f"{QUESTIONS} + {QUESTIONS} generated questions in {kind} format stand in"
            self.notes.append(f"{name}: {missing} not there; {note}")
        suffix = ".jsonl" if kind == "musique" else ".json"
        if there:  # of gzip and Parquet the rows alone are kept
            suffix = ".json" if there[0].suffix == ".json" else ".jsonl"
        files = [self._folder / name / f"{part}{suffix}" for part in ("train", "test")]
        key = {
            "questions": QUESTIONS,
            "format": kind,
            "of": {str(path): sha256_file(path) for path in there} or "generated",
        }
        work = partial(_write_data, old=old, kind=kind, files=files)
        self._add(name, files[1], key, work, *files)
        aliases = old.aliases if old.aliases and old.aliases.is_file() and there else None
        made = {"questions": files[0], "test": files[1], "aliases": aliases, "corpus": "auto"}
        return old.model_copy(update={**made, **whole})

    def _further(self) -> dict[str, AskedSettings]:
        """Ten of each set of further questions; what is not there is not asked."""
        small = {}
        for name, old in self._old.evaluate.further.items():
            if old.world is not None:
                world = old.world.model_copy(update={"train": 1, "test": QUESTIONS})
                small[name] = old.model_copy(update={"world": world, "test_size": None})
            elif old.questions is not None and old.questions.is_file():
                there = read_question_file(old.questions, old.benchmark, old.aliases).questions
                small[name] = old.model_copy(update={"test_size": min(QUESTIONS, len(there))})
            else:
                self.notes.append(f"{name}: {old.questions} not there, so nobody is asked")
        return small

    def _add(
        self, name: str, output: Path, key: dict[str, Any], work: Callable[..., str], *made: Path
    ) -> None:
        """A task that makes files or folders, which its key stands for until they are there."""
        self.tasks.append(Task("stand-ins", name, output, key, work))
        self.digests.update({str(path): key for path in made})

    def _student(self, name: str, old: StudentSettings) -> StudentSettings:
        model = self._model(f"student-{name}", old.model)
        if model == old.model:
            return old
        return old.model_copy(update={"model": model, "made_by": None, **_local(old)})

    def _teacher(self) -> tuple[TeacherSettings, str | None]:
        """The teacher of the training questions, and the model asked the test questions."""
        old = self._old.teacher
        words = min(PASSAGE_WORDS, old.prompt.passage_words)
        prompt = {"prompt": old.prompt.model_copy(update={"passage_words": words})}
        if old.model.partition(":")[0] in ("gold", "scripted") or _is_small(old.model):
            return old.model_copy(update=prompt), self._old.evaluate.teacher_model
        tiny = self._model("teacher", old.model)
        self.notes.append(
            "training trajectories come from the gold annotations, not from the random teacher; "
            "that one is asked the test questions"
        )
        gold = {"model": "gold", "samples": 1}  # annotations are no different a second time
        return old.model_copy(update={**gold, **_local(old), **prompt}), tiny

    def _model(self, name: str, spec: str) -> str:
        """A tiny random model in the place of a big one."""
        if _is_small(spec):
            return spec
        family, large, folder = family_of(spec), is_large(spec), self._folder / name
        known = "" if family else f", whose architecture is not known here, so a {LLAMA.name}"
        family = family or LLAMA
        key = {"family": family.name, "large": large, "version": 1}
        work = partial(_write_model, folder=folder, family=family, large=large)
        self._add(name, folder / "tokenizer_config.json", key, work, folder)
        self.notes.append(f"{spec}{known}: a tiny random {family.name} stands in")
        return str(folder)


def _is_small(spec: str) -> bool:
    try:
        folder = model_folder(spec)
    except ModelError:
        return False
    if not (folder / "config.json").is_file():
        return False
    return sum(p.stat().st_size for p in folder.iterdir() if p.is_file()) < SMALL_BYTES


def _local(old: TeacherSettings | StudentSettings) -> dict[str, Any]:
    """Settings of a model that was made here."""
    return {"hf": old.hf.model_copy(update={"revision": None, "trust_remote_code": False})}


def _kept(training: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in training.items() if name not in LENGTHS | CLUSTER}


def _write_model(*_: object, folder: Path, family: Family, large: bool) -> str:
    parameters = make_tiny_model(folder, family, large, seed=int(large))
    return f"a random {family.name} of {parameters:,} parameters"


def _write_data(*_: object, old: DataSettings, kind: str, files: Sequence[Path]) -> str:
    train, test = (path if path and path.is_file() else None for path in (old.questions, old.test))
    rows = cut_files(train, test, QUESTIONS) if train or test else generated(kind, QUESTIONS)
    for path, part in zip(files, rows, strict=True):
        write_rows(path, part)
    return f"{len(rows[0])} training and {len(rows[1])} test questions"
