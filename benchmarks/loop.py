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

import statistics
import time
from pathlib import Path
from typing import Any

from flashrag_ircot import TOKENS, make_files, our_strategy
from rounds import rounds

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


def measure(folder: Path, system: str, batch: int) -> dict[str, Any]:
    """One system; the loop's run holds the prompts that raw generation is given."""
    if system == "raw":
        return run_raw(batch, folder / "run")
    return run_loop(folder, batch, folder / "run")


def main() -> None:
    """Run the rounds and print what each took."""
    _, found = rounds(__file__, SYSTEMS, make_files, measure)
    for clock, said in (("seconds", "wall"), ("cpu", "CPU")):
        ratios = sorted(
            one["loop"]["tokens"] / one["loop"][clock]
            / (one["raw"]["tokens"] / one["raw"][clock])
            for one in found
        )  # fmt: skip
        print(
            f"the loop's tokens a {said} second: {statistics.median(ratios):.2f} of raw "
            f"generation's ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )


if __name__ == "__main__":
    main()
