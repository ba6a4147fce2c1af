"""`steper build`: make step-wise training examples of a run's trajectories."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Group, Parameter

from steper.cli.options import given, merge, options
from steper.errors import SettingsError
from steper.examples.build import ExampleSettings
from steper.examples.filters import FilterSettings

if TYPE_CHECKING:
    from pydantic import BaseModel as ExampleOptions
    from pydantic import BaseModel as FilterOptions

    from steper.examples.example_folder import Written
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
        steper, steper_uniform, steper_init_agg, steper_exp_agg or vanilla_kd.
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
    partial
        Take an unfinished run as far as it is.
    overwrite
        Replace other examples in the folder.
    """
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
    made = build_examples(run, settings, filters, exclude=exclude or (), partial=partial)
    _show(write_examples(made, out, exports=export or (), overwrite=overwrite))


def _show(written: Written) -> None:
    """Trajectories in, kept and dropped by reason; examples by kind; what to do next."""
    from rich.console import Console

    from steper.examples.filters import REASONS

    console = Console(highlight=False)
    counts, path = written.counts, written.folder.path
    console.print(
        f"{counts.trajectories} trajectories: {counts.kept} kept, "
        f"{counts.trajectories - counts.kept} dropped",
        markup=False,
    )
    for what, dropped in (("", counts.dropped), ("steps ", counts.dropped_steps)):
        for reason, number in sorted(dropped.items(), key=lambda item: -item[1]):
            console.print(f"  {number} {what}× {reason}: {REASONS[reason]}", markup=False)
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
