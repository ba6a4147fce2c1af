"""What each stage does: the library functions that the single commands call, one function a stage.

Each takes the workspace, whether to replace what is there, and whom to tell of its progress, and
returns one line that says what came out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steper.artifact import MANIFEST
from steper.engine import Stats
from steper.evaluation.compare import compare
from steper.evaluation.methods import load_methods
from steper.evaluation.tables import with_interval
from steper.examples.build import build_examples
from steper.examples.example_folder import write_examples
from steper.lm.base import LanguageModel
from steper.lm.judge import LMJudge
from steper.lm.open import open_model
from steper.lm.shipped import locate_model
from steper.pipeline import choices
from steper.pipeline.data_sets import DataSet
from steper.pipeline.plan import Advance
from steper.pipeline.tune_settings import Trial
from steper.pipeline.untrained import base_prompt, right_trajectories
from steper.pipeline.workspace import EvalRun, Workspace
from steper.prompt.render import PromptSettings
from steper.recipes import RECIPES
from steper.records import Question
from steper.reporting import write_report
from steper.runs import Run, make_strategy, teach
from steper.store import read_json, write_json, write_jsonl
from steper.strategy import Strategy
from steper.student import StudentOptions, open_asked, score_and_write, student_retriever
from steper.text import counted

if TYPE_CHECKING:
    from steper.training.job import Trained
    from steper.training.train_settings import TrainSettings

ALLOWED = StudentOptions(allow_code=True)
"""The code that a pipeline's students name is what its own configuration names."""


def open_teacher(
    ws: Workspace, questions: Sequence[Question], purpose: str, model: str | None = None
) -> LanguageModel:
    """The teacher's model, or `model` in its place; kept open for the next stage that wants it.

    One that is made of annotations knows the given questions alone, so it serves one purpose.
    """
    teacher = ws.settings.teacher
    spec = locate_model(model or teacher.model)
    by_questions = spec.partition(":")[0] in ("gold", "scripted")
    return ws.model(
        f"teacher {spec} {purpose if by_questions else ''}",
        lambda: open_model(
            spec,
            generation=teacher.generation,
            hf=teacher.hf,
            openai=teacher.openai,
            vllm=teacher.vllm,
            questions=questions,
        ),
    )


def run_teacher(ws: Workspace, overwrite: bool, advance: Advance, *, data: str) -> str:
    """Run the teacher over a data set's training questions."""
    source, teacher = ws.data[data], ws.settings.teacher
    # Before anything is paid for.
    ws.check_learnt(data)
    lm = open_teacher(ws, source.train, f"train {data}")
    run = teach(
        source.train,
        _strategy(ws, lm, teacher.prompt),
        lm,
        ws.retriever(ws.learnt_over(data)),
        ws.folder("teach", data),
        samples=teacher.samples,
        in_flight=teacher.in_flight,
        overwrite=overwrite,
        inputs={"questions": source.inputs(source.train_file), "corpus": ws.corpus_learnt(data)},
        progress=told(advance),
    )
    return outcome_line(run)


def _strategy(ws: Workspace, lm: LanguageModel, prompt: PromptSettings) -> Strategy[Any]:
    return make_strategy(ws.settings.strategy_name, lm, ws.settings.strategy_settings, prompt)


def told(advance: Advance) -> Callable[[Stats], None]:
    """An engine's progress as a task's."""
    return lambda stats: advance(stats.done, stats.total, stats)


def outcome_line(run: Run) -> str:
    """`240 questions: 231 answered, 9 capped; 123,456 tokens`."""
    manifest = run.manifest
    counts = manifest["counts"]
    tokens = counts["prompt_tokens"] + counts["completion_tokens"]
    cost = "" if counts["dollars"] is None else f", ${counts['dollars']:.2f}"
    used = f"; {tokens:,} tokens{cost}" if tokens else ""
    warnings = "".join(f"; {warning}" for warning in manifest.get("warnings", ()))
    several = f", {counts['trajectories']} trajectories" if "trajectories" in counts else ""
    return f"{counts['questions']} questions{several}: {run.outcomes()}{used}{warnings}"


