"""The whole IRCoT loop against raw batched generation on the very same prompts: tokens a second.

    python benchmarks/loop.py [--questions 100] [--rounds 3] [--batch 32]

The shipped teacher in float32 answers test questions of a generated world (`steper teach`: search,
prompts, records on disk and all). The prompts of all its steps are then given to transformers'
`generate` in batches, in the order of the questions, padded on the left, which is what a model can
do at best without a loop around it and without using again what it read before. Each measurement is
a process of its own with one thread, without the loading of the model; a round runs both, in
turning order, and the ratio is taken within a round.
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
from typing import Any

from flashrag_ircot import TOKENS, make_files, our_strategy

SYSTEMS = ("loop", "raw")


def open_teacher(batch: int) -> Any:
    """The shipped teacher."""
    import steper
    from steper.lm.model_settings import HFSettings

    return steper.open_model("shipped:teacher", hf=HFSettings(dtype="float32", batch_size=batch))


def run_loop(folder: Path, batch: int, out: Path) -> dict[str, float]:
    """A run of `teach`."""
    from steper.data import load_questions
    from steper.retrieve import BM25Index
    from steper.runs import teach

    model = open_teacher(batch)
    questions = load_questions(folder / "test.json")
    index = BM25Index.load(folder / "index", n_threads=1)
    began, cpu = time.perf_counter(), time.process_time()
    run = teach(questions, our_strategy(), model, index, out, in_flight=batch, overwrite=True)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    tokens = run.manifest["counts"]["completion_tokens"]
    return {"seconds": seconds, "cpu": cpu, "tokens": tokens}


def run_raw(batch: int, out: Path) -> dict[str, float]:
    """transformers' `generate` on the prompts of the run at `out`."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from steper.lm.shipped import model_folder
    from steper.prompt.encode import Encoder
    from steper.runs import Run
    from steper.strategy.replay import Replay

    folder = model_folder("shipped:teacher")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    encoder, strategy = Encoder(tokenizer), our_strategy()
    replays = [Replay(trajectory, strategy) for trajectory in Run(out).trajectories()]
    prompts = [encoder.prompt(r.prompt(step)) for r in replays for step in r.steps]
    pad, end = tokenizer.pad_token_id or 0, encoder.turn_end("chat")
    tokens = 0
    began, cpu = time.perf_counter(), time.process_time()
    for start in range(0, len(prompts), batch):
        rows = prompts[start : start + batch]
        longest = max(map(len, rows))
        ids = torch.tensor([[pad] * (longest - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
        with torch.inference_mode():
            written = model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=TOKENS,
                do_sample=False,
                eos_token_id=end,
                pad_token_id=pad,
            )
        for row in written[:, longest:].tolist():
            tokens += row.index(end) + 1 if end in row else len(row)
    return {
        "seconds": time.perf_counter() - began,
        "cpu": time.process_time() - cpu,
        "tokens": tokens,
        "prompts": len(prompts),
    }


def main() -> None:
    """Run the rounds and print what each took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--part", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        import torch

        torch.set_num_threads(1)
        folder, system = Path(given.part[0]), given.part[1]
        out = folder / "run"
        raw = system == "raw"
        print(json.dumps(run_raw(given.batch, out) if raw else run_loop(folder, given.batch, out)))
        return
    ratios = []
    with tempfile.TemporaryDirectory() as name:
        make_files(Path(name), given.questions)
        for number in range(given.rounds):
            found = {}
            # The first round has to begin with the loop: its run holds the prompts.
            for system in SYSTEMS if number % 2 == 0 else SYSTEMS[::-1]:
                command = [sys.executable, __file__, "--batch", str(given.batch)]
                done = subprocess.run(
                    [*command, "--part", name, system],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                    check=True,
                    env={**os.environ, "OMP_NUM_THREADS": "1"},
                )
                found[system] = json.loads(done.stdout.splitlines()[-1])
                print(number, system, found[system], flush=True)
            ratios.append(
                [
                    found["loop"]["tokens"] / found["loop"][clock]
                    / (found["raw"]["tokens"] / found["raw"][clock])
                    for clock in ("seconds", "cpu")
                ]
            )  # fmt: skip
    for number, clock in enumerate(("wall", "CPU")):
        found = sorted(ratio[number] for ratio in ratios)
        print(
            f"the loop's tokens a {clock} second: {statistics.median(found):.2f} of raw "
            f"generation's ({found[0]:.2f} to {found[-1]:.2f})"
        )


if __name__ == "__main__":
    main()
