"""`steper build`: make step-wise training examples of a run's trajectories."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from steper.cli.asking import MODEL_SECTIONS, open_lm
from steper.cli.options import FLAT, SWITCH, Chosen, at_least, grouped, options
from steper.cli.terminal import plain_console
from steper.errors import SettingsError
from steper.examples.example_settings import ExampleSettings
from steper.examples.filters import FilterSettings

if TYPE_CHECKING:
    from pydantic import BaseModel as BuildOptions

    from steper.examples.example_folder import Written
else:
    BuildOptions = grouped(
        {
            "examples": ("Examples", options(ExampleSettings, skip=["recipe"])),
            "filters": ("Filters", options(FilterSettings)),
        }
    )

MANY_UNREADABLE = 0.1
"""A larger share of trajectories left out for an unreadable verdict is said in words."""


def build(
    run: Path,
    /,
    *more_runs: Path,
    recipe: str = "steper",
    out: Path,
    student: str | None = None,
    exclude: list[Path] | None = None,
    export: list[Literal["jsonl", "parquet", "hf"]] | None = None,
    filter_: Annotated[list[str] | None, Parameter(name="--filter")] = None,
    corpus: str | None = None,
    judge: str | None = None,
    config: Path | None = None,
    max_tokens: int = 256,
    in_flight: int = 64,
    allow_code: Annotated[bool, SWITCH] = False,
    partial: Annotated[bool, SWITCH] = False,
    overwrite: Annotated[bool, SWITCH] = False,
    settings: Annotated[BuildOptions | None, FLAT] = None,
) -> None:
    """Make step-wise training examples of a run's trajectories.

    Writes examples.jsonl and manifest.json. What is left out is counted by its reason.

    Parameters
    ----------
    run
        A folder that `steper teach` wrote.
    more_runs
        Further ones that are learnt from as well, of `steper teach` or `steper relabel`.
    recipe
        What a trajectory becomes: {recipes}, or package.module:NAME of a recipe of your own.
    out
        The folder to write to.
    student
        A model folder or hub name whose tokenizer decides the form: chat where it has a chat
        template, else plain.
    exclude
        A file of test questions: their trajectories are left out, by id and by text. May be given
        several times.
    export
        Also write the examples as messages for other trainers (TRL): jsonl, parquet, or hf (a
        folder for `datasets.load_from_disk`). May be given several times.
    filter_
        A further filter: a name, or package.module:NAME of a function (question, replay) that names
        what is not fit to learn from. May be given several times.
    corpus
        For recipes that search: a corpus.jsonl, a folder made by `steper index`, a /retrieve
        server's address, or package.module:NAME.
    judge
        For recipes that ask a judge: a model, as in `steper teach --model`.
    config
        YAML file with settings of the judge in the sections generation, hf and openai.
    max_tokens
        Tokens of a verdict of the judge at most, thoughts included.
    in_flight
        Requests to the judge under way at once.
    allow_code
        Let the run name code outside this package (its strategy), which is then loaded.
    partial
        Take an unfinished run as far as it is.
    overwrite
        Replace other examples in the folder.
    """
    from steper.api import build as build_examples

    at_least(1, max_tokens=max_tokens, in_flight=in_flight)
    chosen = Chosen(MODEL_SECTIONS, config if judge else None, settings)  # a file is the judge's
    chosen.settings("examples", ExampleSettings, recipe=recipe)  # an error names the option
    filters = chosen.settings("filters", FilterSettings)
    if student is not None and "form" in chosen.values("examples"):
        raise SettingsError("--student decides the form; leave --form out, or --student")
    with ExitStack() as stack:
        lm = open_lm(chosen, judge) if judge else None
        if lm is not None:
            stack.callback(lm.close)
        written = build_examples(
            run,
            recipe,
            out=out,
            student=student,
            filters=filters,
            more_filters=filter_ or (),
            exclude=exclude or (),
            corpus=corpus or None,
            judge=lm,
            max_tokens=max_tokens,
            in_flight=in_flight,
            exports=export or (),
            partial=partial,
            overwrite=overwrite,
            allow_code=allow_code,
            more_runs=more_runs,
            **chosen.values("examples"),
        )
    _show(written)


def _show(written: Written) -> None:
    """Trajectories in, kept and dropped by reason; examples by kind; what to do next."""
    from steper.examples.filters import REASONS
    from steper.strategy.replay import DIVERGED
    from steper.text import counted

    console = plain_console()
    counts, path = written.counts, written.folder.path
    dropped = counts.trajectories - counts.kept
    console.print(f"{counts.trajectories} trajectories: {counts.kept} kept, {dropped} dropped")
    for what, reasons in (("", counts.dropped), ("steps ", counts.dropped_steps)):
        for reason, number in sorted(reasons.items(), key=lambda item: -item[1]):
            meaning = REASONS.get(reason, "by a filter of yours")
            console.print(f"  {number} {what}× {reason}: {meaning}")
    for reason, number in counts.diverged.items():
        console.print(f"  {number} kept with {reason}: {DIVERGED[reason]}")
    for name, number in counts.unchecked.items():
        console.print(f"  {number} kept that --{name.replace('_', '-')} cannot judge")
    if cost := counts.judge:
        tokens = cost["prompt_tokens"] + cost["completion_tokens"]
        paid = "" if cost["dollars"] is None else f", ${cost['dollars']:.2f}"
        console.print(f"{cost['calls']} verdicts of the judge, {tokens:,} tokens{paid}")
        unread = counts.dropped.get("judge_unreadable", 0)
        if unread > MANY_UNREADABLE * counts.trajectories:
            console.print(
                f"{unread} verdicts could not be read: a larger judge would help, or more "
                "--max-tokens for one that thinks"
            )
    if counts.per_question:
        shares = sorted(counts.per_question.items(), key=lambda item: int(item[0]))
        questions = ", ".join(f"{n} with {kept}" for kept, n in shares)
        console.print(f"questions by how many of their trajectories are learnt: {questions}")
    console.print(f"{counts.examples} examples: {counted(counts.kinds)}")
    where = "Up to date:" if written.up_to_date else "Examples:"
    console.print(f"{where} {path / 'examples.jsonl'}", soft_wrap=True)
    if written.exports:
        console.print(f"Exports: {', '.join(written.exports)} in {path}", soft_wrap=True)
    console.print(f"Next: steper train {path} --student MODEL --out STUDENT", soft_wrap=True)
