"""Small data for dry runs: ten questions of a real file, or generated ones in its official format.

Questions keep their file's own format, so the real readers read them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from steper.data.items import read_items
from steper.data.world import World, WorldQuestion, make_world
from steper.data.world.generate import CHAINS, ROWS, official_row
from steper.errors import InputError
from steper.store import write_json, write_jsonl

Item = dict[str, Any]

WORLD_SEED = 4099


def sample_rows(path: Path, size: int, seed: int = 0) -> list[Item]:
    """`size` raw items of a question file at random, in the file's order; all if it has fewer."""
    kept: list[tuple[int, Item]] = []
    rng = random.Random(seed)
    for number, item in enumerate(read_items(path)):
        if len(kept) < size:
            kept.append((number, item.value))
        elif (place := rng.randrange(number + 1)) < size:
            kept[place] = (number, item.value)
    return [row for _, row in sorted(kept, key=lambda pair: pair[0])]


def cut_files(train: Path | None, test: Path | None, size: int) -> tuple[list[Item], list[Item]]:
    """`size` training and test items of the files that are there; one file gives both, apart."""
    if train is not None and test is not None:
        return sample_rows(train, size), sample_rows(test, size)
    path = train or test
    assert path is not None
    rows = sample_rows(path, 2 * size)
    if len(rows) < 2:
        raise InputError(f"{path} holds {len(rows)} question; two at least were expected")
    rng = random.Random(0)
    rng.shuffle(rows)
    half = min(size, len(rows) // 2)
    return rows[:half], rows[half : 2 * half]


def generated(format_name: str, size: int) -> tuple[list[Item], list[Item]]:
    """`size` training and test questions about a generated world, in an official format."""
    counts = {"train": 8 * size, "test": 8 * size}
    world = make_world(WORLD_SEED, counts=counts)
    make = FORMATS.get(format_name, official_row)
    picked = []
    for part in ("train", "test"):
        questions: Sequence[WorldQuestion] = world.questions[part]
        if make is musique_row:
            questions = [q for q in questions if q.type in CHAINS]
        picked.append([make(world, q) for q in questions[:size]])
    return picked[0], picked[1]


def musique_row(world: World, question: WorldQuestion) -> Item:
    """A generated question in MuSiQue's format: sub-questions name earlier answers as #1, #2."""
    context: Any = official_row(world, question)["context"]
    places = {title: number for number, (title, _) in enumerate(context)}
    parts = []
    for number, hop in enumerate(question.hops):
        asked = hop.sub_question
        for earlier in range(number - 1, -1, -1):
            asked = asked.replace(question.hops[earlier].answer, f"#{earlier + 1}")
        parts.append(
            {
                "id": number,
                "question": asked,
                "answer": hop.answer,
                "paragraph_support_idx": places[hop.title],
            }
        )
    return {
        "id": f"{len(parts)}hop__{question.id}",
        "question": question.question,
        "paragraphs": [
            {
                "idx": number,
                "title": title,
                "paragraph_text": " ".join(s.strip() for s in sentences),
                "is_supporting": title in question.gold_titles,
            }
            for number, (title, sentences) in enumerate(context)
        ],
        "question_decomposition": parts,
        "answer": question.answer,
        "answer_aliases": [],
        "answerable": True,
    }


FORMATS: dict[str, Callable[[World, WorldQuestion], Item]] = {**ROWS, "musique": musique_row}


def write_rows(path: Path, rows: Sequence[Item]) -> None:
    """Write items as JSON lines (.jsonl), or as a JSON array."""
    if path.suffix == ".jsonl":
        write_jsonl(path, rows)
    else:
        write_json(path, list(rows))
