"""What each stage does: the library functions that the single commands call, one function a stage.

Each takes the workspace, whether to replace what is there, and whom to tell of its progress, and
returns one line that says what came out.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from steper.artifact import MANIFEST
from steper.engine import Stats
from steper.evaluation.compare import Comparison, compare, load_methods
from steper.evaluation.tables import with_interval
from steper.examples.build import build_examples
from steper.examples.example_folder import write_examples
from steper.examples.student_form import student_form
from steper.lm.base import LanguageModel
from steper.lm.model_settings import HFSettings
from steper.lm.open import open_model
from steper.lm.shipped import locate_model
from steper.pipeline.data_sets import DataSet
from steper.pipeline.plan import Advance
from steper.pipeline.workspace import Workspace
from steper.prompt.render import PromptSettings
from steper.recipes import RECIPES
from steper.records import Question
from steper.reporting import write_report
from steper.retrieve.bm25 import BM25Index
from steper.retrieve.index_folder import replacing_index
from steper.runs import Run, make_strategy, teach
from steper.store import read_json, write_json, write_jsonl
from steper.strategy import Strategy
from steper.student import StudentOptions, open_asked, score_and_write, student_retriever

ALLOWED = StudentOptions(allow_code=True)
"""The code that a pipeline's students name is what its own configuration names."""

TEST_QUESTIONS = "test-questions.jsonl"
"""In a data set's build folder: the test questions, which no example may be made of."""


def make_world(ws: Workspace, overwrite: bool, advance: Advance, *, data: str) -> str:
    """Generate a data set's world and write it."""
    from steper.data.world import make_world as generate
    from steper.data.world import write_world

    own, out = ws.data[data].settings.world, ws.data[data].world
    assert own is not None
    assert out is not None
    world = generate(own.seed, own.domain, {"train": own.train, "test": own.test})
    write_world(world, out)
    return f"{len(world.passages)} articles, {own.train} training and {own.test} test questions"


def make_index(ws: Workspace, overwrite: bool, advance: Advance, *, data: str) -> str:
    """Index a data set's corpus."""
    out = ws.index(data)
    assert out is not None
    ws.release(data)
    passages = ws.passages(data)

    def progress(n: int) -> None:
        advance(n, len(passages), None)

    with replacing_index(out) as new:
        built = BM25Index.build(passages, ws.settings.index, spool=new.parent, on_progress=progress)
        with closing(built):
            built.write(new)
    return f"{len(built):,} passages, {built.n_terms:,} terms"


def open_teacher(
    ws: Workspace, questions: list[Question], mark: str, model: str | None = None
) -> LanguageModel:
    """The teacher's model, or `model` in its place.

    One that is made of annotations knows the given questions alone.
    """
    own = ws.settings.teacher
    spec = locate_model(model or own.model)
    by_questions = spec.partition(":")[0] in ("gold", "scripted")
    return ws.model(
        f"teacher {spec} {mark if by_questions else ''}",
        lambda: open_model(
            spec, generation=own.generation, hf=own.hf, openai=own.openai, questions=questions
        ),
    )


def run_teacher(ws: Workspace, overwrite: bool, advance: Advance, *, data: str) -> str:
    """Run the teacher over a data set's training questions."""
    own = ws.data[data]
    _ = own.test  # refuses files that share questions, before anything is paid for
    lm = open_teacher(ws, own.train, f"train {data}")
    strategy = make_strategy(
        ws.settings.strategy_name, lm, ws.settings.strategy_settings, ws.settings.teacher.prompt
    )
    run = teach(
        own.train,
        strategy,
        lm,
        ws.retriever(data),
        ws.out / "teach" / data,
        in_flight=ws.settings.teacher.in_flight,
        overwrite=overwrite,
        inputs={"questions": own.inputs(own.train_file), "corpus": own.settings.corpus},
        progress=watch(advance),
    )
    return outcome_line(run)


def watch(advance: Advance) -> Any:
    """An engine's progress as a task's."""

    def progress(stats: Stats) -> None:
        advance(stats.done, stats.total, stats)

    return progress


