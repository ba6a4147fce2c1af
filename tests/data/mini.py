"""Miniature files in the official formats, about invented things."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"

HOTPOT: list[dict[str, Any]] = [
    {
        "_id": "h1",
        "question": "In which town was the writer of The Pale Gate born?",
        "answer": "Torvik",
        "type": "bridge",
        "level": "easy",
        "supporting_facts": [["The Pale Gate", 0], ["Ada Vel", 1]],
        "context": [
            ["Ada Vel", ["Ada Vel ( ; born 1901) is a writer.", " She was born in Torvik."]],
            ["Torvik", ["Torvik is a town."]],
            ["The Pale Gate", ["The Pale Gate is a novel by Ada Vel.", " It sold well."]],
        ],
    },
    {
        "_id": "h2",
        "question": "Are Oso and Uma both towns?",
        "answer": "no",
        "type": "comparison",
        "level": "hard",
        "supporting_facts": [["Oso", 0], ["Uma (lake)", 0]],
        "context": [["Oso", ["Oso is a town."]], ["Uma (lake)", ["Uma is a wide lake."]]],
    },
]

WIKI2: list[dict[str, Any]] = [
    {
        "_id": "w1",
        "type": "compositional",
        "question": "Which country is the director of film Red Hill (1950 Film) from?",
        "answer": "Norway",
        "answer_id": "Q20",
        "entity_ids": "Q1_Q2",
        "supporting_facts": [["Red Hill (1950 film)", 0], ["Bo Larn", 1]],
        "evidences": [
            ["Red Hill", "director", "Bo Larn"],
            ["Bo Larn", "country of citizenship", "Norway"],
        ],
        "evidences_id": [["Q1", "director", "Q2"], ["Q2", "country of citizenship", "Q20"]],
        "context": [
            ["Bo Larn", ["Bo Larn was a director.", "He was a citizen of Norway."]],
            ["Red Hill (1950 film)", ["Red Hill is a film by Bo Larn."]],
            ["Red Hill", ["Red Hill is a hill."]],
        ],
    },
    {
        "_id": "w2",
        "type": "comparison",
        "question": "Who died first, Ada Vel or Ed Orr?",
        "answer": "Ed Orr",
        "answer_id": None,
        "supporting_facts": [["Ada Vel", 0], ["Ed Orr", 0]],
        "evidences": [
            ["Ada Vel", "date of death", "4 May 1960"],
            ["Ed Orr", "date of death", "March 1, 1931"],
        ],
        "context": [
            ["Ada Vel", ["Ada Vel died on 4 May 1960."]],
            ["Ed Orr", ["Ed Orr died on March 1, 1931."]],
        ],
    },
]

MUSIQUE: list[dict[str, Any]] = [
    {
        "id": "2hop__1_2",
        "question": "When was the town where the Vel Museum is founded?",
        "answer": "1612",
        "answer_aliases": ["in 1612"],
        "answerable": True,
        "paragraphs": [
            {"idx": 0, "title": "Torvik", "paragraph_text": "Founded 1612.", "is_supporting": True},
            {"idx": 1, "title": "Oso", "paragraph_text": "A town.", "is_supporting": False},
            {"idx": 2, "title": "Vel Museum", "paragraph_text": "Torvik.", "is_supporting": True},
        ],
        "question_decomposition": [
            {
                "id": 1,
                "question": "Vel Museum >> location",
                "answer": "Torvik",
                "paragraph_support_idx": 2,
            },
            {
                "id": 2,
                "question": "when was #1 founded",
                "answer": "1612",
                "paragraph_support_idx": 0,
            },
        ],
    }
]


def changed(rows: list[dict[str, Any]], index: int, **fields: Any) -> list[dict[str, Any]]:
    """A deep copy of `rows` with fields of one row replaced; a value of ... removes the field."""
    rows = copy.deepcopy(rows)
    for name, value in fields.items():
        if value is ...:
            del rows[index][name]
        else:
            rows[index][name] = value
    return rows


def array(folder: Path, rows: list[dict[str, Any]], name: str = "dev.json") -> Path:
    """A JSON array file."""
    path = folder / name
    path.write_text(json.dumps(rows, indent=1, ensure_ascii=False), encoding="utf-8")
    return path


def lines(folder: Path, rows: list[dict[str, Any]], name: str = "dev.jsonl") -> Path:
    """A JSON-lines file."""
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def shared(name: str) -> Path:
    """A real sample file; the test is skipped where it is absent."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"real benchmark samples are not here ({name})")
    return path


def as_columns(row: dict[str, Any]) -> dict[str, Any]:
    """A HotpotQA or 2Wiki row as Hugging Face's copies have it: `id`, and columns."""
    titles, sentences = zip(*row["context"], strict=True)
    facts, places = zip(*row["supporting_facts"], strict=True)
    return {
        "id": row["_id"],
        **{name: value for name, value in row.items() if name != "_id"},
        "context": {"title": list(titles), "sentences": list(sentences)},
        "supporting_facts": {"title": list(facts), "sent_id": list(places)},
    }
