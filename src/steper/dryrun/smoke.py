"""`--smoke`: a pipeline made so small that all of it runs in a couple of minutes on two cores.

Everything that the configuration says is kept but sizes: data sets are cut to ten training and ten
test questions, big models are replaced by tiny random ones of the same architecture, training ends
after a few steps. The teacher's trajectories are gold annotations, because a random teacher would
answer nothing right and leave nothing to learn; the random teacher is asked the test questions all
the same. Scores mean nothing then. What was replaced is said in `notes`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from steper.dryrun.stand_ins import cut_files, generated, write_rows
from steper.dryrun.tiny import LLAMA, Family, family_of, is_large, make_tiny_model
from steper.errors import ModelError
from steper.lm.shipped import locate_model
from steper.pipeline.config import DataSettings, MethodSettings, PipelineSettings, StudentSettings
from steper.pipeline.pipeline import Pipeline
from steper.pipeline.plan import Advance, Task
from steper.pipeline.workspace import Workspace
from steper.store import sha256_file

QUESTIONS = 10
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
    maker = _Smoke(settings, Path(out).absolute())
    small = maker.settings()
    return Pipeline(small, out, tuple(maker.tasks), maker.digests), maker.notes


class _Smoke:
    """Makes the small settings, collecting what has to be made first, and what to say of it."""

    def __init__(self, settings: PipelineSettings, out: Path) -> None:
        self._old = settings
        self._folder = out / "stand-ins"
        self.tasks: list[Task] = []
        self.digests: dict[str, Any] = {}
        self.notes: list[str] = []

    def settings(self) -> PipelineSettings:
        """The small settings."""
        old = self._old
        data = {name: self._data(name, own) for name, own in old.data.items()}
        students = {name: self._student(name, own) for name, own in old.students.items()}
        teacher, teacher_model = self._teacher()
        limit = min(MAX_TOKENS, old.strategy_settings.max_tokens)
        train = _without(old.train.model_dump(exclude_unset=True), LENGTHS | CLUSTER)
        small = {"max_steps": STEPS, "batch_size": BATCH, "micro_batch_size": 1}
        recipes = {name: self._method(own) for name, own in old.recipes.items()}
        evaluate = {
            "teacher_model": teacher_model,
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
                "train": type(old.train).model_validate({**train, **small}),
                "recipes": recipes,
                "seeds": old.seeds[:1],
                "evaluate": old.evaluate.model_copy(update=evaluate),
            }
        )

    def _method(self, own: MethodSettings) -> MethodSettings:
        return own.model_copy(update={"train": _without(own.train, LENGTHS | CLUSTER)})

    def _data(self, name: str, own: DataSettings) -> DataSettings:
        """A data set of ten training and ten test questions."""
        if own.world is not None:
            size = {
                "train": min(QUESTIONS, own.world.train),
                "test": min(QUESTIONS, own.world.test),
            }
            self.notes.append(f"{name}: a world of {size['train']} + {size['test']} questions")
            world = own.world.model_copy(update=size)
            return own.model_copy(update={"world": world, "train_size": None, "test_size": None})
        there = [path for path in (own.questions, own.test) if path and path.is_file()]
        kind = own.benchmark if own.benchmark != "auto" else "2wikimultihopqa"
        suffix = ".jsonl" if kind == "musique" else ".json"
        if there:  # of gzip and Parquet the rows alone are kept
            suffix = ".json" if there[0].suffix == ".json" else ".jsonl"
        train, test = (self._folder / name / f"{part}{suffix}" for part in ("train", "test"))
        self._say_data(name, own, there, kind)
        key: dict[str, Any] = {"questions": QUESTIONS, "format": kind}
        key["of"] = {str(path): sha256_file(path) for path in there} or "generated"
        do = partial(_write_data, own=own, kind=kind, files=(train, test))
        self._add(f"{name}", test, key, do, train, test)
        aliases = own.aliases if own.aliases and own.aliases.is_file() and there else None
        changed = {"questions": train, "test": test, "aliases": aliases, "corpus": "auto"}
        sizes = {"train_size": None, "test_size": None}
        return own.model_copy(update={**changed, **sizes})

    def _say_data(self, name: str, own: DataSettings, there: Sequence[Path], kind: str) -> None:
        missing = [str(p) for p in (own.questions, own.test) if p and p not in there]
        if not there:
            self.notes.append(
                f"{name}: {' and '.join(missing)} not there; {QUESTIONS} + {QUESTIONS} generated "
                f"questions in {kind} format stand in"
            )
            return
        source = " and ".join(path.name for path in there)
        held = "" if len(there) > 1 else ", test questions held out"
        absent = f" ({' and '.join(missing)} not there)" if missing else ""
        self.notes.append(
            f"{name}: {QUESTIONS} + {QUESTIONS} questions of {source}{held}{absent}; "
            "their contexts are the corpus"
        )

    def _add(self, name: str, output: Path, key: dict[str, Any], do: Any, *made: Path) -> None:
        self.tasks.append(Task("stand-ins", name, output, key, do))
        for path in made:
            self.digests[str(path)] = key

    def _student(self, name: str, own: StudentSettings) -> StudentSettings:
        model = self._model(f"student-{name}", own.model)
        hf = own.hf.model_copy(update={"revision": None, "trust_remote_code": False})
        return own.model_copy(update={"model": model, "hf": hf if model != own.model else own.hf})

    def _teacher(self) -> tuple[Any, str | None]:
        """The teacher of the training questions, and the model asked the test questions."""
        old = self._old.teacher
        kind = old.model.partition(":")[0]
        words = min(PASSAGE_WORDS, old.prompt.passage_words)
        prompt = old.prompt.model_copy(update={"passage_words": words})
        if kind in ("gold", "scripted") or self._is_small(old.model):
            return old.model_copy(update={"prompt": prompt}), self._old.evaluate.teacher_model
        tiny = self._model("teacher", old.model)
        self.notes.append(
            "training trajectories come from the gold annotations, not from the random teacher; "
            "that one is asked the test questions"
        )
        hf = old.hf.model_copy(update={"revision": None, "trust_remote_code": False})
        return old.model_copy(update={"model": "gold", "hf": hf, "prompt": prompt}), tiny

    def _model(self, name: str, spec: str) -> str:
        """A tiny random model in the place of a big one."""
        if self._is_small(spec):
            return spec
        family, large = family_of(spec), is_large(spec)
        known = "" if family else f", whose architecture is not known here, so a {LLAMA.name}"
        family = family or LLAMA
        folder = self._folder / name
        key = {"family": family.name, "large": large, "version": 1}
        do = partial(_write_model, folder=folder, family=family, large=large)
        self._add(name, folder / "tokenizer_config.json", key, do, folder)
        self.notes.append(f"{spec}{known}: a tiny random {family.name} stands in")
        return str(folder)

    def _is_small(self, spec: str) -> bool:
        try:
            folder = Path(locate_model(spec).removeprefix("hf:"))
        except ModelError:
            return False
        if not (folder / "config.json").is_file():
            return False
        return sum(p.stat().st_size for p in folder.iterdir() if p.is_file()) < SMALL_BYTES


def _without(values: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


def _write_model(
    ws: Workspace, overwrite: bool, advance: Advance, *, folder: Path, family: Family, large: bool
) -> str:
    parameters = make_tiny_model(folder, family, large, seed=int(large))
    return f"a random {family.name} of {parameters:,} parameters"


def _write_data(
    ws: Workspace,
    overwrite: bool,
    advance: Advance,
    *,
    own: DataSettings,
    kind: str,
    files: tuple[Path, Path],
) -> str:
    train, test = (p if p and p.is_file() else None for p in (own.questions, own.test))
    rows = cut_files(train, test, QUESTIONS) if train or test else generated(kind, QUESTIONS)
    for path, part in zip(files, rows, strict=True):
        write_rows(path, part)
    return f"{len(rows[0])} training and {len(rows[1])} test questions"
