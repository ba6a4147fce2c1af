"""BM25 of this package against bm25s called directly and rank_bm25: time and peak memory, one core.

    python benchmarks/retrieval.py CORPUS.jsonl QUESTIONS.json [--passages 200000] [--rounds 3]

The passages are made of a real corpus: a random title and three random sentences each (seeded).
Every measurement is a process of its own, held to one core:

- build: from the JSON-lines file to an index on disk that can give passages back;
- search: open it memory-mapped, then answer all queries, k = 10, passages included.

All systems leave out the same 33 stop words and stem with the same Porter stemmer. `bm25s` searches
one field (title and text together); `bm25s two fields` is what our default does, done with bm25s
alone: an index for titles, one for texts, scores added up; `bm25s ids only` keeps and gives back no
passages. rank_bm25 can't be saved: its search is timed in the building process, on few queries.

Rounds are paired: each runs every system once, and ratios are taken within a round. CPU seconds
are the measure, since other work on the machine changes them least; wall seconds stand beside.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

K = 10
SLOW_QUERIES = 10
BASE = "bm25s"


def read_parts(source: Path) -> tuple[list[str], list[str]]:
    """Titles and sentences of a corpus."""
    with source.open() as file:
        rows = [json.loads(line) for line in file]
    texts = (row["text"] for row in rows)
    sentences = [s for text in texts for s in re.split(r"(?<=[.!?])\s+", text) if s]
    return [row["title"] for row in rows], sentences


def make_corpus(source: Path, out: Path, count: int, seed: int = 0) -> None:
    """Write `count` passages of shuffled titles and sentences."""
    titles, sentences = read_parts(source)
    rng = random.Random(seed)
    with out.open("w") as file:
        for number in range(count):
            text = " ".join(rng.choices(sentences, k=3))
            row = {"id": str(number), "title": rng.choice(titles), "text": text}
            file.write(json.dumps(row) + "\n")


class Clock:
    """Collects what one process measures: CPU and wall seconds by phase, peak memory at the end."""

    def __init__(self) -> None:
        self.measured: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str, per: int = 1) -> Any:
        """Time a block; `per` divides (queries)."""
        cpu, wall = time.process_time(), time.perf_counter()
        yield
        self.measured[f"{name}_cpu"] = (time.process_time() - cpu) / per
        self.measured[f"{name}_wall"] = (time.perf_counter() - wall) / per
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self.measured[f"{name}_mb"] = peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def ours(fields: str) -> dict[str, Callable[..., None]]:
    """This package with one setting of `fields`."""

    def build(clock: Clock, corpus: Path, folder: Path) -> None:
        import bm25s  # noqa: F401 (imports are not timed)
        import Stemmer  # noqa: F401

        from steper.data import load_corpus
        from steper.retrieve import BM25Index, BM25Settings

        with clock.phase("build"):
            settings = BM25Settings(fields=fields)  # type: ignore[arg-type]
            index = BM25Index.build(load_corpus(corpus), settings, spool=folder)
            index.save(folder / "index")
            index.close()

    def search(clock: Clock, folder: Path, queries: list[str]) -> None:
        import bm25s  # noqa: F401
        import Stemmer  # noqa: F401

        from steper.retrieve import BM25Index

        with clock.phase("search", per=len(queries)):
            index = BM25Index.load(folder / "index", n_threads=1)
            index.search(queries, K)

    return {"build": build, "search": search}


def read_rows(corpus: Path) -> list[dict[str, str]]:
    """The corpus as dictionaries, read as fast as a script would."""
    import orjson

    with corpus.open("rb") as file:
        return [orjson.loads(line) for line in file]


def bm25s_direct(parts: tuple[str, ...], keep: bool) -> dict[str, Callable[..., None]]:
    """bm25s as its README uses it. `parts`: the field(s) as comma-lists; `keep`: the passages."""

    def tokenized(texts: list[str], **kwargs: Any) -> Any:
        import bm25s
        import Stemmer

        stemmer = Stemmer.Stemmer("porter")
        return bm25s.tokenize(texts, stopwords="en", stemmer=stemmer, show_progress=False, **kwargs)

    def build(clock: Clock, corpus: Path, folder: Path) -> None:
        import bm25s
        import orjson  # noqa: F401
        import Stemmer  # noqa: F401

        with clock.phase("build"):
            rows = read_rows(corpus)
            for number, part in enumerate(parts):
                tokens = tokenized(["\n".join(row[f] for f in part.split(",")) for row in rows])
                index = bm25s.BM25(k1=1.2, b=0.75, method="lucene")
                index.index(tokens, show_progress=False)
                kept = rows if keep and number == 0 else None
                index.save(folder / f"part{number}", corpus=kept, show_progress=False)
                del tokens, index

    def load(folder: Path, number: int) -> Any:
        import bm25s

        return bm25s.BM25.load(
            folder / f"part{number}",
            mmap=True,
            load_corpus=keep and number == 0,
            show_progress=False,
            verbosity=0,
        )

    def search(clock: Clock, folder: Path, queries: list[str]) -> None:
        import bm25s  # noqa: F401
        import Stemmer  # noqa: F401

        with clock.phase("search", per=len(queries)):
            indexes = [load(folder, number) for number in range(len(parts))]
            tokens = tokenized(queries, return_ids=False)
            if len(indexes) == 1:
                indexes[0].retrieve(tokens, k=K, show_progress=False)
                return
            from bm25s.selection import topk

            for query in tokens:
                scores = sum(index.get_scores(query) for index in indexes)
                best = topk(scores, K, backend="numpy")[1]
                [indexes[0].corpus[int(number)] for number in best]

    return {"build": build, "search": search}


def rank_bm25() -> dict[str, Callable[..., None]]:
    """rank_bm25, on the same tokens."""

    def build(clock: Clock, corpus: Path, folder: Path, queries: list[str]) -> None:
        import bm25s
        import Stemmer
        from rank_bm25 import BM25Okapi

        def tokenized(texts: list[str]) -> Any:
            return bm25s.tokenize(
                texts,
                stopwords="en",
                stemmer=Stemmer.Stemmer("porter"),
                return_ids=False,
                show_progress=False,
            )

        with clock.phase("build"):
            rows = read_rows(corpus)
            index = BM25Okapi(
                tokenized([f"{row['title']}\n{row['text']}" for row in rows]), k1=1.2, b=0.75
            )
        with clock.phase("search", per=SLOW_QUERIES):
            for query in tokenized(queries[:SLOW_QUERIES]):
                index.get_top_n(query, rows, n=K)

    return {"build": build}


SYSTEMS: dict[str, dict[str, Callable[..., None]]] = {
    "steper": ours("separate"),
    "steper title+text": ours("title+text"),
    "bm25s": bm25s_direct(("title,text",), keep=True),
    "bm25s two fields": bm25s_direct(("text", "title"), keep=True),
    "bm25s ids only": bm25s_direct(("title,text",), keep=False),
    "rank_bm25": rank_bm25(),
}


def worker(system: str, phase: str, folder: Path, queries: Path) -> None:
    """One measurement, printed as JSON."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    clock = Clock()
    texts = json.loads(queries.read_text())
    corpus = folder.parent / "corpus.jsonl"
    if system == "rank_bm25":
        SYSTEMS[system]["build"](clock, corpus, folder, texts)
    elif phase == "build":
        SYSTEMS[system]["build"](clock, corpus, folder)
    else:
        SYSTEMS[system]["search"](clock, folder, texts)
    print(json.dumps(clock.measured))