def make_examples(
    ws: Workspace,
    overwrite: bool,
    advance: Advance,
    *,
    data: str,
    student: str,
    method: str,
    seed: int,
    trial: Trial | None = None,
) -> str:
    """Make a recipe's examples of the teacher's trajectories, test questions kept out.

    Those of an on-policy method are of the teacher's steps at students' states, too; preference
    pairs of these alone; `own` steps of the students' runs.
    """
    whose, method_settings = (data, student, method, seed), ws.settings.recipes[method]
    settings = choices.example_settings(ws, whose, trial)
    recipe, judge = RECIPES.find(settings.recipe), method_settings.judge
    if "form" not in settings.model_fields_set and recipe.asked(settings.target).form is None:
        settings = settings.model_copy(update={"form": ws.form(student)})
    at = ws.collected if recipe.learns == "own" else ws.relabelled
    states = [at(data, student, m, seed) for m in ws.settings.rounds_of(method)]
    taught = [ws.folder("teach", data)] if recipe.learns == "trajectories" else []
    first, *more = [*taught, *states]
    opened = open_teacher(ws, [], f"judge {method}", judge) if judge else None
    build = build_examples(
        first,
        settings,
        ws.settings.filter_settings(method),
        recipe=recipe,
        strategy=ws.settings.strategy_kind,
        more_filters=method_settings.more_filters,
        exclude=[write_test_questions(ws, data)],
        retriever=ws.retriever(ws.learnt_over(data)) if recipe.searches else None,
        judge=opened and LMJudge(opened, in_flight=ws.settings.teacher.in_flight),
        more_runs=more,
    )
    out = choices.built(ws, whose, trial)
    asked = build.run.manifest["counts"]
    total = asked.get("trajectories", asked["questions"])
    written = write_examples(
        build, out, overwrite=overwrite, progress=lambda n: advance(n, total, None)
    )
    counts = written.counts
    dropped = f"steps left out: {counted(counts.dropped_steps)}; " if counts.dropped_steps else ""
    return (
        f"{counts.kept} of {counts.trajectories} trajectories kept; {dropped}"
        f"{counts.examples} examples: {counted(counts.kinds)}"
    )


def write_test_questions(ws: Workspace, data: str) -> Path:
    """The file of the test questions' ids and texts that `build_examples` excludes."""
    path = ws.test_questions(data)
    write_jsonl(path, ({"id": q.id, "question": q.text} for q in ws.data[data].test))
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
    """Train a student on a recipe's examples; what a trial of tuning trained is taken from it."""
    whose = (data, student, method, seed)
    done = choices.trained_trial(ws, whose)
    if done is not None:
        from steper.training.taken import copy_student

        if int(os.environ.get("RANK", "0")):
            return ""  # the first process of several takes it
        copy_student(done, ws.trained(*whose))
        choices.record_choice(ws, whose)
        return f"{trained_line(read_json(done / MANIFEST))}; trained as a trial"
    settings = choices.train_settings(ws, whose)
    lengths = ws.settings.length_of(method)
    if lengths and settings.max_steps is None:  # a dry run takes a few steps of each
        manifests = [read_json(ws.trained(data, student, m, seed) / MANIFEST) for m in lengths]
        tokens = _tokens(*(manifest["trained"] for manifest in manifests))
        settings = settings.model_copy(update={"max_tokens": tokens})
    begins, out = ws.begins_with(*whose), ws.trained(*whose)
    trained = train_on(ws, ws.built(*whose), begins, out, settings, overwrite, advance)
    if not int(os.environ.get("RANK", "0")):
        choices.record_choice(ws, whose)
    return trained_line(trained.manifest)


def train_on(
    ws: Workspace,
    examples: Path,
    begins_with: str,
    out: Path,
    settings: TrainSettings,
    overwrite: bool,
    advance: Advance,
) -> Trained:
    """Train a model on a folder of examples, in as many processes as section `launch` says."""
    from steper.training.job import train
    from steper.training.launch import train_in_processes

    ws.close_model()
    processes = ws.settings.launch.processes
    start = partial(train_in_processes, processes) if processes > 1 else train
    return start(
        examples,
        begins_with,
        out,
        settings,
        overwrite=overwrite,
        progress=lambda row: advance(row.get("step", 0), row.get("steps"), row),
    )


def take_other_student(
    ws: Workspace,
    overwrite: bool,
    advance: Advance,
    *,
    data: str,
    student: str,
    method: str,
    seed: int,
) -> str:
    """Take the student of `student_of`, which learnt the same text."""
    from steper.training.taken import take_student

    if int(os.environ.get("RANK", "0")):
        return ""  # the first process of several takes it
    other, whose = ws.settings.recipes[method].student_of, (data, student, method, seed)
    assert other is not None
    trained = ws.trained(data, student, other, seed)
    take_student(ws.built(*whose), trained, ws.trained(*whose), overwrite)
    choices.record_choice(ws, whose)
    return f"the student of {other}, asked otherwise"


def _tokens(like: dict[str, Any], rate: dict[str, Any] | None = None) -> int:
    """As many tokens as another training had, or as fit into its seconds at the rate of a third."""
    if rate is None:
        return int(like["tokens"])
    tokens: float = like["seconds"] * rate["tokens"] / rate["seconds"]
    return max(1, round(tokens))