def outcome_line(run: Run) -> str:
    """`240 questions: 231 answered, 9 capped; 123,456 tokens`."""
    counts = run.manifest["counts"]
    states = ", ".join(
        f"{counts[s]} {s}" for s in ("answered", "capped", "failed", "dropped") if counts[s]
    )
    tokens = counts["prompt_tokens"] + counts["completion_tokens"]
    cost = "" if counts["dollars"] is None else f", ${counts['dollars']:.2f}"
    used = f"; {tokens:,} tokens{cost}" if tokens else ""
    return f"{counts['questions']} questions: {states}{used}"


def make_examples(
    ws: Workspace, overwrite: bool, advance: Advance, *, data: str, student: str, method: str
) -> str:
    """Make a recipe's examples of the teacher's trajectories, test questions kept out."""
    settings, own = ws.settings.example_settings(method), ws.settings.recipes[method]
    recipe = RECIPES.find(settings.recipe)
    if "form" not in settings.model_fields_set and recipe.inference.form is None:
        form = student_form(locate_model(ws.settings.students[student].model))
        settings = settings.model_copy(update={"form": form})
    excluded = write_test_questions(ws, ws.data[data])
    build = build_examples(
        ws.out / "teach" / data,
        settings,
        ws.settings.filter_settings(method),
        recipe=recipe,
        strategy=ws.settings.strategy_kind,
        more_filters=own.more_filters,
        exclude=[excluded],
        retriever=ws.retriever(data) if recipe.searches else None,
        judge=open_teacher(ws, [], f"judge {method}", own.judge) if own.judge else None,
    )
    out = ws.out / "build" / data / student / method
    total = build.run.manifest["counts"]["questions"]
    written = write_examples(
        build, out, overwrite=overwrite, progress=lambda n: advance(n, total, None)
    )
    counts = written.counts
    kinds = ", ".join(f"{number} {kind}" for kind, number in counts.kinds.items() if number)
    return (
        f"{counts.kept} of {counts.trajectories} trajectories kept; "
        f"{counts.examples} examples: {kinds}"
    )


def write_test_questions(ws: Workspace, data: DataSet) -> Path:
    """The file of the test questions' ids and texts that `build_examples` excludes."""
    path = ws.out / "build" / data.name / TEST_QUESTIONS
    write_jsonl(path, ({"id": q.id, "question": q.text} for q in data.test))
    return path


def train_student(
    ws: Workspace,
    overwrite: bool,
    advance: Advance,
    *,
    data: str,
    student: str,
    method: str,
    seed: int,
) -> str:
    """Train a student on a recipe's examples."""
    from steper.training.job import train

    ws.close_model()

    def progress(row: dict[str, Any]) -> None:
        advance(row.get("step", 0), row.get("steps"), row)

    folder = ws.out / "train" / data / student
    settings = ws.settings.train_settings(method, seed)
    like = ws.settings.recipes[method].tokens_of
    if like is not None and settings.max_steps is None:  # a dry run takes a few steps of each
        tokens = read_json(folder / f"{like}-{seed}" / MANIFEST)["trained"]["tokens"]
        settings = settings.model_copy(update={"max_tokens": tokens})
    trained = train(
        ws.out / "build" / data / student / method,
        locate_model(ws.settings.students[student].model),
        folder / f"{method}-{seed}",
        settings,
        overwrite=overwrite,
        progress=progress,
    )
    return trained_line(trained.manifest)


def trained_line(manifest: dict[str, Any]) -> str:
    """`110 steps, 1,234,567 tokens, 41 s; σ init 0.52, exp 0.60, agg 0.31`."""
    done = manifest.get("trained", {})
    parts = [f"{done.get('steps', 0)} steps"]
    if done.get("tokens"):
        parts.append(f"{done['tokens']:,} tokens")
    if done.get("seconds"):
        parts.append(f"{done['seconds']:.0f} s")
    sigma = manifest.get("sigma")
    too_long = manifest.get("counts", {}).get("too_long")
    line = ", ".join(parts)
    if isinstance(sigma, dict):
        line += "; σ " + ", ".join(f"{kind} {value:.2f}" for kind, value in sigma.items())
    elif isinstance(sigma, list | tuple):
        line += "; σ " + ", ".join(f"{value:.2f}" for value in sigma)
    return line + (f"; {too_long} examples too long, left out" if too_long else "")


