"""Make the two small models that ship with the package.

One command makes everything, from the names to the model card (the teacher alone takes an hour on
two cores with --threads 2):

    python scripts/pretrain_tiny.py all --out runs/tiny

Single stages: `tokenizer`, `student`, `teacher`, `score` (print the scores of a run's models) and
`ship` (score and copy them, with their card, into the package). A stopped stage goes on where it
was when it is started again.

    python scripts/pretrain_tiny.py base --size 0.3M --out runs/bases

makes a student base of another size, with the shipped tokenizer, in OUT/SIZE; it is not shipped.
The study `scaling` makes its sizes so.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tiny.train import Recipe

STUDENT, TEACHER = "student-base", "teacher"
STAGES = ("tokenizer", "student", "teacher", "ship")
ASSETS = Path(__file__).resolve().parents[1] / "src" / "steper" / "assets" / "models"
SCORE_SEED = 900_001
"""The world that scores are measured on: neither pretraining nor experiments use it."""


def recipes() -> dict[str, Recipe]:
    """The recipe of each model."""
    from tiny.batches import Mixture
    from tiny.train import Recipe

    return {
        STUDENT: Recipe(
            hidden=128,
            layers=4,
            heads=2,
            head_dim=64,
            ffn=160,
            tied=True,
            mixture=Mixture(seed=1, dense_chunks=60, few_names=(0, 36)),
            steps=4000,
            decay=3500,
            pinned=4000,
        ),
        TEACHER: Recipe(
            hidden=256,
            layers=6,
            heads=4,
            head_dim=64,
            ffn=800,
            tied=False,
            mixture=Mixture(
                seed=2,
                reading=0.15,
                ood=0.2,
                passages=0.05,
                self_ask=0.25,
                append_only=0.3,
                dense_chunks=0,
                comparisons=2,
                comparisons_from=24,
                drills=0.25,
                drills_from=54,
            ),
            steps=3000,
            decay=1700,
            answers=4.0,
            answers_from=1188,
            muon_lr=0.006,
            adam_lr=2e-3,
            sources=(0, 1, 2, None, 3, None),
        ),
    }


SIZES = {
    "0.3M": (64, 2, 80),
    "0.5M": (96, 2, 120),
    "1.6M": (192, 3, 240),
    "2.6M": (256, 4, 320),
}
"""Hidden size, heads and feed-forward size of student bases beside the shipped one, by name."""


def make_base(size: str, out: Path, changes: dict[str, int], threads: int) -> None:
    """Train a student base of one of the sizes, by the shipped one's recipe."""
    from transformers import AutoTokenizer

    from steper.artifact import model_digest
    from tiny.card import write_asked_as
    from tiny.train import train

    if (out / size / "config.json").exists():
        print(f"{out / size}: there already")
        return
    hidden, heads, ffn = SIZES[size]
    shape = {"hidden": hidden, "heads": heads, "ffn": ffn}
    recipe = dataclasses.replace(recipes()[STUDENT], **shape, **changes)
    work = out / f"{size}.training"
    train(recipe, AutoTokenizer.from_pretrained(ASSETS / STUDENT), work, None, threads)
    write_asked_as(work / "final")
    (work / "final").rename(out / size)
    print(f"{out / size}: sha256 {model_digest(out / size)}")


def make_tokenizer(out: Path) -> None:
    """Build the tokenizer that both models share."""
    from steper.data.world import DOMAINS, inventory
    from tiny.batches import Mixture, chunk_talks
    from tiny.tokenizer import build_tokenizer

    mix = Mixture(seed=3, pool=240, reading=0.3, dense_chunks=0)
    texts = (m["content"] for c in range(12) for talk in chunk_talks(mix, c) for m in talk)
    always = [text for year in range(1900, 2000) for text in (f" {year}", str(year))]
    tokenizer = build_tokenizer(inventory(*DOMAINS.values()), texts, always)
    tokenizer.save_pretrained(out / "tokenizer")
    print(f"{len(tokenizer)} tokens: {out / 'tokenizer'}")


def pretrain(name: str, out: Path, changes: dict[str, int], threads: int) -> None:
    """Train one model; the teacher starts as the student base, grown to its size."""
    from transformers import AutoTokenizer, LlamaForCausalLM

    from tiny.train import train

    recipe = dataclasses.replace(recipes()[name], **changes)
    tokenizer = AutoTokenizer.from_pretrained(out / "tokenizer")
    origin = None
    if name == TEACHER:
        origin = LlamaForCausalLM.from_pretrained(out / STUDENT / "final")
    train(recipe, tokenizer, out / name, origin, threads)