def trained_line(manifest: dict[str, Any]) -> str:
    """`110 steps, 1,234,567 tokens, 41 s; σ 0.52, 0.60, 0.31`: those of init, exp and agg."""
    if "trained" not in manifest:
        return ""  # the first process of several is writing it
    done = manifest["trained"]
    line = f"{done['steps']} steps, {done['tokens']:,} tokens, {done['seconds']:.0f} s"
    if manifest["sigma"]:
        line += "; σ " + ", ".join(f"{value:.2f}" for value in manifest["sigma"])
    too_long = manifest["counts"]["too_long"]
    return line + (f"; {too_long} examples too long, left out" if too_long else "")


def evaluate(
    ws: Workspace, overwrite: bool, advance: Advance, *, data: str, eval_run: EvalRun
) -> str:
    """Ask somebody a data set's test questions and score the answers."""
    source = ws.data_set(data)
    if eval_run.data is not None and data in ws.asked:
        ws.check_apart(eval_run.data, data)
    run = ask(ws, data, eval_run, source.test, source.test_file, overwrite, advance)
    scores = score_and_write(run.path, ws.settings.evaluate.bootstrap).metrics.overall.answers
    if scores is None:
        return outcome_line(run)
    return f"EM {with_interval(scores.em)}, F1 {with_interval(scores.f1)}; {outcome_line(run)}"


def ask(
    ws: Workspace,
    data: str,
    eval_run: EvalRun,
    questions: Sequence[Question],
    file: Path | None,
    overwrite: bool,
    advance: Advance,
) -> Run:
    """Ask somebody questions of a data set, which are from `file` (None: held out)."""
    source, retriever = ws.data_set(data), ws.retriever(data)
    lm, strategy = open_answering(ws, source, eval_run)
    if eval_run.trained is not None and retriever is not None:
        retriever = student_retriever(eval_run.trained, retriever, ALLOWED.allow_code)
    return teach(
        questions,
        strategy,
        lm,
        retriever,
        eval_run.path,
        in_flight=ws.settings.evaluate.in_flight,
        overwrite=overwrite,
        inputs={"questions": source.inputs(file), "corpus": source.settings.corpus},
        progress=told(advance),
    )


def open_answering(
    ws: Workspace, source: DataSet, eval_run: EvalRun
) -> tuple[LanguageModel, Strategy[Any]]:
    """The model that is asked, and the strategy with its prompts."""
    settings = ws.settings
    if eval_run.student is None:
        lm = open_teacher(ws, source.test, f"test {source.name}", settings.evaluate.teacher_model)
        return lm, _strategy(ws, lm, settings.teacher.prompt)
    student = settings.students[eval_run.student]
    if eval_run.trained is not None:
        ws.close_model()
        options = replace(
            ALLOWED,
            generation=student.generation,
            hf=student.hf,
            strategy_settings=eval_run.asked,
        )
        lm, strategy = open_asked(eval_run.trained, options)
        ws.model(f"student {eval_run.trained}", lambda: lm)
        return lm, strategy
    hf = student.hf
    if hf.form is None and "form" in settings.examples.model_fields_set:
        hf = hf.model_copy(update={"form": settings.examples.form})  # as trained ones are addressed
    spec = f"hf:{locate_model(student.model).removeprefix('hf:')}"
    lm = ws.model(
        f"base {eval_run.student}",
        lambda: open_model(spec, generation=student.generation, hf=hf),
    )
    strategy = _strategy(ws, lm, base_prompt(ws.settings, eval_run))
    if eval_run.data is None:
        return lm, strategy
    return lm, strategy.showing(right_trajectories(ws, eval_run.data, strategy.prompt.demos))


def compare_runs(ws: Workspace, overwrite: bool, advance: Advance, *, data: str) -> str:
    """Compare all methods on a data set's test questions, pair by pair."""
    settings, baseline = ws.settings.evaluate, ws.baseline(data)
    methods = load_methods(ws.methods(data), bootstrap=settings.bootstrap)
    against, apart = ws.against(data), ws.leakage(data).shared_gold
    comparison = compare(methods, baseline, settings.metrics, settings.bootstrap, against, apart)
    comparison = comparison.model_copy(update={"tuned": choices.notes(ws, data)})
    write_json(ws.comparison_file(data), comparison.model_dump(mode="json"))
    shared = comparison.shared_gold
    told = f"; {shared} share a gold passage with training questions" if shared else ""
    return f"{len(methods)} methods on {comparison.shared} questions, against {baseline}{told}"


def make_report(ws: Workspace, overwrite: bool, advance: Advance, *, data: str) -> str:
    """Write the report on a data set."""
    bootstrap = ws.settings.evaluate.bootstrap
    update = {
        "baseline": ws.baseline(data),
        "against": ws.against(data),
        "shared_gold": ws.leakage(data).shared_gold,
        "tuned": choices.notes(ws, data),
    }
    settings = ws.settings.report.model_copy(update=update)
    methods = load_methods(ws.methods(data), bootstrap=bootstrap)
    return str(write_report(methods, ws.report_file(data), settings, bootstrap))
