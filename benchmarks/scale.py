"""Many questions: CPU time a question and peak memory of each command, from 100 questions on.

    python benchmarks/scale.py [--questions 100 1000 10000] [--repeats 5] [--folder FOLDER]

The questions are those of a generated world, again and again under other ids, so that every size
asks the same; the teacher is `gold`, so what is measured is ours: engine, journal, search, scores,
examples, comparison, report. `resume` is `teach` once more over the whole run, which reads it
through. Each measurement is a process of its own, one after the other; up to 1,000 questions the
median of so many, beyond that one. "a question" is what questions beyond the smallest size take
(milliseconds of CPU), without what a command takes to start; the last column holds it against that
of 1,000 questions.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median

from size import measured

SEVERAL = 1_000
"""Up to so many questions a measurement is repeated."""

STEPER = (sys.executable, "-m", "steper")


def make_questions(world: Path, out: Path, count: int) -> None:
    """Write `count` questions, those of the world over and over, as JSON lines."""
    rows = json.loads((world / "train.json").read_text())
    with out.open("w") as file:
        for number in range(count):
            row = rows[number % len(rows)]
            row = {**row, "_id": f"{row['_id']}-{number // len(rows)}"}
            file.write(json.dumps(row) + "\n")


def commands(folder: Path, size: int) -> dict[str, list[str]]:
    """What is measured, in order; each finds what those before it wrote."""
    run, index = folder / f"run-{size}", folder / "index"
    teach = ["teach", "--questions", f"{folder}/questions-{size}.jsonl", "--model", "gold"]
    teach += ["--corpus", str(index), "--demos", "0", "--out", str(run)]
    return {
        "teach": teach,
        "resume": teach,
        "eval": ["eval", str(run)],
        "build": ["build", str(run), "--out", f"{folder}/examples-{size}"],
        "compare": ["compare", f"a={run}", f"b={folder}/again-{size}", "--metric", "em"],
        "report": ["report", str(run), "--out", f"{folder}/report-{size}.html"],
    }


def measure(folder: Path, size: int, repeats: int) -> dict[str, dict[str, float]]:
    """CPU seconds and peak megabytes of each command over so many questions."""
    found: dict[str, list[dict[str, float]]] = {}
    make_questions(folder / "world", folder / f"questions-{size}.jsonl", size)
    for _ in range(repeats if size <= SEVERAL else 1):
        for name in ("run", "examples", "again"):
            shutil.rmtree(folder / f"{name}-{size}", ignore_errors=True)
        for name, command in commands(folder, size).items():
            if name == "compare":
                shutil.copytree(folder / f"run-{size}", folder / f"again-{size}")
            took = measured(*STEPER, *command)
            print(f"{size} {name} {took['cpu_s']:.2f} s {took['peak_mb']:.0f} MB", file=sys.stderr)
            found.setdefault(name, []).append(took)
    return {
        name: {key: median(one[key] for one in runs) for key in ("cpu_s", "peak_mb")}
        for name, runs in found.items()
    }


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--questions", type=int, nargs="+", default=[100, 1_000, 10_000])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    sizes = sorted(given.questions)
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        made = ["world", "--train", "1000", "--dev", "0", "--test", "1", "--out", f"{folder}/world"]
        measured(*STEPER, *made)
        corpus = ["--corpus", f"{folder}/world/corpus.jsonl", "--out", f"{folder}/index"]
        measured(*STEPER, "index", *corpus)
        found = {size: measure(folder, size, given.repeats) for size in sizes}
    print("| command | questions | CPU s | peak MB | ms a question | of 1,000's |")
    print("|---|---|---|---|---|---|")
    least = sizes[0]
    for name in found[least]:
        each = {
            size: 1000 * (one[name]["cpu_s"] - found[least][name]["cpu_s"]) / (size - least)
            for size, one in found.items()
            if size > least
        }
        for size, one in found.items():
            cells = [name, f"{size:,}", f"{one[name]['cpu_s']:.2f}", f"{one[name]['peak_mb']:.0f}"]
            cells.append(f"{each[size]:.2f}" if size in each else "")
            base = each.get(SEVERAL)
            cells.append(f"{each[size] / base:.2f}" if size in each and base else "")
            print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
