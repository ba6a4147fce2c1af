"""`steper train`: train a student on step examples."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter

from steper.cli.options import given, merge, options, read_config
from steper.training.train_settings import TrainSettings

if TYPE_CHECKING:
    from pydantic import BaseModel as TrainOptions

    from steper.training.job import Trained
else:
    TrainOptions = options("TrainOptions", [TrainSettings])


def train(
    examples: Path,
    /,
    *,
    student: str,
    out: Path,
    config: Path | None = None,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    resume_from: int | None = None,
    train_options: Annotated[
        TrainOptions | None, Parameter(name="*", group=Group("Training", sort_key=10))
    ] = None,
) -> None:
    """Train a student on step examples.

    The same command again goes on from the last checkpoint. For several processes start it with
    torchrun --nproc-per-node N -m steper train …

    Parameters
    ----------
    examples
        A folder that `steper build` wrote.
    student
        Model folder or hub name of the student to begin with, or shipped:student-base.
    out
        Folder of the trained student, with its log and checkpoints.
    config
        YAML file with settings in the section train; options on the command line go over it.
    overwrite
        Begin anew in a folder that holds another training.
    resume_from
        Go on from the checkpoint of this step, not from the last one; what came after it is
        trained anew. --keep-checkpoints says how many are kept.
    """
    sections = read_config(config, ["train"])
    place = f"{config}, section train"
    settings = merge(TrainSettings, sections["train"], given(train_options), place)
    from steper.training.job import train as run_training

    with _quiet(), _progress() as show:
        trained = run_training(
            examples,
            student,
            out,
            settings,
            overwrite=overwrite,
            resume_from=resume_from,
            progress=show,
        )
    if _is_main():
        _show(trained)


def _is_main() -> bool:
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def _quiet() -> Iterator[None]:
    """Errors only from transformers, where it is installed, and none of its progress bars."""
    try:
        from transformers.utils import logging as transformers_logging
    except ImportError:
        yield
        return
    before = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        yield
    finally:
        transformers_logging.set_verbosity(before)
        if bars:
            transformers_logging.enable_progress_bar()


@contextmanager
def _progress() -> Iterator[Any]:
    """Steps, loss, σ and tokens per second on standard error, in the main process."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[state]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=Console(stderr=True), transient=True, disable=not _is_main()
    ) as bar:
        task = bar.add_task("train", total=None, state="loading")

        def show(row: dict[str, Any]) -> None:
            if "loss" in row:
                state = describe_row(row)
                bar.update(task, total=row["steps"], completed=row["step"], state=state)

        yield show


def describe_row(row: dict[str, Any]) -> str:
    """`loss 1.234  σ 1.10 0.98 0.50  12,345 tok/s` (σ of init, exp, agg where it is learnt)."""
    parts = [f"loss {row['loss']:.3f}"]
    sigmas = [f"{v:.2f}" for k, v in row.items() if k.startswith("sigma_")]
    if sigmas:
        parts.append(f"σ {' '.join(sigmas)}")
    if row.get("seconds"):
        parts.append(f"{row['tokens'] / row['seconds']:,.0f} tok/s")
    return "  ".join(parts)


def _show(trained: Trained) -> None:
    """What was trained on, what came of it, and what to do next."""
    from rich.console import Console

    console = Console(highlight=False)
    plain: dict[str, Any] = {"markup": False, "soft_wrap": True}
    manifest, path = trained.manifest, trained.path
    counts, done = manifest["counts"], manifest["trained"]
    kinds = ", ".join(f"{number} {kind}" for kind, number in counts["kinds"].items() if number)
    console.print(f"{counts['trajectories']} trajectories: {kinds}", **plain)
    if counts["too_long"]:
        limit = manifest["resolved"]["max_length"]
        kinds = ", ".join(f"{n} {kind}" for kind, n in counts["too_long_kinds"].items() if n)
        console.print(
            f"  {counts['too_long']} of {counts['examples']} examples left out ({kinds}): longer "
            f"than {limit} tokens (the longest has {counts['longest']:,}); nothing is left of "
            f"{counts['too_long_trajectories']} trajectories",
            **plain,
        )
    console.print(
        f"{done['steps']} steps, {done['tokens']:,} tokens ({done['supervised_tokens']:,} "
        f"supervised), {done['seconds']:.1f} s",
        **plain,
    )
    if manifest["sigma"]:
        console.print("σ init, exp, agg: " + ", ".join(f"{s:.3f}" for s in manifest["sigma"]))
    console.print(f"{'Up to date' if trained.up_to_date else 'Student'}: {path}", **plain)