def score(out: Path, folder: str, count: int) -> dict[str, dict[str, float]]:
    """Scores of both models of a run, on a world of their own."""
    from transformers import AutoTokenizer, LlamaForCausalLM

    from steper.data.world import make_world
    from tiny.score import exact_by_hops, one_hop, run_loop
    from tiny.text import APPEND_ONLY, PASSAGES_FIRST

    worlds = {domain: make_world(SCORE_SEED, domain) for domain in ("culture", "ood")}
    scores: dict[str, dict[str, float]] = {}
    for name in (STUDENT, TEACHER):
        if not (out / name / folder).exists():
            continue
        model = LlamaForCausalLM.from_pretrained(out / name / folder).float().eval()
        tokenizer = AutoTokenizer.from_pretrained(out / name / folder)
        for domain, world in worlds.items():
            for size in (2, 4, 8, 15):
                label = f"{name}, one hop, {domain}, {size} passages"
                scores[label] = {"all": one_hop(model, tokenizer, world, size, count)}
                print(label, scores[label], flush=True)
        for domain, strategy, settings in (
            ("culture", "ircot", PASSAGES_FIRST),
            ("culture", "ircot", APPEND_ONLY),
            ("culture", "self_ask", PASSAGES_FIRST),
            ("culture", "self_ask", APPEND_ONLY),
            ("ood", "ircot", PASSAGES_FIRST),
        ):
            world = worlds[domain]
            runs = run_loop(
                model, tokenizer, world, world.questions["test"][:count], strategy, settings
            )
            label = f"{name}, {strategy} loop, {domain}, {settings.layout}"
            scores[label] = exact_by_hops(runs)
            print(label, scores[label], flush=True)
    return scores


def ship(out: Path, folder: str, count: int) -> None:
    """Copy the models that are there into the package and write their card."""
    from tiny.card import write_asked_as, write_card

    names = tuple(name for name in (STUDENT, TEACHER) if (out / name / folder).exists())
    for name in names:
        target = ASSETS / name
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(out / name / folder, target)
        write_asked_as(target)
    write_card(ASSETS, out, score(out, folder, count), names, count)
    print(f"Wrote {ASSETS}")


def main() -> None:
    """Run one stage, or all of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=["all", *STAGES, "score", "base"])
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--size", choices=SIZES, help="of stage base")
    parser.add_argument("--steps", type=int, help="steps of this stage instead of the recipe's")
    parser.add_argument("--decay", type=int, help="steps over which the learning rate falls")
    parser.add_argument("--threads", type=int, default=1, help="of torch, for training")
    parser.add_argument("--count", type=int, default=400, help="questions for each score")
    parser.add_argument("--folder", default="final", help="which export of the run to score")
    args = parser.parse_args()
    changes = {k: getattr(args, k) for k in ("steps", "decay") if getattr(args, k) is not None}
    if args.stage == "all":
        for stage in STAGES:
            command = [sys.executable, __file__, stage, "--out", str(args.out)]
            command += ["--threads", str(args.threads)]
            subprocess.run(command, check=True)
    elif args.stage == "tokenizer":
        make_tokenizer(args.out)
    elif args.stage == "base":
        if args.size is None:
            parser.error(f"stage base takes a --size: {', '.join(SIZES)}")
        make_base(args.size, args.out, changes, args.threads)
    elif args.stage == "score":
        print(json.dumps(score(args.out, args.folder, args.count), indent=1))
    elif args.stage == "ship":
        ship(args.out, args.folder, args.count)
    else:
        pretrain(STUDENT if args.stage == "student" else TEACHER, args.out, changes, args.threads)


if __name__ == "__main__":
    # Large buffers come back from the kernel page by page unless malloc keeps them: 1.4 x slower.
    if "MALLOC_TRIM_THRESHOLD_" not in os.environ:
        os.environ |= {
            "MALLOC_MMAP_THRESHOLD_": str(4 << 30),
            "MALLOC_TRIM_THRESHOLD_": str(16 << 30),
            "MALLOC_TOP_PAD_": str(512 << 20),
        }
        os.execv(sys.executable, [sys.executable, *sys.argv])
    main()
