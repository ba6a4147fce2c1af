"""Progress bar and closing lines of a run."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from steper.engine import Stats
from steper.runs import Run


class TeachProgress:
    """Questions done, and per second: questions, tokens; cost and the time left."""

    def __init__(self, label: str = "teach") -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rates]}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
        )
        self._task = self._bar.add_task(label, total=None, rates="")
        self._before: int | None = None

    def __enter__(self) -> TeachProgress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def __call__(self, stats: Stats) -> None:
        if self._before is None:
            self._bar.start()
            self._before = stats.done - sum(stats.by_status.values())
        self._bar.update(
            self._task,
            total=stats.total,
            completed=stats.done,
            rates=describe_rates(stats, self._before),
        )


def describe_rates(stats: Stats, before: int) -> str:
    """`12.3 q/s  4,567 tok/s  $0.12  ETA 0:42`; cost where a price is known."""
    seconds = max(stats.seconds, 1e-9)
    fresh = stats.done - before
    tokens = stats.usage.prompt_tokens + stats.usage.completion_tokens
    parts = [f"{fresh / seconds:.1f} q/s", f"{tokens / seconds:,.0f} tok/s"]
    if stats.usage.dollars is not None:
        parts.append(f"${stats.usage.dollars:.2f}")
    if fresh and stats.total > stats.done:
        left = int((stats.total - stats.done) * seconds / fresh)
        parts.append(f"ETA {left // 3600}:{left // 60 % 60:02d}:{left % 60:02d}")
    return "  ".join(parts)


def print_summary(run: Run) -> None:
    """What came of a run, and what to do next."""
    console = Console(highlight=False)
    manifest = run.manifest
    counts = manifest["counts"]
    states = ", ".join(
        f"{counts[s]} {s}" for s in ("answered", "capped", "failed", "dropped") if counts[s]
    )
    console.print(f"{counts['questions']} questions: {states}", markup=False)
    for error, number in sorted(counts["errors"].items(), key=lambda item: -item[1]):
        console.print(f"  {number} × {error}", markup=False)
    tokens = counts["prompt_tokens"] + counts["completion_tokens"]
    cost = "" if counts["dollars"] is None else f", ${counts['dollars']:.2f}"
    console.print(
        f"{counts['generations']} generations, {counts['searches']} searches, "
        f"{tokens:,} tokens{cost}, {manifest['seconds']:.1f} s",
        markup=False,
    )
    if counts["failed"]:
        console.print("Failed questions are asked again with --retry-failed.", markup=False)
    console.print(f"Trajectories: {run.path / 'trajectories.jsonl'}", markup=False, soft_wrap=True)
    console.print(f"Next: steper eval {run.path}", markup=False, soft_wrap=True)
