"""What commands share in the terminal: consoles, progress bars, tables, one line of a step."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from steper.text import visible

if TYPE_CHECKING:
    from steper.engine import Stats
    from steper.pipeline.plan import PlannedTask, Task


class OnlyOnce(logging.Filter):
    """Lets each message through once: two stages that read one file would say the same twice."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the message is new."""
        message = record.getMessage()
        new = message not in self._said
        self._said.add(message)
        return new


class VisibleFormatter(logging.Formatter):
    """Formats records so that what servers and models said in them moves no terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as text, escapes written out."""
        return visible(super().format(record))


class PlainConsole(Console):
    """Prints what it is given: no markup, no emoji codes, and escapes written out.

    What is shown comes from models, servers and corpora, which do not get to move the cursor, clear
    the screen or name the window.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        """The segments of whatever is printed, which all pass through here."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else visible(text), style, control)


def plain_console(**options: Any) -> Console:
    """A console that prints what it is given, brackets and numbers as they are."""
    return PlainConsole(**options)


def warn(warnings: Iterable[str]) -> None:
    """Print warnings on standard error."""
    for warning in warnings:
        plain_console(stderr=True).print(f"Warning: {warning}", style="yellow")


def labelled(label: str, text: str, style: str = "") -> Text:
    """One line of a trajectory: what it is, dimmed, and the text."""
    return Text.assemble((f"{label:<8}", "dim"), (text, style))


def show_tables(head: str, tables: Iterable[RenderableType]) -> Console:
    """Print a line, and tables with a blank line before each; the console, to go on with."""
    out = plain_console()
    out.print(head)
    for table in tables:
        out.print()
        out.print(table)
    return out


def table_of(rows: Sequence[Sequence[str]]) -> Table:
    """A table of rows, of which the first are the headings: a name is folded, no number cut.

    A heading of several words that is wider than its column has a line for each.
    """
    table = Table(box=None, pad_edge=False)
    name, *numbers = zip(*rows, strict=True)
    table.add_column(name[0], header_style="dim", overflow="fold")
    for heading, *cells in numbers:
        widest = max(map(len, cells), default=0)
        words = heading.split() if len(heading) > widest else [heading]
        width = max(widest, *map(len, words))
        heading = "\n".join(words)
        table.add_column(
            heading, justify="right", header_style="dim", no_wrap=True, min_width=width
        )
    for row in rows[1:]:
        table.add_row(*map(Text, row))
    return table


def is_main() -> bool:
    """Whether this is the only process, or the one of several that prints."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def quiet_transformers() -> Iterator[None]:
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


def new_bar(*more: ProgressColumn, **options: Any) -> Progress:
    """A bar on standard error: what is under way, how much of it is done, how fast, since when."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rates]}", markup=False),
        TimeElapsedColumn(),
        *more,
        console=plain_console(stderr=True),
        **options,
    )


@contextmanager
def teach_bar(label: str) -> Iterator[Callable[[Stats], None]]:
    """Questions done, shown from the first news of the engine on."""
    bar = new_bar()
    task = bar.add_task(label, total=None, rates="")

    def show(stats: Stats) -> None:
        bar.start()
        bar.update(task, total=stats.total, completed=stats.done, rates=describe_rates(stats))

    try:
        yield show
    finally:
        if bar.live.is_started:  # else it would end in an empty line
            bar.stop()


@contextmanager
def train_bar() -> Iterator[Callable[[dict[str, Any]], None]]:
    """Steps, loss, σ and tokens per second, in the main process."""
    shown = is_main() and Console(stderr=True).is_terminal
    with new_bar(TimeRemainingColumn(), transient=True, disable=not shown) as bar:
        task = bar.add_task("train", total=None, rates="loading")

        def show(row: dict[str, Any]) -> None:
            if "loss" in row:
                rates = describe_row(row)
                bar.update(task, total=row["steps"], completed=row["step"], rates=rates)

        yield show


class PipelineBar:
    """A pipeline's watcher: a bar for each task at work, and a line for each that is over."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._bar = new_bar(transient=True, disable=not Console(stderr=True).is_terminal)
        self._at_work: dict[str, TaskID] = {}

    def __enter__(self) -> PipelineBar:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def began(self, planned: PlannedTask) -> None:
        """See `steper.pipeline.pipeline.Watcher`."""
        task = planned.task
        self._at_work[task.id] = self._bar.add_task(task.describe(), total=None, rates="")

    def advanced(self, task: Task, done: int, total: int | None, detail: object) -> None:
        """See `steper.pipeline.pipeline.Watcher`."""
        from steper.engine import Stats

        rates = ""
        if isinstance(detail, Stats):
            rates = describe_rates(detail)
        elif isinstance(detail, dict) and "loss" in detail:
            rates = describe_row(detail)
        self._bar.update(self._at_work[task.id], completed=done, total=total, rates=rates)

    def ended(self, planned: PlannedTask, summary: str, seconds: float) -> None:
        """See `steper.pipeline.pipeline.Watcher`."""
        if planned.task.id in self._at_work:
            self._bar.remove_task(self._at_work.pop(planned.task.id))
        line = Text.assemble(
            ("✓ ", "green" if summary else "dim"),
            f"{planned.task.describe()}  ",
            (summary, "") if summary else ("done before", "dim"),
            (f"  {seconds:.1f} s", "dim"),
        )
        self._out.print(line, soft_wrap=True)


def describe_rates(stats: Stats) -> str:
    """`12.3 q/s  4,567 tok/s  $0.12  ETA 0:42`; cost where a price is known."""
    seconds = max(stats.seconds, 1e-9)
    fresh = sum(stats.by_status.values())  # `done` counts those of an earlier process, too
    tokens = stats.usage.prompt_tokens + stats.usage.completion_tokens
    parts = [f"{fresh / seconds:.1f} q/s", f"{tokens / seconds:,.0f} tok/s"]
    if stats.usage.dollars is not None:
        parts.append(f"${stats.usage.dollars:.2f}")
    if fresh and stats.total > stats.done:
        left = int((stats.total - stats.done) * seconds / fresh)
        parts.append(f"ETA {left // 3600}:{left // 60 % 60:02d}:{left % 60:02d}")
    return "  ".join(parts)


def describe_row(row: dict[str, Any]) -> str:
    """`loss 1.234  σ 1.10 0.98 0.50  12,345 tok/s` (σ of init, exp, agg where it is learnt)."""
    parts = [f"loss {row['loss']:.3f}"]
    sigmas = [f"{v:.2f}" for k, v in row.items() if k.startswith("sigma_")]
    if sigmas:
        parts.append(f"σ {' '.join(sigmas)}")
    if row.get("seconds"):
        parts.append(f"{row['tokens'] / row['seconds']:,.0f} tok/s")
    return "  ".join(parts)


@contextmanager
def counting() -> Iterator[Callable[[int], None]]:
    """A line that counts passages while they are read, on standard error; gone at the end."""
    console = plain_console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task("reading passages", total=None)
        yield lambda count: progress.update(task, description=f"{count:,} passages read")
