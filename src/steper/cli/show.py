"""`steper show`: one trajectory, step by step, in the terminal."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from steper.records import Passage, Question, Trajectory
    from steper.runs import Run


def show(
    run: Path,
    /,
    *,
    question: Annotated[str | None, Parameter(name=["--question", "-q"])] = None,
    full: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Show one trajectory, step by step.

    Parameters
    ----------
    run
        A folder that `steper teach` wrote.
    question
        The question's id, or its number in the run (from 1); without it the ids are listed.
    full
        Show the passages' whole text, and what the model wrote beside what was kept.
    """
    from rich.console import Console

    from steper.errors import InputError, unknown_name
    from steper.runs import Run

    folder = Run(run)
    if not (run / "manifest.json").exists():
        raise InputError(f"{run} is not a run folder: it has no manifest.json")
    questions = {q.id: q for q in folder.questions()}
    console = Console(highlight=False)
    if question is None:
        _list(folder, list(questions), console)
        return
    if question not in questions and question.isdecimal() and 0 < int(question) <= len(questions):
        question = list(questions)[int(question) - 1]
    if question not in questions:
        ids = get_close_matches(question, questions, n=3) or list(questions)[:20]
        raise InputError(unknown_name("question id", question, ids))
    for trajectory in folder.trajectories():
        if trajectory.question_id == question:
            show_trajectory(trajectory, questions[question], console, full)
            return
    raise InputError(f"question {question!r} has no trajectory yet: the run is unfinished")


def _list(folder: Run, ids: list[str], console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("#", "id", "steps", "status", "question"):
        table.add_column(heading, overflow="fold" if heading == "id" else "ellipsis")
    numbers = {own: str(number) for number, own in enumerate(ids, start=1)}
    for t in folder.trajectories():
        number = numbers.get(t.question_id, "?")
        table.add_row(number, Text(t.question_id), str(len(t.steps)), t.status, Text(t.question))
    console.print(table)
    console.print(f"One of them: steper show {folder.path} --question ID", markup=False)


def show_trajectory(
    trajectory: Trajectory, question: Question, console: Console, full: bool = False
) -> None:
    """Print a trajectory: query, passages (gold ones marked), rationale of each step."""
    from rich.text import Text

    from steper.evaluation.retrieval import same_passage

    passages = {p.id: p for p in trajectory.passages}
    gold = {
        p.id
        for p in trajectory.passages
        if any(same_passage(g, p, question.benchmark) for g in question.gold)
    }
    console.print(Text(trajectory.question, style="bold"))
    console.print(
        f"{trajectory.question_id} · {trajectory.strategy} · {trajectory.model}",
        style="dim",
        markup=False,
    )
    for step in trajectory.steps:
        head = f"Step {step.index} · {step.kind}" + (" · reader" if step.role == "read" else "")
        console.print()
        console.print(Text(head, style="bold cyan"))
        if step.query is not None:
            console.print(Text.assemble(("search  ", "dim"), step.query))
        for hit in step.hits:
            passage = passages[hit.passage_id]
            mark = "★" if passage.id in gold else " "
            text = passage.text if full else " ".join(passage.text.split())
            line = Text.assemble(
                (f"  {mark} {hit.rank} {hit.score:6.2f}  ", "dim"), (passage.title, "green"), "  "
            )
            console.print(line.append(text, "dim"), no_wrap=not full, overflow="ellipsis")
        for name, ids in (("left out for room", step.dropped), ("shortened", step.shortened)):
            if ids:
                titles = ", ".join(passages[i].title for i in ids)
                console.print(Text(f"  {name}: {titles}", style="yellow"))
        if full and step.raw.strip() != step.rationale:
            console.print(Text.assemble(("wrote   ", "dim"), step.raw))
        console.print(Text.assemble(("kept    ", "dim"), step.rationale))
    console.print()
    console.print(Text.assemble(("answer  ", "dim"), (trajectory.answer or "none", "bold")))
    if question.answers:
        console.print(Text.assemble(("gold    ", "dim"), " | ".join(question.answers)))
    status, reason = trajectory.status, trajectory.stop_reason.value
    ended = status if status == reason else f"{status} ({reason})"
    console.print(Text.assemble(("ended   ", "dim"), ended))
    if trajectory.error:
        console.print(Text.assemble(("because ", "dim"), trajectory.error))


def hit_line(
    passage: Passage, rank: int, score: float, gold: bool = False, full: bool = False
) -> Text:
    """A passage that a search found: rank, score, title and the beginning of its text."""
    from rich.text import Text

    text = passage.text if full else passage.text[:90].rsplit(" ", 1)[0] + " …"
    mark = "★" if gold else " "
    line = Text.assemble((f"  {mark} {rank} {score:6.2f}  ", "dim"), (passage.title, "green"), "  ")
    return line.append(text, "dim")
