"""`steper train`: train a student on step examples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from steper.cli.options import FLAT, SWITCH, Chosen, grouped, options
from steper.cli.terminal import is_main, plain_console, quiet_transformers, train_bar
from steper.text import counted
from steper.training.train_settings import TrainSettings

if TYPE_CHECKING:
    from pydantic import BaseModel as TrainOptions

    from steper.training.job import Trained
else:
    TrainOptions = grouped({"train": ("Training", options(TrainSettings))})


def train(
    examples: Path,
    /,
    *,
    student: str,
    out: Path,
    config: Path | None = None,
    overwrite: Annotated[bool, SWITCH] = False,
    resume_from: int | None = None,
    settings: Annotated[TrainOptions | None, FLAT] = None,
) -> None:
    """Train a student on step examples.

    The same command again goes on from the last checkpoint; with --merge, a LoRA training that is
    over merges its adapter. For several processes start it with
    torchrun --nproc-per-node N -m steper train …

    Parameters
    ----------
    examples
        A folder that `steper build` wrote.
    student
        The student to begin with: a model's folder or hub name, a GGUF file, a LoRA student, or
        shipped:student-base.
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
    chosen = Chosen(["train"], config, settings).settings("train", TrainSettings)
    from steper.api import train as run_training

    with quiet_transformers(), train_bar() as progress:
        trained = run_training(
            examples,
            student,
            out,
            chosen,
            overwrite=overwrite,
            resume_from=resume_from,
            progress=progress,
        )
    if is_main():
        _show(trained)


def _show(trained: Trained) -> None:
    """What was trained on, what came of it, and what to do next."""
    console = plain_console(soft_wrap=True)
    manifest = trained.manifest
    counts, done = manifest["counts"], manifest["trained"]
    console.print(f"{counts['trajectories']} trajectories: {counted(counts['kinds'])}")
    if counts["too_long"]:
        kinds = counted(counts["too_long_kinds"])
        console.print(
            f"  {counts['too_long']} of {counts['examples']} examples left out ({kinds}): longer "
            f"than {manifest['resolved']['max_length']} tokens (the longest has "
            f"{counts['longest']:,}); nothing is left of {counts['too_long_trajectories']} "
            "trajectories"
        )
    console.print(
        f"{done['steps']} steps, {done['tokens']:,} tokens ({done['supervised_tokens']:,} "
        f"supervised), {done['seconds']:.1f} s"
    )
    if manifest["sigma"]:
        console.print("σ init, exp, agg: " + ", ".join(f"{s:.3f}" for s in manifest["sigma"]))
    console.print(f"{'Up to date' if trained.up_to_date else 'Student'}: {trained.path}")