@dataclass(frozen=True)
class Asked:
    """Who is asked a data set's test questions, and where the run goes.

    `who` is teacher, base, or a trained student's folder; `path` the run's folder.
    """

    method: str
    path: Path
    who: str
    student: str | None = None
    folder: Path | None = None


def evaluate(ws: Workspace, overwrite: bool, advance: Advance, *, data: str, asked: Asked) -> str:
    """Ask somebody a data set's test questions and score the answers."""
    own = ws.data[data]
    lm, strategy = _open(ws, own, asked)
    retriever = ws.retriever(data)
    if asked.folder is not None:
        retriever = student_retriever(asked.folder, retriever, ALLOWED)
    run = teach(
        own.test,
        strategy,
        lm,
        retriever,
        asked.path,
        in_flight=ws.settings.evaluate.in_flight,
        overwrite=overwrite,
        inputs={"questions": own.inputs(own.test_file), "corpus": own.settings.corpus},
        progress=watch(advance),
    )
    scores = score_and_write(run.path, ws.settings.evaluate.bootstrap).metrics.overall.answers
    if scores is None:
        return outcome_line(run)
    return f"EM {with_interval(scores.em)}, F1 {with_interval(scores.f1)}; {outcome_line(run)}"


def _open(ws: Workspace, data: DataSet, asked: Asked) -> tuple[LanguageModel, Strategy[Any]]:
    """The model that is asked, and the strategy with its prompts."""
    settings = ws.settings
    if asked.who == "teacher":
        lm = open_teacher(ws, data.test, f"test {data.name}", settings.evaluate.teacher_model)
        prompt = settings.teacher.prompt
        return lm, make_strategy(settings.strategy_name, lm, settings.strategy_settings, prompt)
    assert asked.student is not None
    own = settings.students[asked.student]
    if asked.folder is not None:
        ws.close_model()
        lm, strategy = open_asked(
            asked.folder, replace(ALLOWED, generation=own.generation, hf=own.hf)
        )
        ws.model(f"student {asked.folder}", lambda: lm)
        return lm, strategy
    lm = ws.model(
        f"base {asked.student}",
        lambda: open_model(
            _as_hf(locate_model(own.model)), generation=own.generation, hf=_base_hf(ws, own.hf)
        ),
    )
    prompt = base_prompt(ws)
    return lm, make_strategy(settings.strategy_name, lm, settings.strategy_settings, prompt)


def base_prompt(ws: Workspace) -> PromptSettings:
    """How the untrained student is prompted."""
    if ws.settings.evaluate.base == "teacher":
        return ws.settings.teacher.prompt
    return ws.settings.student_prompt()


def _as_hf(spec: str) -> str:
    return spec if spec.startswith("hf:") else f"hf:{spec}"


def _base_hf(ws: Workspace, hf: HFSettings) -> HFSettings:
    """The untrained student is addressed as the trained ones: in the form of the examples."""
    if hf.form is None and "form" in ws.settings.examples.model_fields_set:
        return hf.model_copy(update={"form": ws.settings.examples.form})
    return hf


def compare_runs(
    ws: Workspace,
    overwrite: bool,
    advance: Advance,
    *,
    data: str,
    methods: dict[str, tuple[Path, ...]],
    baseline: str,
) -> str:
    """Compare all methods on a data set's test questions, pair by pair."""
    own = ws.settings.evaluate
    loaded = load_methods(methods, bootstrap=own.bootstrap)
    comparison: Comparison = compare(loaded, baseline, own.metrics, own.bootstrap)
    write_json(comparison_file(ws.out, data), comparison.model_dump(mode="json"))
    return f"{len(methods)} methods on {comparison.shared} questions, against {baseline}"


def comparison_file(out: Path, data: str) -> Path:
    """Where a data set's comparison is written."""
    return out / "compare" / f"{data}.json"


def make_report(
    ws: Workspace,
    overwrite: bool,
    advance: Advance,
    *,
    data: str,
    methods: dict[str, tuple[Path, ...]],
    baseline: str,
    out: Path,
) -> str:
    """Write the report on a data set."""
    own = ws.settings.evaluate
    settings = ws.settings.report.model_copy(update={"baseline": baseline})
    loaded = load_methods(methods, bootstrap=own.bootstrap)
    return str(write_report(loaded, out, settings, own.bootstrap))
