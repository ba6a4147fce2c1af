"""`steper ask`: one question to a student or any other model, step by step in the terminal."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.console import Console
from rich.text import Text

from steper.cli.asking import SECTIONS, AskingOptions, adopt, open_lm, open_strategy
from steper.cli.options import FLAT, SWITCH, Chosen
from steper.cli.show import hit_line
from steper.cli.terminal import labelled, plain_console, warn
from steper.errors import InputError, SettingsError

if TYPE_CHECKING:
    from steper.records import Trajectory
    from steper.strategy.trace import Trace


def ask(
    question: str,
    /,
    *,
    student: Path | None = None,
    model: str | None = None,
    corpus: str | None = None,
    strategy: str | None = None,
    config: Path | None = None,
    full: Annotated[bool, SWITCH] = False,
    allow_code: Annotated[bool, SWITCH] = False,
    settings: Annotated[AskingOptions | None, FLAT] = None,
) -> None:
    """Ask one question and watch each step: its query, what was found, what was concluded.

    Nothing is written.

    Parameters
    ----------
    question
        The question.
    student
        A folder that `steper train` wrote; it is asked as it was trained.
    model
        Any other model, as in `steper teach`: a folder or hub name, openai:MODEL, scripted:FILE.
    corpus
        A corpus.jsonl, a folder made by `steper index`, or the http(s) address of a /retrieve
        server. Not needed for closed_book.
    strategy
        {strategies}, or package.module:NAME. Default: ircot, or the student's own.
    config
        YAML file with settings in the sections strategy, prompt, generation, hf, openai
        and vllm.
    full
        Show the passages' whole text.
    allow_code
        Let a student's folder name code outside this package (a strategy), which is then loaded.
    """
    from steper.api import ask as ask_model
    from steper.data.retrievers import open_corpus

    model = _spec(student, model)
    if not question.strip():  # before anything is opened
        raise InputError("the question is empty")
    chosen = Chosen(SECTIONS, config, settings)
    kind = adopt(chosen, model, strategy, allow_code)
    with ExitStack() as stack:
        retriever = None
        if kind.searches:
            retriever = open_corpus(_named(corpus))
            stack.callback(retriever.close)
        lm = open_lm(chosen, model)
        stack.callback(lm.close)
        how = open_strategy(chosen, kind, lm)
        console = plain_console()
        watch = Teller(console, full).tell
        show_answer(ask_model(question, lm, retriever, strategy=how, watch=watch), console)


def _spec(student: Path | None, model: str | None) -> str:
    """The model to ask; SettingsError unless exactly one is named that can answer."""
    from steper.student import read_student_card

    if (student is None) == (model is None):
        raise SettingsError("name whom to ask: --student FOLDER or --model MODEL")
    if student is not None:
        read_student_card(student)
        return str(student)
    assert model is not None
    if model.partition(":")[0] == "gold":
        raise SettingsError("gold knows the questions of a file alone; name a model or a student")
    return model


def _named(corpus: str | None) -> str:
    if corpus is None or corpus == "auto":
        raise SettingsError(
            "this strategy searches: name a --corpus (a corpus.jsonl, an index or a server)"
        )
    return corpus


class Teller:
    """Prints what a strategy asks and gets, as it happens."""

    def __init__(self, console: Console, full: bool) -> None:
        self._console = console
        self._full = full
        self._begun = 0
        self._told = 0

    def tell(self, trace: Trace, event: Any) -> None:
        """What is asked for, or what came of it; see `steper.api.Watch`.

        A text is told once it is known what is kept of it: with the next action.
        """
        from steper.strategy.actions import Generate, Search

        if event is not None and not isinstance(event, (Search, Generate)):
            self._tell_hits(event)
            return
        for step in trace.steps[self._told :]:
            self._console.print(labelled("kept", step.rationale))
        self._told = len(trace.steps)
        if event is not None and self._told >= self._begun:
            self._begun = self._told + 1
            self._console.print()
            self._console.print(Text(f"Step {self._begun}", style="bold cyan"))
        if isinstance(event, Search):
            self._console.print(labelled("search", event.query))

    def _tell_hits(self, result: Any) -> None:
        for rank, found in enumerate(result if isinstance(result, list) else (), start=1):
            text = found.passage.text
            text = text if self._full else text[:90].rsplit(" ", 1)[0] + " …"
            line = hit_line(rank, found.score, found.passage.title, text)
            self._console.print(line, soft_wrap=self._full)


def show_answer(trajectory: Trajectory, console: Console) -> None:
    """The answer, how it came to an end, what it took, and what a run would be warned of."""
    from steper.runs import RunCounts

    usage = trajectory.usage
    tokens = f"{usage.prompt_tokens:,} + {usage.completion_tokens:,} tokens"
    cost = "" if usage.dollars is None else f", ${usage.dollars:.4f}"
    console.print()
    console.print(labelled("answer", trajectory.answer or "none", "bold"))
    ended = f"{trajectory.status} ({trajectory.stop_reason.value}), {tokens}{cost}"
    console.print(labelled("ended", ended))
    if trajectory.error:
        console.print(labelled("because", trajectory.error))
    counts = RunCounts(1, 1)
    counts.add(trajectory)
    warn(counts.warnings())
