"""`steper show`: one trajectory, step by step, in the terminal."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from steper.cli.options import SWITCH
from steper.cli.terminal import labelled, plain_console

if TYPE_CHECKING:
    from steper.records import Question, Trajectory
    from steper.runs import Run


def show(
    run: Path,
    /,
    *,
    question: Annotated[str | None, Parameter(name=["--question", "-q"])] = None,
    sample: int = 0,
    full: Annotated[bool, SWITCH] = False,
) -> None:
    """Show one trajectory, step by step.

    Parameters
    ----------
    run
        A folder that `steper teach` wrote.
    question
        The question's id, or its number in the run (from 1); without it the ids are listed.
    sample
        Of several trajectories of the question, the number of the one to show (from 0).
    full
        Show the passages' whole text, and what the model wrote beside what was kept.
    """
    from steper.errors import InputError, unknown_name
    from steper.runs import Run

    folder = Run(run)
    if not (run / "manifest.json").exists():
        raise InputError(f"{run} is not a run folder: it has no manifest.json")
    questions = folder.questions().by_key
    console = plain_console()
    if question is None:
        _list(folder, list(questions), console)
        return
    if question not in questions and question.isdecimal() and 0 < int(question) <= len(questions):
        question = list(questions)[int(question) - 1]
    if question not in questions:
        ids = get_close_matches(question, questions, n=3) or list(questions)[:20]
        raise InputError(unknown_name("question id", question, ids))
    for trajectory in folder.trajectories():
        if trajectory.key == (question, sample):
            show_trajectory(trajectory, questions[question], console, full)
            return
    several = _samples(folder)
    if not 0 <= sample < several:
        raise InputError(f"--sample is {sample}; the run has samples 0 to {several - 1}")
    raise InputError(f"question {question!r} has no trajectory yet: the run is unfinished")


def _samples(folder: Run) -> int:
    """How many trajectories the run has of each question."""
    return int(folder.manifest.get("settings", {}).get("samples", 1))


def _list(folder: Run, ids: list[str], console: Console) -> None:
    from steper.strategy import step_end
    from steper.strategy.base import STEP_ENDS

    table = Table(box=None, padding=(0, 2, 0, 0))
    sampled = _samples(folder) > 1
    for heading in ("#", "id", *(["sample"] if sampled else []), "steps", "status", "question"):
        table.add_column(heading, overflow="fold" if heading == "id" else "ellipsis")
    numbers = {question: str(number) for number, question in enumerate(ids, start=1)}
    for t in folder.trajectories():
        number = numbers.get(t.question_id, "?")
        which = [str(t.sample)] if sampled else []
        steps = str(len(t.steps))
        table.add_row(number, Text(t.question_id), *which, steps, t.status, Text(t.question))
    console.print(table)
    if end := step_end(folder.manifest):
        console.print(f"Step end: {STEP_ENDS.get(end, end)}")
    console.print(f"One of them: steper show {folder.path} --question ID")


def show_trajectory(
    trajectory: Trajectory, question: Question, console: Console, full: bool = False
) -> None:
    """Print a trajectory: query, passages (gold ones marked), rationale of each step."""
    from steper.evaluation.retrieval import same_passage

    passages = {p.id: p for p in trajectory.passages}
    gold = {
        p.id
        for p in trajectory.passages
        if any(same_passage(g, p, question.benchmark) for g in question.gold)
    }
    which = f" · sample {trajectory.sample}" if trajectory.sample else ""
    about = f"{trajectory.question_id}{which} · {trajectory.strategy} · {trajectory.model}"
    console.print(Text(trajectory.question, style="bold"))
    console.print(Text(about, style="dim"))
    for step in trajectory.steps:
        head = f"Step {step.index} · {step.kind}" + (" · reader" if step.role == "read" else "")
        console.print()
        console.print(Text(head, style="bold cyan"))
        if step.query is not None:
            console.print(labelled("search", step.query))
        for hit in step.hits:
            passage = passages[hit.passage_id]
            text = passage.text if full else " ".join(passage.text.split())
            line = hit_line(hit.rank, hit.score, passage.title, text, passage.id in gold)
            console.print(line, no_wrap=not full, overflow="ellipsis")
        for name, ids in (("left out for room", step.dropped), ("shortened", step.shortened)):
            if ids:
                titles = ", ".join(passages[i].title for i in ids)
                console.print(Text(f"  {name}: {titles}", style="yellow"))
        if step.finish == "length":
            console.print(Text("  cut off at the token limit", style="yellow"))
        if full and step.thoughts:
            console.print(labelled("thought", step.thoughts, "dim"))
        if full and step.raw.strip() != step.rationale:
            console.print(labelled("wrote", step.raw))
        console.print(labelled("kept", step.rationale))
    console.print()
    console.print(labelled("answer", trajectory.answer or "none", "bold"))
    if question.answers:
        console.print(labelled("gold", " | ".join(question.answers)))
    status, reason = trajectory.status, trajectory.stop_reason.value
    console.print(labelled("ended", status if status == reason else f"{status} ({reason})"))
    if trajectory.error:
        console.print(labelled("because", trajectory.error))


def hit_line(rank: int, score: float, title: str, text: str, gold: bool = False) -> Text:
    """A passage that a search found, gold ones with a star."""
    place = f"  {'★' if gold else ' '} {rank} {score:6.2f}  "
    return Text.assemble((place, "dim"), (title, "green"), "  ", (text, "dim"))
