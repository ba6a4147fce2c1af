"""`steper world`: write a small world to a folder."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

from steper.cli.options import SWITCH
from steper.cli.terminal import plain_console


def world(
    *,
    out: Path,
    seed: int = 1,
    domain: str = "culture",
    benchmark: str = "2wikimultihopqa",
    train: int = 1200,
    dev: int = 200,
    test: int = 500,
    recall: Annotated[bool, SWITCH] = False,
) -> None:
    """Generate a small encyclopedia with multi-hop questions.

    Writes corpus.jsonl, train-corpus.jsonl (articles that training questions are about: let the
    teacher search these, and test articles never come up in training, not even as distractors),
    train.json, dev.json and test.json (in an official format), gold.jsonl (the gold chain of every
    question) and world.json (how it was made). The same seed gives the same files everywhere.

    Parameters
    ----------
    out
        The folder to write to: a new or empty one, or that of an earlier world, which is replaced.
    seed
        Seed of the facts and questions; the names are the same in every world. The shipped models
        were made on worlds with seeds from 1,000,000 on: take a smaller one to test on.
    domain
        culture, or ood for a world with other types and relations.
    benchmark
        Format of the questions: 2wikimultihopqa, or hotpotqa (without evidence triples).
    train
        Number of training questions.
    dev
        Number of development questions.
    test
        Number of test questions.
    recall
        Also print how many gold passages BM25 finds with the question alone and with the gold
        rationales as further queries.
    """
    from steper.data.world import make_world, measure_recall, write_world
    from steper.errors import writing_to
    from steper.strategy.ircot.queries import without_wh_words

    console = plain_console()
    made = make_world(seed, domain, {"train": train, "dev": dev, "test": test})
    with writing_to(out):
        files = write_world(made, out, benchmark)
    if recall:
        import bm25s  # noqa: F401 - it sets its own logger to DEBUG when it is imported

        logging.getLogger("bm25s").setLevel(logging.WARNING)
        for row in measure_recall(made, without_wh_words):
            console.print(
                f"{row.hops} hops, {row.questions} test questions: all gold passages among the "
                f"first 4 by the question alone {row.question_alone:.1%}, in the loop with gold "
                f"rationales {row.with_gold_rationales:.1%} (in time for each hop "
                f"{row.followable:.1%})"
            )
    counts = ", ".join(f"{len(questions)} {part}" for part, questions in made.questions.items())
    console.print(f"{len(made.passages)} articles; questions: {counts}")
    console.print(f"Wrote {', '.join(path.name for path in files.values())} to {out}")
