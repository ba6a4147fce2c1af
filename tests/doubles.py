"""Stand-ins that several tests share: a tiny corpus, a script, a strategy driven by hand."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from steper.lm.base import Completion, Request
from steper.records import Passage, Question, Trajectory
from steper.retrieve.base import Found
from steper.strategy.actions import Generate, Search
from steper.strategy.trace import Trace


class DictRetriever:
    """Finds the passages whose title stands in the query, in the order they were given."""

    def __init__(self, texts: dict[str, str]) -> None:
        self.passages = [Passage.make(title, text) for title, text in texts.items()]
        self.batches: list[list[str]] = []

    def search(self, queries: Sequence[str], k: int) -> list[list[Found]]:
        self.batches.append(list(queries))
        return [
            [
                Found(p, 10.0 - rank)
                for rank, p in enumerate(p for p in self.passages if p.title.lower() in q.lower())
            ][:k]
            for q in queries
        ]

    def fingerprint(self) -> dict[str, Any]:
        return {"kind": "dict", "titles": [p.title for p in self.passages]}

    def close(self) -> None:
        pass


FILM = {
    "Gold Rain": "Gold Rain is a film by Ann Lee.",
    "Ann Lee": "Ann Lee was born in 1950 in Oslo.",
    "Oslo": "Oslo is the capital of Norway.",
}


def film_questions(count: int) -> list[Question]:
    """Questions of two hops each; their ids are q0, q1, …"""
    return [
        Question(
            id=f"q{i}",
            text=f"When was the director of Gold Rain born, number {i}?",
            answers=("1950",),
        )
        for i in range(count)
    ]


def film_script(request: Request) -> str:
    """Two facts, then the answer."""
    return [
        "Gold Rain was directed by Ann Lee.",
        f"Ann Lee was born in 1950, says {request.question_id}.",
        "So the answer is: 1950.",
    ][request.step - 1]


def drive(
    strategy: Any, question: str, texts: Sequence[str], find: Callable[[str], list[Found]]
) -> tuple[Trajectory, list[Search | Generate]]:
    """Run a strategy by hand: `texts` are what the model writes; returns record and actions."""
    trace = Trace(question)
    actions = strategy.run(trace)
    said = iter(texts)
    asked: list[Search | Generate] = []
    try:
        action = next(actions)
        while True:
            asked.append(action)
            if isinstance(action, Search):
                action = actions.send(find(action.query)[: action.k])
            else:
                action = actions.send(Completion(text=next(said)))
    except StopIteration as stop:
        record = trace.trajectory("q", strategy.name, "passages_first", "hand", "", stop.value)
        return record, asked


def change_in_the_middle(path: Path, size: int = 400_000) -> None:
    """Write other bytes into the middle of a file; its size and time of change stay."""
    before = path.stat()
    with path.open("rb+") as file:
        file.seek(before.st_size // 2 - size // 2)
        file.write(b"\1" * size)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file grows beyond `size` bytes: as on a full disk, a write is cut short, the next refused.

    The system does that itself, so libraries meet it, too.
    """
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
