"""What it costs to see that an index is whole: the time to open one, checked and not.

    python benchmarks/index_open.py [--passages 200000] [--rounds 5]

The passages are made of a generated world's articles: a random title and three random sentences
each (seeded). Opened in one process after another: without checksums (as format 1 was), for the
first time (every byte is read), and again (the files' state is known).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from retrieval import make_corpus
from steper.data import load_corpus
from steper.data.world import make_world, write_world
from steper.retrieve import BM25Index

OPEN = """
import sys, time
from pathlib import Path
import bm25s
from steper.retrieve import BM25Index

began = time.perf_counter()
BM25Index.load(Path(sys.argv[1])).close()
print(time.perf_counter() - began)
"""


def seconds_to_open(index: Path, cache: Path) -> float:
    """In a new process; `cache` is the user's cache folder."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    command = [sys.executable, "-c", OPEN, str(index)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    return float(done.stdout)


def main() -> None:
    """Build the index and print the times."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--passages", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_world(make_world(1, "culture", {"train": 1200}), folder / "world")
        make_corpus(folder / "world" / "corpus.jsonl", folder / "corpus.jsonl", given.passages)
        index = folder / "index"
        BM25Index.build(load_corpus(folder / "corpus.jsonl")).save(index)
        time.sleep(3)  # what was changed just now is never taken as known
        megabytes = sum(f.stat().st_size for f in index.rglob("*") if f.is_file()) / 1e6
        print(f"{given.passages:,} passages, {megabytes:,.0f} MB")
        times: dict[str, list[float]] = {"first": [], "again": [], "unchecked": []}
        for number in range(given.rounds):
            for which in ("first", "again"):
                times[which].append(seconds_to_open(index, folder / f"cache{number}"))
        manifest = json.loads((index / "index.json").read_text())
        del manifest["sha256"]
        (index / "index.json").write_text(json.dumps({**manifest, "format": 1}))
        for number in range(given.rounds):
            times["unchecked"].append(seconds_to_open(index, folder / f"cache{number}"))
        for which, found in times.items():
            print(f"{which:10} {statistics.median(found):.3f} s (best {min(found):.3f})")


if __name__ == "__main__":
    main()
