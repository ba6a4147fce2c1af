"""`steper teach`: run a teacher over questions and write its trajectories."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from steper.cli.asking import ALL, SECTIONS, AskingOptions, Selection, adopt, make_job
from steper.cli.options import FLAT, SWITCH, Chosen, at_least
from steper.cli.terminal import plain_console, teach_bar, warn
from steper.errors import SettingsError

if TYPE_CHECKING:
    from steper.runs import Run


def teach(
    *,
    questions: Path,
    corpus: str = "auto",
    model: str,
    out: Path,
    strategy: str | None = None,
    selection: Annotated[Selection, FLAT] = ALL,
    sample_dev: int | None = None,
    samples: int = 1,
    shard: str | None = None,
    workers: int | None = None,
    ray_address: str | None = None,
    config: Path | None = None,
    in_flight: int = 64,
    overwrite: Annotated[bool, SWITCH] = False,
    retry_failed: Annotated[bool, SWITCH] = False,
    allow_code: Annotated[bool, SWITCH] = False,
    settings: Annotated[AskingOptions | None, FLAT] = None,
) -> None:
    """Run a teacher over questions and write its trajectories.

    The same command again goes on where an interrupted run stopped; nothing that had finished is
    asked again.

    Parameters
    ----------
    questions
        Questions in the format of HotpotQA, 2WikiMultiHopQA, MuSiQue, FlashRAG or Search-R1, or
        with id, question and answers: JSON lines, JSON (both also gzipped) or Parquet.
    corpus
        auto (the union of the questions' own contexts), a corpus.jsonl, a folder made by
        `steper index`, the http(s) address of a /retrieve server (with #NAME of its corpus behind
        it, by which a run is known), or package.module:NAME.
    model
        gold (the questions' annotations, no LM), a model folder or hub name, vllm:FOLDER_OR_NAME
        (the same, run by vLLM), openai:MODEL,
        shipped:NAME, scripted:FILE, or package.module:NAME of a function of your own. A folder
        that `steper train` wrote is asked as it was trained: its strategy and prompt settings are
        the defaults.
    out
        The run's folder.
    strategy
        {strategies}, or package.module:NAME of your own. Default: ircot, or a trained student's.
    sample_dev
        Take so many questions at random that no --sample of the same seed has, for tuning.
    samples
        Trajectories of each question, each sampled with a seed of its own (needs --temperature).
    shard
        NUMBER/OF, such as 3/8: ask the third eighth of the questions alone, on this machine. Which
        eighth a question is in follows from its id. `steper merge` puts the shards together.
    workers
        Processes that share the run, on Ray (extra `ray`): on this machine, a GPU to each where
        there are any, or on a cluster. What they have done lies in OUT.shards until all is done.
    ray_address
        A Ray cluster's address, or auto; its machines and this one share a file system.
    config
        YAML file with settings in the sections strategy, prompt, generation, hf, openai and vllm;
        options on the command line go over it.
    in_flight
        Requests to the model under way at once.
    overwrite
        Begin anew in a folder that holds another run.
    retry_failed
        Ask the failed questions of a complete run again; those of an unfinished run are anyway.
    allow_code
        Let a student's folder name code outside this package (a strategy), which is then loaded.
    """
    at_least(1, in_flight=in_flight, samples=samples, workers=workers)
    if ray_address is not None and workers is None:
        raise SettingsError("--ray-address goes with --workers")
    if shard is not None and workers is not None:
        raise SettingsError("--shard and --workers exclude each other: workers make all shards")
    chosen = Chosen(SECTIONS, config, settings)
    kind = adopt(chosen, model, strategy, allow_code)
    file = selection.read(questions)
    asked = selection.choose(file.questions, sample_dev)
    sample = {"test": selection.sample, "dev": sample_dev, "seed": selection.sample_seed}
    job = make_job(
        chosen,
        kind,
        asked,
        model=model,
        corpus=corpus,
        contexts=file.questions if corpus == "auto" else (),
        samples=samples,
        in_flight=in_flight,
        allow_code=allow_code,
        inputs=selection.describe(questions, file, sample=sample, corpus=corpus, model=model),
    )
    del file  # the job lets go of its contexts once they are indexed
    anew = {"overwrite": overwrite, "retry_failed": retry_failed}
    with teach_bar("teach") as progress:
        if workers is None:
            from steper.cluster.job import run_here
            from steper.shards import Shard

            part = Shard.parse(shard) if shard else None
            run = run_here(job, out, shard=part, progress=progress, **anew)
        else:
            from steper.cluster.ray_workers import teach_by_workers

            run = teach_by_workers(
                job, out, workers, address=ray_address, progress=progress, **anew
            )
    show_run(run)


def show_run(run: Run) -> None:
    """What came of a run, and what to do next."""
    console, manifest = plain_console(), run.manifest
    counts = manifest["counts"]
    several = f", {counts['trajectories']} trajectories" if "trajectories" in counts else ""
    shard = f"Shard {manifest['shard']}: " if "shard" in manifest else ""
    console.print(f"{shard}{counts['questions']} questions{several}: {run.outcomes()}")
    for error, number in sorted(counts["errors"].items(), key=lambda item: -item[1]):
        console.print(f"  {number} × {error}")
    tokens = counts["prompt_tokens"] + counts["completion_tokens"]
    cost = "" if counts["dollars"] is None else f", ${counts['dollars']:.2f}"
    console.print(
        f"{counts['generations']} generations, {counts['searches']} searches, "
        f"{tokens:,} tokens{cost}, {manifest['seconds']:.1f} s"
    )
    if counts["failed"]:
        console.print("Failed questions are asked again with --retry-failed.")
    warn(manifest.get("warnings", ()))
    console.print(f"Trajectories: {run.path / 'trajectories.jsonl'}", soft_wrap=True)
    then = "merge RUN… --out FOLDER" if shard else f"eval {run.path}"
    console.print(f"Next: steper {then}", soft_wrap=True)
