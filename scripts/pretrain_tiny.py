"""Make the two small models that ship with the package.

python scripts/pretrain_tiny.py tokenizer --out RUNS
python scripts/pretrain_tiny.py student --out RUNS
python scripts/pretrain_tiny.py teacher --out RUNS
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from pathlib import Path

STUDENT, TEACHER = "student-base", "teacher"


def recipes() -> dict[str, object]:
    """The recipe of each model."""
    from tiny.batches import Mixture
    from tiny.train import Recipe

    return {
        STUDENT: Recipe(
            hidden=128,
            layers=4,
            heads=4,
            ffn=160,
            tied=True,
            mixture=Mixture(seed=1),
            steps=4000,
            decay=1200,
            snapshot=550,
        ),
        TEACHER: Recipe(
            hidden=256,
            layers=6,
            heads=4,
            ffn=800,
            tied=False,
            mixture=Mixture(seed=2, reading=0.3, warm_chunks=0, few_names=0),
            sources=(0, 1, None, 2, None, 3),
            steps=4000,
            decay=1200,
        ),
    }


def make_tokenizer(out: Path) -> None:
    """Build the tokenizer that both models share."""
    from steper.data.world import DOMAINS, inventory
    from tiny.batches import Mixture, chunk_talks
    from tiny.tokenizer import build_tokenizer

    mix = Mixture(seed=3, reading=0.3, warm_chunks=0)
    texts = (m["content"] for c in range(12) for talk in chunk_talks(mix, c) for m in talk)
    always = [text for year in range(1900, 2000) for text in (f" {year}", str(year))]
    tokenizer = build_tokenizer(inventory(*DOMAINS.values()), texts, always)
    tokenizer.save_pretrained(out / "tokenizer")
    print(f"{len(tokenizer)} tokens: {out / 'tokenizer'}")


def main() -> None:
    """Run one stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=["tokenizer", "student", "teacher"])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--decay", type=int)
    args = parser.parse_args()
    if args.stage == "tokenizer":
        make_tokenizer(args.out)
        return
    from transformers import AutoTokenizer, LlamaForCausalLM

    from tiny.train import train

    name = STUDENT if args.stage == "student" else TEACHER
    recipe = recipes()[name]
    changes = {k: getattr(args, k) for k in ("steps", "decay") if getattr(args, k) is not None}
    recipe = dataclasses.replace(recipe, **changes)
    tokenizer = AutoTokenizer.from_pretrained(args.out / "tokenizer")
    origin = None
    if recipe.sources:
        origin = LlamaForCausalLM.from_pretrained(args.out / STUDENT / "snapshot").float()
    train(recipe, tokenizer, args.out / name, origin)


if __name__ == "__main__":
    # Large buffers come back from the kernel page by page unless malloc keeps them: 1.4 x slower.
    if "MALLOC_TRIM_THRESHOLD_" not in os.environ:
        os.environ |= {
            "MALLOC_MMAP_THRESHOLD_": str(4 << 30),
            "MALLOC_TRIM_THRESHOLD_": str(16 << 30),
            "MALLOC_TOP_PAD_": str(512 << 20),
            "PYTHONHASHSEED": "0",
        }
        os.execv(sys.executable, [sys.executable, *sys.argv])
    main()
