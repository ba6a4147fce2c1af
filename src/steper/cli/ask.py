"""`steper ask`: one question to a student or any other model, step by step in the terminal."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from steper.cli.options import given, read_config
from steper.cli.teach import (
    SECTIONS,
    GenerationOptions,
    HFOptions,
    OpenAIOptions,
    PromptOptions,
    StrategyOptions,
    flat,
    open_lm,
    open_strategy,
)
from steper.errors import InputError, SettingsError

if TYPE_CHECKING:
    from rich.console import Console

    from steper.records import Trajectory
    from steper.strategy.actions import Action
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
    full: Annotated[bool, Parameter(negative="")] = False,
    allow_code: Annotated[bool, Parameter(negative="")] = False,
    strategy_options: Annotated[StrategyOptions | None, flat("Strategy")] = None,
    prompt_options: Annotated[PromptOptions | None, flat("Prompt")] = None,
    generation_options: Annotated[GenerationOptions | None, flat("Generation")] = None,
    hf_options: Annotated[HFOptions | None, flat("Local model (hf:)")] = None,
    openai_options: Annotated[OpenAIOptions | None, flat("Server (openai:)")] = None,
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
        YAML file with settings in the sections strategy, prompt, generation, hf and openai.
    full
        Show the passages' whole text.
    allow_code
        Let a student's folder name code outside this package (a strategy), which is then loaded.
    """
    from rich.console import Console

    from steper.api import ask as ask_model
    from steper.data.retrievers import open_corpus
    from steper.student import adopt_student

    model = _spec(student, model)
    if not question.strip():  # before anything is opened
        raise InputError("the question is empty")
    kind, sections = adopt_student(model, strategy, read_config(config, SECTIONS), allow_code)
    flags = {
        "generation": given(generation_options),
        "hf": given(hf_options),
        "openai": given(openai_options),
    }
    with ExitStack() as stack:
        retriever = None
        if kind.searches:
            retriever = open_corpus(_named(corpus))
            stack.callback(retriever.close)
        lm = open_lm(model, sections, flags, [], config)
        stack.callback(lm.close)
        options = given(strategy_options), given(prompt_options)
        how = open_strategy(kind, lm, sections, *options, config)
        console = Console(highlight=False)
        teller = Teller(console, full)
        trajectory = ask_model(question, lm, retriever, strategy=how, watch=teller.tell)
        show_answer(trajectory, console)


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
        self._steps = 0

    def tell(self, trace: Trace, event: Any) -> None:
        """What is asked for, or what came of it; see `steper.api.Watch`."""
        from steper.strategy.actions import Generate, Search

        if event is None or isinstance(event, (Search, Generate)):
            self.tell_steps(trace)
        if isinstance(event, (Search, Generate)):
            self.tell_action(event, len(trace.steps) + 1)
        elif event is not None:
            self.tell_result(event)

    def tell_action(self, action: Action, step: int) -> None:
        """The head of a new step, and the query of a search."""
        from rich.text import Text

        from steper.strategy.actions import Search

        if step > self._begun:
            self._begun = step
            self._console.print()
            self._console.print(Text(f"Step {step}", style="bold cyan"))
        if isinstance(action, Search):
            self._console.print(Text.assemble(("search  ", "dim"), action.query))

    def tell_result(self, result: Any) -> None:
        """The passages that a search found; a text is told when it is known what is kept of it."""
        from steper.cli.show import hit_line

        for rank, found in enumerate(result if isinstance(result, list) else (), start=1):
            line = hit_line(found.passage, rank, found.score, full=self._full)
            self._console.print(line, soft_wrap=self._full)

    def tell_steps(self, trace: Trace) -> None:
        """What was kept of the steps that are over."""
        from rich.text import Text

        for step in trace.steps[self._steps :]:
            self._console.print(Text.assemble(("kept    ", "dim"), step.rationale))
        self._steps = len(trace.steps)


def show_answer(trajectory: Trajectory, console: Console) -> None:
    """The answer, how it came to an end, and what it took."""
    from rich.text import Text

    usage = trajectory.usage
    tokens = f"{usage.prompt_tokens:,} + {usage.completion_tokens:,} tokens"
    cost = "" if usage.dollars is None else f", ${usage.dollars:.4f}"
    console.print()
    console.print(Text.assemble(("answer  ", "dim"), (trajectory.answer or "none", "bold")))
    ended = f"{trajectory.status} ({trajectory.stop_reason.value}), {tokens}{cost}"
    console.print(Text.assemble(("ended   ", "dim"), ended))
    if trajectory.error:
        console.print(Text.assemble(("because ", "dim"), trajectory.error))