def measure(system: str, folder: Path, queries: Path) -> dict[str, float]:
    """Build and search in processes of their own."""
    folder.mkdir()
    measured: dict[str, float] = {}
    for phase in ("build",) if system == "rank_bm25" else ("build", "search"):
        command = [sys.executable, __file__, "--worker", system, phase, str(folder), str(queries)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        measured |= json.loads(done.stdout)
    return measured


def table(rounds: list[dict[str, dict[str, float]]]) -> str:
    """Medians, and in brackets the median of the ratios to bm25s within each round."""

    def cell(system: str, key: str, scale: float, digits: int) -> str:
        median = statistics.median(r[system][key] for r in rounds) * scale
        ratio = statistics.median(r[system][key] / r[BASE][key] for r in rounds)
        return f"{median:.{digits}f} ({ratio:.2f})"

    columns = {
        "build CPU s": ("build_cpu", 1, 1),
        "build wall s": ("build_wall", 1, 1),
        "build MB": ("build_mb", 1, 0),
        "search CPU ms": ("search_cpu", 1000, 2),
        "search wall ms": ("search_wall", 1000, 2),
        "search MB": ("search_mb", 1, 0),
    }
    lines = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for system in rounds[0]:
        cells = [cell(system, *column) for column in columns.values()]
        lines.append(f"| {system} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure all systems and print the table."""
    if sys.argv[1:2] == ["--worker"]:
        system, phase, folder, queries = sys.argv[2:]
        worker(system, phase, Path(folder), Path(queries))
        return
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("corpus", type=Path, help="JSON lines with title and text")
    parser.add_argument("questions", type=Path, help="a benchmark's question file")
    parser.add_argument("--passages", type=int, default=200_000)
    parser.add_argument("--queries", type=int, default=1000, help="questions, repeated as needed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS))
    options = parser.parse_args()
    systems = options.systems

    from steper.data import load_questions

    texts = [question.text for question in load_questions(options.questions)]
    texts = (texts * (options.queries // len(texts) + 1))[: options.queries]
    rounds = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_corpus(options.corpus, folder / "corpus.jsonl", options.passages)
        queries = folder / "queries.json"
        queries.write_text(json.dumps(texts))
        for number in range(options.rounds):
            order = systems[number % len(systems) :] + systems[: number % len(systems)]
            found = {s: measure(s, folder / f"{number} {s}", queries) for s in order}
            rounds.append({system: found[system] for system in systems})
            print(f"round {number + 1} of {options.rounds} done", file=sys.stderr)
    print(f"{options.passages:,} passages, {len(texts):,} queries, {options.rounds} rounds")
    print(table(rounds))


if __name__ == "__main__":
    main()
