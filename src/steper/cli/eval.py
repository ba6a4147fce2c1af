"""`steper eval`: scores, recall and costs of a run folder, or of a student's answers."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter

from steper.cli.asking import ALL, GROUPS, Selection, adopt
from steper.cli.options import FLAT, SWITCH, Chosen, at_least, grouped
from steper.cli.terminal import show_tables, teach_bar, warn
from steper.errors import SettingsError
from steper.lm.model_settings import GenerationSettings, HFSettings
from steper.prompt.render import PromptSettings

if TYPE_CHECKING:
    from pydantic import BaseModel as StudentOptions

    from steper.evaluation.scoring import Evaluation
else:
    _GROUPS = {name: group for name, group in GROUPS.items() if name not in ("openai", "vllm")}
    _TITLE = "Prompt (default: as the student was trained)"
    StudentOptions = grouped({**_GROUPS, "prompt": (_TITLE, GROUPS["prompt"][1])})

STUDENT = Parameter(group=Group("A student's answers", sort_key=5))

SECTIONS = ("strategy", "prompt", "generation", "hf")


def eval(
    run: Path | None = None,
    /,
    *,
    partial: Annotated[bool, SWITCH] = False,
    json: Annotated[bool, SWITCH] = False,
    student: Annotated[Path | None, STUDENT] = None,
    questions: Annotated[Path | None, STUDENT] = None,
    corpus: Annotated[str, STUDENT] = "auto",
    out: Annotated[Path | None, STUDENT] = None,
    strategy: Annotated[str | None, STUDENT] = None,
    selection: Annotated[Selection, FLAT, STUDENT] = ALL,
    config: Annotated[Path | None, STUDENT] = None,
    in_flight: Annotated[int, STUDENT] = 64,
    overwrite: Annotated[bool, SWITCH, STUDENT] = False,
    allow_code: Annotated[bool, SWITCH, STUDENT] = False,
    settings: Annotated[StudentOptions | None, FLAT] = None,
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
    config
        YAML file with settings in the sections strategy, prompt, generation and hf; what it sets
        goes over the student's own, options on the command line go over both.
    in_flight
        Questions asked at once.
    overwrite
        Begin anew in a folder that holds another run.
    allow_code
        Let the student's folder name code outside this package (a strategy), which is then loaded.
    """
    from steper import student as students
    from steper.data.retrievers import open_corpus
    from steper.evaluation.scoring import score_run

    if student is None:
        if run is None or questions or out or strategy:
            raise SettingsError(
                "name a RUN to score, or --student, --questions and --out to ask a student"
            )
        if students.student_folder(run):
            raise SettingsError(
                f"{run} is a trained student, not a run; ask it with --student {run} "
                "--questions FILE --corpus CORPUS --out RUN"
            )
        _write_and_show(score_run(run, partial), run, json)
        return
    if run is not None or questions is None or out is None or partial:
        raise SettingsError(
            "--student goes with --questions FILE and --out RUN, not with a RUN or --partial"
        )
    chosen = Chosen(SECTIONS, config, settings)
    options = students.StudentOptions(
        strategy,
        chosen.values("strategy"),
        chosen.values("prompt"),
        chosen.settings("generation", GenerationSettings),
        chosen.settings("hf", HFSettings),
        allow_code,
    )
    at_least(1, in_flight=in_flight)
    # The student's own settings are put below these when it is opened; here an error names its
    # place.
    kind = adopt(chosen, str(student), strategy, allow_code)
    chosen.settings("strategy", kind.settings_type)
    chosen.settings("prompt", PromptSettings)
    file = selection.read(questions)
    with ExitStack() as stack:
        asked = selection.choose(file.questions)
        retriever = None
        if kind.searches:
            retriever = open_corpus(corpus, file.questions)
            stack.callback(retriever.close)
        _, evaluation = students.evaluate_student(
            student,
            asked,
            retriever,
            out,
            options,
            inputs=selection.describe(questions, file, corpus=corpus, model=str(student)),
            progress=stack.enter_context(teach_bar("eval")),
            in_flight=in_flight,
            overwrite=overwrite,
        )
    _write_and_show(evaluation, out, json)


def _write_and_show(evaluation: Evaluation, run: Path, json: bool) -> None:
    """Write the scores into the run's folder and print them."""
    from steper.evaluation.scoring import METRICS, write_evaluation
    from steper.evaluation.tables import (
        ability_line,
        counts_line,
        effort_lines,
        run_tables,
        samples_line,
        step_end_line,
        support_lines,
    )

    written = write_evaluation(evaluation, run)
    warn(evaluation.metrics.warnings)
    if json:
        print((run / METRICS).read_text("utf-8"), end="")
        return
    metrics = evaluation.metrics
    out = show_tables(counts_line(metrics), run_tables(metrics))
    out.print()
    for line in effort_lines(metrics.effort) if metrics.effort else ():
        out.print(line)
    for line in support_lines(metrics):
        out.print(line)
    for line in ability_line(metrics):
        out.print(line)
    for line in samples_line(metrics):
        out.print(line)
    for line in step_end_line(metrics):
        out.print(line)
    print(f"Wrote {', '.join(path.name for path in written)} to {run}")
