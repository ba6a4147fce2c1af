"""An index of millions of passages: time, peak memory, bytes on disk, milliseconds a query.

    python benchmarks/size.py CORPUS.jsonl QUESTIONS.json [--passages 5000000] [--folder FOLDER]
                              [--lucene]

The passages are made of a real corpus: a random title and three random sentences each, and rare
words, whose ranks follow Zipf's law, so that the vocabulary grows with the corpus as a real one's
does (Heaps' law); sentences alone hold some 31,000 terms, however many passages are made of them.
Each measurement is a process of its own, one after the other; nothing runs in several threads but
what Java does beside (compiling, collecting garbage). Queries are the questions, k = 10, asked one
by one, twice. With --lucene the same passages are indexed and searched by Lucene, through our door
to it (steper.retrieve.lucene says what that needs), with the same fields, k1 and b.

A folder that is named is kept, and what it holds already is not made again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from itertools import accumulate
from pathlib import Path
from typing import Any

from retrieval import read_parts

K, RARE, RARE_WORDS, EXPONENT = 10, 4, 4_000_000, 1.0
"""Passages a query, rare words a passage, how many there are, Zipf's exponent."""


def make_corpus(source: Path, out: Path, count: int, seed: int = 0) -> None:
    """Write `count` passages, {"id", "title", "contents"} a line, which both systems read."""
    titles, sentences = read_parts(source)
    rng = random.Random(seed)
    weights = list(accumulate(1 / rank**EXPONENT for rank in range(1, RARE_WORDS + 1)))
    ranks = range(RARE_WORDS)
    with out.open("w") as file:
        for number in range(count):
            rare = (f"zq{r:x}" for r in rng.choices(ranks, cum_weights=weights, k=RARE))
            text = " ".join((*rng.choices(sentences, k=3), *rare))
            row = {"id": str(number), "title": rng.choice(titles), "contents": text}
            file.write(json.dumps(row) + "\n")


def measured(*command: str) -> dict[str, float]:
    """A process's wall and CPU seconds and peak megabytes; its last line of JSON, where one is."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        said = []
        for file in (out, err):
            file.seek(0)
            said.append(file.read().decode(errors="replace").strip())
    if status:
        raise SystemExit(f"{' '.join(command)}\n{said[0][-2000:]}\n{said[1][-2000:]}")
    found = {
        "wall_s": seconds,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss / 1024,
    }
    last = said[0].splitlines()[-1:]
    return found | (json.loads(last[0]) if last and last[0].startswith("{") else {})


def build(corpus: Path, index: Path) -> None:
    """Our index."""
    from steper.data import load_corpus
    from steper.retrieve import BM25Index

    made = BM25Index.build(load_corpus(corpus), spool=index.parent)
    made.save(index)
    print(json.dumps({"terms": made.n_terms}))
    made.close()


def build_lucene(corpus: Path, index: Path) -> None:
    """Lucene's."""
    from steper.data import load_corpus
    from steper.retrieve.lucene import LuceneIndex

    index.mkdir()
    LuceneIndex.write(load_corpus(corpus), index)


def search(index: Path, questions: Path) -> None:
    """Milliseconds a query: of the first round, which maps what is searched, and of the second."""
    from steper.data import load_questions
    from steper.retrieve import open_retriever

    queries = [q.text for q in load_questions(questions)]
    began = time.perf_counter()
    opened = open_retriever(index, n_threads=1)
    opening = time.perf_counter() - began
    times: list[list[float]] = []
    for _ in range(2):
        times.append([])
        for query in queries:
            start = time.perf_counter()
            opened.search([query], K)
            times[-1].append(1000 * (time.perf_counter() - start))
    figures = {
        "open_s": opening,
        "first_ms": sum(times[0]) / len(queries),
        "ms": sum(times[1]) / len(queries),
        "median_ms": sorted(times[1])[len(queries) // 2],
    }
    print(json.dumps(figures))


PARTS = {"build": build, "build_lucene": build_lucene, "search": search}


def bytes_of(folder: Path) -> int:
    """Of all files in it."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def main() -> None:
    """Make the corpus, measure, print one line of JSON a system."""
    parser = argparse.ArgumentParser()
    parser.add_argument("corpus", type=Path)
    parser.add_argument("questions", type=Path)
    parser.add_argument("--passages", type=int, default=5_000_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--lucene", action="store_true")
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        part, first, second = given.part
        if part == "corpus":
            make_corpus(Path(first), Path(second), given.passages)
        else:
            PARTS[part](Path(first), Path(second))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = given.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        made = folder / f"corpus-{given.passages}.jsonl"
        again = [sys.executable, __file__, str(given.corpus), str(given.questions)]
        again += ["--passages", str(given.passages), "--part"]
        if not made.exists():  # a process of its own: what it holds counts to those after it
            measured(*again, "corpus", str(given.corpus), str(made))
        for part in ("build", "build_lucene")[: 1 + given.lucene]:
            index = folder / f"{part}-{given.passages}"
            results: dict[str, Any] = {"passages": given.passages}
            if not index.exists():
                results["build"] = measured(*again, part, str(made), str(index))
            results["bytes"] = bytes_of(index)
            results["search"] = measured(*again, "search", str(index), str(given.questions))
            print(json.dumps({part: results}), flush=True)


if __name__ == "__main__":
    main()
