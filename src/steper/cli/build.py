"""`steper build`: make step-wise training examples of a run's trajectories."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter

from steper.cli.options import given, merge, options, read_config
from steper.cli.teach import MODEL_SECTIONS, open_lm
from steper.errors import SettingsError
from steper.examples.build import ExampleSettings
from steper.examples.filters import FilterSettings

if TYPE_CHECKING:
    from pydantic import BaseModel as ExampleOptions
    from pydantic import BaseModel as FilterOptions

    from steper.examples.example_folder import Written
    from steper.lm.base import LanguageModel
else:
    ExampleOptions = options("ExampleOptions", [ExampleSettings], skip=["recipe"])
    FilterOptions = options("FilterOptions", [FilterSettings])


def _flat(title: str) -> Parameter:
    return Parameter(name="*", group=Group(title, sort_key=10))


def build(
    run: Path,
    /,
    *,
    recipe: str = "steper",
    out: Path,
    student: str | None = None,
    exclude: list[Path] | None = None,
    export: list[Literal["jsonl", "parquet", "hf"]] | None = None,
    filter_: Annotated[list[str] | None, Parameter(name="--filter")] = None,
    corpus: str | None = None,
    judge: str | None = None,
    config: Path | None = None,
    allow_code: Annotated[bool, Parameter(negative="")] = False,
    partial: Annotated[bool, Parameter(negative="")] = False,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    example_options: Annotated[ExampleOptions | None, _flat("Examples")] = None,
    filter_options: Annotated[FilterOptions | None, _flat("Filters")] = None,
) -> None:
    """Make step-wise training examples of a run's trajectories.

    Writes examples.jsonl and manifest.json. What is left out is counted by its reason.

    Parameters
    ----------
    run
        A folder that `steper teach` wrote.
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
    allow_code
        Let the run name code outside this package (its strategy), which is then loaded.
    partial
        Take an unfinished run as far as it is.
    overwrite
        Replace other examples in the folder.
    """
    from steper.data.retrievers import open_corpus
    from steper.examples.build import build_examples
    from steper.examples.example_folder import write_examples
    from steper.examples.student_form import student_form
    from steper.lm.shipped import locate_model

    chosen = given(example_options)
    if student is not None:
        if "form" in chosen:
            raise SettingsError("--student decides the form; leave --form out, or --student")
        chosen["form"] = student_form(locate_model(student))
    settings = merge(ExampleSettings, {"recipe": recipe}, chosen, "settings of the examples")
    filters = merge(FilterSettings, {}, given(filter_options), "settings of the filters")
    with ExitStack() as stack:
        made = build_examples(
            run,
            settings,
            filters,
            more_filters=filter_ or (),
            exclude=exclude or (),
            retriever=_opened(stack, open_corpus(corpus) if corpus else None),
            judge=_opened(stack, _judge(judge, config) if judge else None),
            partial=partial,
            allow_code=allow_code,
        )
        _show(write_examples(made, out, exports=export or (), overwrite=overwrite))


def _opened(stack: ExitStack, part: Any) -> Any:
    """A part that is closed with the stack; None stays None."""
    if part is not None:
        stack.callback(part.close)
    return part


def _judge(spec: str, config: Path | None) -> LanguageModel:
    sections = read_config(config, MODEL_SECTIONS)
    return open_lm(spec, sections, {name: {} for name in MODEL_SECTIONS}, [], config)


def _show(written: Written) -> None:
    """Trajectories in, kept and dropped by reason; examples by kind; what to do next."""
    from rich.console import Console

    from steper.examples.filters import REASONS
    from steper.strategy.replay import DIVERGED

    console = Console(highlight=False)
    counts, path = written.counts, written.folder.path
    console.print(
        f"{counts.trajectories} trajectories: {counts.kept} kept, "
        f"{counts.trajectories - counts.kept} dropped",
        markup=False,
    )
    for what, dropped in (("", counts.dropped), ("steps ", counts.dropped_steps)):
        for reason, number in sorted(dropped.items(), key=lambda item: -item[1]):
            console.print(
                f"  {number} {what}× {reason}: {REASONS.get(reason, 'by a filter of yours')}",
                markup=False,
            )
    for reason, number in counts.diverged.items():
        console.print(f"  {number} kept with {reason}: {DIVERGED[reason]}", markup=False)
    for name, number in counts.unchecked.items():
        console.print(f"  {number} kept that --{name.replace('_', '-')} cannot judge", markup=False)
    kinds = ", ".join(f"{number} {kind}" for kind, number in counts.kinds.items() if number)
    console.print(f"{counts.examples} examples: {kinds}", markup=False)
    where = "Up to date:" if written.up_to_date else "Examples:"
    console.print(f"{where} {path / 'examples.jsonl'}", markup=False, soft_wrap=True)
    if written.exports:
        names = ", ".join(written.exports)
        console.print(f"Exports: {names} in {path}", markup=False, soft_wrap=True)
    console.print(
        f"Next: steper train {path} --student MODEL --out STUDENT", markup=False, soft_wrap=True
    )
