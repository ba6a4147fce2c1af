"""`steper relabel`: have a teacher write the step at each state of a student's run."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from steper.cli.asking import GROUPS, MODEL_SECTIONS, open_lm
from steper.cli.options import FLAT, SWITCH, Chosen, at_least, grouped
from steper.cli.terminal import plain_console, teach_bar, warn
from steper.prompt.render import PromptSettings

SECTIONS = ("prompt", *MODEL_SECTIONS)

if TYPE_CHECKING:
    from pydantic import BaseModel as RelabelOptions

    from steper.runs import Run
else:
    RelabelOptions = grouped({section: GROUPS[section] for section in SECTIONS})


def relabel(
    run: Path,
    /,
    *,
    model: str,
    out: Path,
    config: Path | None = None,
    in_flight: int = 64,
    overwrite: Annotated[bool, SWITCH] = False,
    retry_failed: Annotated[bool, SWITCH] = False,
    allow_code: Annotated[bool, SWITCH] = False,
    settings: Annotated[RelabelOptions | None, FLAT] = None,
) -> None:
    """Have a teacher write the step at each state that a student came to.

    Each step of the student's run is asked of the teacher once, after the same passages and the
    student's own earlier steps. The same command again goes on where an interrupted one stopped.

    Parameters
    ----------
    run
        A student's run over training questions: `steper teach --model STUDENT`.
    model
        The teacher, as in `steper teach --model`.
    out
        The folder to write to; `steper build TEACHERS_RUN OUT --recipe steper_onpolicy` learns
        from both.
    config
        YAML file with settings in the sections prompt, generation, hf and openai; options on the
        command line go over it.
    in_flight
        Requests to the model under way at once.
    overwrite
        Begin anew in a folder that holds another run.
    retry_failed
        Ask for the failed steps of a complete run again; those of an unfinished run are anyway.
    allow_code
        Let the run or a model's folder name code outside this package, which is then loaded.
    """
    from steper.relabelling import relabel as relabel_run
    from steper.runs import Run
    from steper.student import adopt_student

    at_least(1, in_flight=in_flight)
    chosen = Chosen(SECTIONS, config, settings)
    _, chosen.own = adopt_student(model, None, {key: {} for key in SECTIONS}, allow_code)
    source = Run(run)
    source.check()
    with ExitStack() as stack:
        lm = open_lm(chosen, model, source.questions())
        stack.callback(lm.close)
        done = relabel_run(
            source,
            lm,
            out,
            chosen.settings("prompt", PromptSettings),
            in_flight=in_flight,
            overwrite=overwrite,
            retry_failed=retry_failed,
            allow_code=allow_code,
            progress=stack.enter_context(teach_bar("relabel")),
        )
    _show(done)


def _show(run: Run) -> None:
    """What the teacher wrote, what it could not, what it took; what to do next."""
    from steper.relabelling import labelled_line

    console, manifest = plain_console(), run.manifest
    console.print(labelled_line(run))
    for error, number in sorted(manifest["counts"]["errors"].items(), key=lambda item: -item[1]):
        console.print(f"  {number} × {error}")
    if manifest["counts"]["failed"]:
        console.print("Failed steps are asked for again with --retry-failed.")
    warn(manifest.get("warnings", ()))
    console.print(f"Steps: {run.path / 'trajectories.jsonl'}", soft_wrap=True)
    console.print(
        f"Next: steper build TEACHERS_RUN {run.path} --recipe steper_onpolicy --out EXAMPLES",
        soft_wrap=True,
    )
