"""Making a world from a seed, and writing it in the benchmarks' own formats."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from steper.data.world.facts import Facts, sample_facts
from steper.data.world.names import PARTS, part_names
from steper.data.world.passages import WorldPassage, write_passages
from steper.data.world.schema import Domain
from steper.data.world.world_questions import QuestionMaker, WorldQuestion
from steper.errors import InputError, unknown_name
from steper.store import atomic_writer, package_yaml, sha256_file


def read_domain(name: str) -> Domain:
    """The domain of that name, from its file in `domains/`."""
    return TypeAdapter(Domain).validate_python(package_yaml(__package__, f"domains/{name}.yaml"))


DOMAINS = {name: read_domain(name) for name in ("culture", "ood")}
"""The domains by the name that the command line takes."""

DEFAULT_COUNTS = {"train": 1200, "dev": 200, "test": 500}
"""Questions of each split unless told otherwise."""

MOST_QUESTIONS = 5000
"""Questions that a split may ask for; the smallest part of a world has somewhat more."""

CONTEXT_SIZE = 10
"""Paragraphs in the context of a question, as in HotpotQA's distractor setting and 2Wiki."""


TRAIN_CORPUS = "train-corpus"
"""The file of the articles that training questions are about, and those alone."""

ABOUT = "world.json"
"""The file that says how a world was made."""


@dataclass(frozen=True)
class World:
    """A generated encyclopedia with its questions."""

    domain: str
    seed: int
    passages: dict[str, WorldPassage]
    facts: dict[str, Facts]
    questions: dict[str, list[WorldQuestion]]


def make_world(seed: int, domain: str = "culture", counts: dict[str, int] | None = None) -> World:
    """The world of `seed`: the same in every process.

    `counts` gives the number of questions of each split (train, dev, test). Raises InputError
    for an unknown domain or split, or for more questions than a split can give.
    """
    if domain not in DOMAINS:
        raise InputError(f"domain is {domain!r}; expected one of {', '.join(DOMAINS)}")
    counts = DEFAULT_COUNTS if counts is None else counts
    unknown = set(counts) - set(PARTS)
    if unknown:
        raise InputError(f"unknown split {min(unknown)!r}; expected {', '.join(PARTS)}")
    for part, count in counts.items():
        if not 0 <= count <= MOST_QUESTIONS:
            raise InputError(f"{part} asks for {count} questions; expected 0 to {MOST_QUESTIONS}")
    rules: Domain = DOMAINS[domain]
    passages: dict[str, WorldPassage] = {}
    facts: dict[str, Facts] = {}
    questions: dict[str, list[WorldQuestion]] = {}
    for part in PARTS:
        rng = random.Random(f"{rules.name}/{seed}/{part}")
        facts[part] = sample_facts(rules, part_names(rules, part), rng)
        own = write_passages(rules, facts[part], part, rng)
        maker = QuestionMaker(rules, facts[part], own, rng)
        try:
            questions[part] = maker.make(counts.get(part, 0), part, f"{rules.name}-{seed}")
        except ValueError as error:
            raise InputError(f"{error}; ask for fewer") from error
        passages |= own
    order = list(passages)
    random.Random(f"{rules.name}/{seed}/order").shuffle(order)
    return World(domain, seed, {title: passages[title] for title in order}, facts, questions)


def corpus_rows(world: World) -> list[dict[str, str]]:
    """The corpus: one row an article, with id, title and text."""
    return [
        {"id": f"{world.domain}-{index:05d}", "title": passage.title, "text": passage.text}
        for index, passage in enumerate(world.passages.values())
    ]


def official_row(world: World, question: WorldQuestion) -> dict[str, object]:
    """A question in the format of 2WikiMultiHopQA."""
    relation = DOMAINS[world.domain].relation
    return {
        "_id": question.id,
        "type": question.type,
        "question": question.question,
        "context": [
            [title, list(world.passages[title].sentences)] for title in _context(world, question)
        ],
        "supporting_facts": [
            list(fact) for fact in dict.fromkeys((h.title, h.sentence) for h in question.hops)
        ],
        "evidences": [[h.subject, relation(h.relation).label, h.answer] for h in question.hops],
        "answer": question.answer,
    }


CHAINS = ("compositional", "inference")
"""Types of questions in which one hop leads to the next: HotpotQA's "bridge"."""


