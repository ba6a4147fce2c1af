"""An index of millions of passages: time, peak memory, bytes on disk, milliseconds a query.

    python benchmarks/size.py CORPUS.jsonl QUESTIONS.json [--passages 5000000] [--folder FOLDER]
                              [--java JAVA --anserini JAR]

The passages are made of a real corpus: a random title and three random sentences each, and rare
words, whose ranks follow Zipf's law, so that the vocabulary grows with the corpus as a real one's
does (Heaps' law); sentences alone hold some 31,000 terms, however many passages are made of them.
Each measurement is a process of its own with one thread (Lucene's, too), one after the other.
Queries are the questions, k = 10. With Anserini's jar and Java 21 or newer the same passages are
indexed and searched by Lucene: titles and texts as two fields whose scores are added up, k1 = 1.2,
b = 0.75, the english analyzer of Anserini (Porter).

A folder that is named is kept, and what it holds already is not made again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from itertools import accumulate
from pathlib import Path
from typing import Any

K, RARE, RARE_WORDS, EXPONENT = 10, 4, 4_000_000, 1.0
"""Passages a query, rare words a passage, how many there are, Zipf's exponent."""

LUCENE = "io.anserini"


def make_corpus(source: Path, out: Path, count: int, seed: int = 0) -> None:
    """Write `count` passages, {"id", "title", "contents"} a line, which both systems read."""
    with source.open() as file:
        rows = [json.loads(line) for line in file]
    titles = [row["title"] for row in rows]
    sentences = [s for row in rows for s in re.split(r"(?<=[.!?])\s+", row["text"]) if s]
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


def search(index: Path, questions: Path) -> None:
    """Milliseconds a query, one by one, after one round that maps what is searched."""
    from steper.data import load_questions
    from steper.retrieve import BM25Index

    queries = [q.text for q in load_questions(questions)]
    began = time.perf_counter()
    opened = BM25Index.load(index, n_threads=1)
    opening = time.perf_counter() - began
    times: list[list[float]] = []
    for _ in range(2):
        times.append([])
        for query in queries:
            start = time.perf_counter()
            opened.search([query], K)
            times[-1].append(1000 * (time.perf_counter() - start))
    warm = sorted(times[1])
    figures = {
        "open_s": opening,
        "cold_ms": sum(times[0]) / len(queries),
        "ms": sum(warm) / len(warm),
        "median_ms": warm[len(warm) // 2],
    }
    print(json.dumps(figures))


def lucene(java: str, jar: Path, folder: Path, corpus: Path, questions: Path) -> dict[str, Any]:
    """Lucene's index and searches, through Anserini."""
    from steper.data import load_questions

    docs, index = folder / "docs", folder / "lucene"
    docs.mkdir(exist_ok=True)
    (docs / "corpus.jsonl").unlink(missing_ok=True)
    (docs / "corpus.jsonl").hardlink_to(corpus)
    topics = folder / "topics.tsv"
    texts = [" ".join(q.text.split()) for q in load_questions(questions)]
    lines = [f"{n}\t{text}" for n, text in enumerate(texts)]
    topics.write_text("\n".join(lines) + "\n")
    run = [java, "-Xmx8g", "-cp", str(jar)]
    made = measured(
        *run, f"{LUCENE}.index.IndexCollection", "-collection", "JsonCollection", "-input",
        str(docs), "-generator", "DefaultLuceneDocumentGenerator", "-index", str(index),
        "-threads", "1", "-fields", "title",
    )  # fmt: skip
    ask = [
        *run, f"{LUCENE}.search.SearchCollection", "-index", str(index), "-topics", str(topics),
        "-topicReader", "TsvInt", "-output", str(folder / "run.txt"), "-bm25", "-bm25.k1", "1.2",
        "-bm25.b", "0.75", "-hits", str(K), "-threads", "1", "-fields", "contents=1.0", "title=1.0",
    ]  # fmt: skip
    # Starting and warming Java up costs seconds: of twice the topics, the second half is counted.
    once = measured(*ask)
    again = [f"{n + len(lines)}\t{text}" for n, text in enumerate(texts)]
    topics.write_text("\n".join([*lines, *again]) + "\n")
    twice = measured(*ask)
    return {
        "build": made | {"bytes": bytes_of(index)},
        "search": {"ms": 1000 * (twice["wall_s"] - once["wall_s"]) / len(lines)},
    }


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
    parser.add_argument("--java", default="java")
    parser.add_argument("--anserini", type=Path)
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        part, first, second = given.part
        if part == "corpus":
            make_corpus(Path(first), Path(second), given.passages)
        else:
            {"build": build, "search": search}[part](Path(first), Path(second))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = given.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        made, index = folder / f"corpus-{given.passages}.jsonl", folder / f"index-{given.passages}"
        again = [sys.executable, __file__, str(given.corpus), str(given.questions)]
        again += ["--passages", str(given.passages), "--part"]
        if not made.exists():  # a process of its own: what it holds counts to those after it
            measured(*again, "corpus", str(given.corpus), str(made))
        results: dict[str, Any] = {"passages": given.passages}
        if not index.exists():
            results["build"] = measured(*again, "build", str(made), str(index))
        results["bytes"] = bytes_of(index)
        results["search"] = measured(*again, "search", str(index), str(given.questions))
        print(json.dumps({"steper": results}))
        if given.anserini:
            theirs = lucene(given.java, given.anserini, folder, made, given.questions)
            print(json.dumps({"lucene": theirs}))


if __name__ == "__main__":
    main()
