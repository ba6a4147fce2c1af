"""`steper eval`: scores, recall and costs of a run folder, or of a student's answers."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter

from steper.cli.options import given, merge, read_config
from steper.cli.teach import (
    GenerationOptions,
    HFOptions,
    PromptOptions,
    StrategyOptions,
    choose_questions,
    describe_inputs,
    flat,
)
from steper.errors import SettingsError
from steper.lm.model_settings import GenerationSettings, HFSettings

if TYPE_CHECKING:
    from steper.evaluation.metrics import Metrics
    from steper.student import StudentOptions

STUDENT = Group("A student's answers", sort_key=5)

SECTIONS = ("strategy", "prompt", "generation", "hf")


def eval_(
    run: Path | None = None,
    /,
    *,
    partial: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
    student: Annotated[Path | None, Parameter(group=STUDENT)] = None,
    questions: Annotated[Path | None, Parameter(group=STUDENT)] = None,
    corpus: Annotated[str, Parameter(group=STUDENT)] = "auto",
    out: Annotated[Path | None, Parameter(group=STUDENT)] = None,
    strategy: Annotated[str | None, Parameter(group=STUDENT)] = None,
    benchmark: Annotated[str, Parameter(group=STUDENT)] = "auto",
    aliases: Annotated[Path | None, Parameter(group=STUDENT)] = None,
    limit: Annotated[int | None, Parameter(group=STUDENT)] = None,
    sample: Annotated[int | None, Parameter(group=STUDENT)] = None,
    sample_seed: Annotated[int, Parameter(group=STUDENT)] = 0,
    config: Annotated[Path | None, Parameter(group=STUDENT)] = None,
    in_flight: Annotated[int, Parameter(group=STUDENT)] = 64,
    overwrite: Annotated[bool, Parameter(negative="", group=STUDENT)] = False,
    strategy_options: Annotated[
        StrategyOptions | None, flat("Strategy (default: as the student was trained)")
    ] = None,
    prompt_options: Annotated[
        PromptOptions | None, flat("Prompt (default: as the student was trained)")
    ] = None,
    generation_options: Annotated[GenerationOptions | None, flat("Generation")] = None,
    hf_options: Annotated[HFOptions | None, flat("Local model (hf:)")] = None,
) -> None:
    """Score a run by its benchmark's own rules, or a student's answers to questions.

    `steper eval RUN` scores what `steper teach` wrote. `steper eval --student DIR --questions FILE
    --out RUN` first asks a trained student all questions, with the strategy and prompts that it
    was trained on, and writes the run to --out; the same command again goes on where it stopped.

    Prints tables and writes into the run folder: metrics.json, scores.jsonl (a line a question) and
    predictions.json (or .jsonl), which the benchmark's own script reads.

    Parameters
    ----------
    run
        A folder that `steper teach` wrote.
    partial
        Score an unfinished run on the trajectories that it has.
    json
        Print the content of metrics.json instead of tables.
    student
        A folder that `steper train` wrote.
    questions
        Questions in the format of HotpotQA, 2WikiMultiHopQA, MuSiQue, FlashRAG or Search-R1, or
        with id, question and answers: JSON lines, JSON (both also gzipped) or Parquet.
    corpus
        auto (the union of the questions' own contexts), a corpus.jsonl, a folder made by
        `steper index`, or the http(s) address of a /retrieve server.
    out
        The run's folder.
    strategy
        Another strategy than the student was trained for: {strategies}, or package.module:NAME.
    benchmark
        The questions' benchmark where the file does not tell it.
    aliases
        2Wiki's id_aliases file.
    limit
        Take the first so many questions.
    sample
        Take so many questions at random.
    sample_seed
        Seed of the sample.
    config
        YAML file with settings in the sections strategy, prompt, generation and hf; what it sets
        goes over the student's own, options on the command line go over both.
    in_flight
        Questions asked at once.
    overwrite
        Begin anew in a folder that holds another run.
    """
    if student is None:
        if run is None or questions or out or strategy:
            raise SettingsError(
                "name a RUN to score, or --student, --questions and --out to ask a student"
            )
        _score(run, partial, json)
        return
    if run is not None or questions is None or out is None or partial:
        raise SettingsError(
            "--student goes with --questions FILE and --out RUN, not with a RUN or --partial"
        )
    options = _student_options(
        config,
        strategy,
        given(strategy_options),
        given(prompt_options),
        given(generation_options),
        given(hf_options),
    )
    asked = {"in_flight": in_flight, "overwrite": overwrite}
    chosen = {"limit": limit, "sample": sample, "seed": sample_seed}
    _ask(student, options, questions, benchmark, aliases, chosen, corpus, out, asked)
    _score(out, False, json)


def _student_options(
    config: Path | None,
    strategy: str | None,
    strategy_flags: dict[str, Any],
    prompt_flags: dict[str, Any],
    generation_flags: dict[str, Any],
    hf_flags: dict[str, Any],
) -> StudentOptions:
    """What the configuration file and the options set over the student's own settings."""
    from steper.student import StudentOptions

    sections = read_config(config, SECTIONS)
    place = f"{config}, section"
    return StudentOptions(
        strategy=strategy,
        strategy_settings={**sections["strategy"], **strategy_flags},
        prompt={**sections["prompt"], **prompt_flags},
        generation=merge(
            GenerationSettings, sections["generation"], generation_flags, f"{place} generation"
        ),
        hf=merge(HFSettings, sections["hf"], hf_flags, f"{place} hf"),
    )


def _ask(
    student: Path,
    options: StudentOptions,
    questions: Path,
    benchmark: str,
    aliases: Path | None,
    chosen: dict[str, Any],
    corpus: str,
    out: Path,
    asked: dict[str, Any],
) -> None:
    """Ask a student all questions and write the run."""
    from steper.cli.progress import TeachProgress
    from steper.data import read_question_file
    from steper.data.retrievers import open_corpus
    from steper.student import evaluate_student, read_student_card, student_kind

    if asked["in_flight"] < 1:
        raise SettingsError(f"--in-flight is {asked['in_flight']}; at least 1 was expected")
    read_student_card(student)
    file = read_question_file(questions, benchmark, aliases)
    every = choose_questions(
        file.questions, chosen["limit"], chosen["sample"], None, chosen["seed"]
    )
    inputs = describe_inputs(
        questions,
        file,
        aliases,
        limit=chosen["limit"],
        sample={"test": chosen["sample"], "seed": chosen["seed"]},
        corpus=corpus,
        model=str(student),
    )
    with ExitStack() as stack:
        retriever = None
        if student_kind(student, options).searches:
            retriever = open_corpus(corpus, file.questions)
            stack.callback(retriever.close)
        progress = stack.enter_context(TeachProgress("eval"))
        evaluate_student(
            student, every, retriever, out, options, inputs=inputs, progress=progress, **asked
        )


def _score(run: Path, partial: bool, json: bool) -> None:
    """Score a run folder, write the scores into it and print them."""
    from rich.console import Console

    from steper.evaluation.scoring import METRICS, score_run, write_evaluation

    evaluation = score_run(run, partial)
    written = write_evaluation(evaluation, run)
    for warning in evaluation.metrics.warnings:
        Console(stderr=True).print(f"Warning: {warning}", markup=False, style="yellow")
    if json:
        print((run / METRICS).read_text("utf-8"), end="")
        return
    _show(evaluation.metrics)
    print(f"Wrote {', '.join(path.name for path in written)} to {run}")


def _show(metrics: Metrics) -> None:
    from rich.console import Console

    from steper.evaluation.tables import counts_line, effort_lines, run_tables

    out = Console(highlight=False)
    out.print(counts_line(metrics), markup=False)
    for table in run_tables(metrics):
        out.print()
        out.print(table)
    out.print()
    for line in effort_lines(metrics.effort) if metrics.effort else []:
        out.print(line, markup=False)