def hotpotqa_row(world: World, question: WorldQuestion) -> dict[str, object]:
    """A question in HotpotQA's format: no evidences, sentences with leading spaces."""
    row = official_row(world, question)
    del row["evidences"]
    row["type"] = "bridge" if question.type in CHAINS else "comparison"
    row["level"] = "medium"
    row["context"] = [
        [title, [f" {s}" if number else s for number, s in enumerate(sentences)]]
        for title in _context(world, question)
        for sentences in [world.passages[title].sentences]
    ]
    return row


ROWS = {"2wikimultihopqa": official_row, "hotpotqa": hotpotqa_row}
"""Official formats by the benchmark's name."""


def _context(world: World, question: WorldQuestion) -> list[str]:
    """Gold titles and distractors of the same split, those that share a word first."""
    rng = random.Random(f"{world.seed}/{question.id}")
    gold = list(question.gold_titles)
    words = {word for title in gold for word in title.split()} - {"The", "of", "at", "and"}
    others = [
        title
        for title, passage in world.passages.items()
        if passage.part == question.part and title not in gold
    ]
    rng.shuffle(others)
    others.sort(key=lambda title: words.isdisjoint(title.split()))
    titles = gold + others[: CONTEXT_SIZE - len(gold)]
    rng.shuffle(titles)
    return titles


def write_world(
    world: World, out: Path | str, benchmark: str = "2wikimultihopqa"
) -> dict[str, Path]:
    """Write the world to the folder `out`; returns what was written, by name.

    `train.json`, `dev.json`, `test.json` are in the format of `benchmark`, 2WikiMultiHopQA or
    HotpotQA, `corpus.jsonl` holds the articles, `train-corpus.jsonl` those of the training part,
    `gold.jsonl` the gold chain of every question with its sub-questions, and `world.json` says how
    the world was made, with a hash of each file. Raises InputError where `out` holds a file that is
    no world's, or one that was changed since; a world that was written there before, or in part,
    gives way.
    """
    if benchmark not in ROWS:
        raise InputError(unknown_name("format of a world", benchmark, ROWS))
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is not a folder; name a folder to write the world to")
    articles = corpus_rows(world)
    own = [row for row in articles if world.passages[row["title"]].part == "train"]
    texts = {"corpus": "".join(map(_line, articles)), TRAIN_CORPUS: "".join(map(_line, own))}
    for part, questions in world.questions.items():
        rows = [ROWS[benchmark](world, question) for question in questions]
        texts[part] = json.dumps(rows, ensure_ascii=False, indent=1) + "\n"
    texts["gold"] = "".join(
        _line(asdict(question)) for part in world.questions.values() for question in part
    )
    lines = {"corpus", TRAIN_CORPUS, "gold"}
    files = {name: out / f"{name}.{'jsonl' if name in lines else 'json'}" for name in texts}
    hashes = {files[n].name: hashlib.sha256(text.encode()).hexdigest() for n, text in texts.items()}
    files["world"] = out / ABOUT
    about = {
        "domain": world.domain,
        "seed": world.seed,
        "benchmark": benchmark,
        "passages": len(world.passages),
        "questions": {part: len(questions) for part, questions in world.questions.items()},
        "sha256": hashes,
    }
    _check_folder(out, hashes)
    texts["world"] = json.dumps(about, indent=1) + "\n"  # the last one: now the world is whole
    for name, text in texts.items():
        with atomic_writer(files[name]) as file:
            file.write(text.encode())
    return files


def _check_folder(out: Path, hashes: dict[str, str]) -> None:
    """Refuse a folder with files that no `write_world` wrote: they would be lost, or mixed in."""
    there = [path for path in sorted(out.iterdir()) if path.name[0] != "."] if out.exists() else []
    before = _hashes_before(out / ABOUT)
    for path in there:
        known = [found[path.name] for found in (hashes, before or {}) if path.name in found]
        ours = path.is_file() and (
            before is not None if path.name == ABOUT else known and sha256_file(path) in known
        )
        if not ours:
            raise InputError(
                f"{out} holds {path.name}, which no world put there; name a folder that is new "
                "or empty"
            )


def _hashes_before(path: Path) -> dict[str, str] | None:
    """The hashes that an earlier world's own file names; None where there is none of those."""
    try:
        about = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    hashes = about.get("sha256") if isinstance(about, dict) else None
    return hashes if isinstance(hashes, dict) else None


def _line(row: dict[str, object] | dict[str, str]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"
