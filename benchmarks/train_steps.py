"""Tokens and seconds of a training step: one pass, separate examples, TRL's SFTTrainer.

    python benchmarks/train_steps.py [--trajectories 8] [--steps 5] [--words 60] [--repeats 3]

The same student (a random Llama of about 1M parameters), the same trajectories of S steps with four
new passages each, the same batches of two trajectories, full-precision full fine-tuning on the CPU.
`tokens` are those of the sequences, `padded` those that the model computes, both a trajectory;
`seconds` a trajectory are from the start of training to the end of its last step, the best of the
repeats, which take turns.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import transformers

from steper.examples.example_folder import ExampleFolder
from steper.examples.step_example import StepExample
from steper.prompt.render import PromptSettings, Turn, build_prompt
from steper.prompt.segments import Prompt, Segment
from steper.records import Passage
from steper.store import write_json, write_jsonl
from steper.strategy.ircot import IRCoT
from steper.training.job import TrainingJob
from steper.training.train_folder import TrainFolder
from steper.training.train_settings import TrainSettings

BATCH, MICRO = 2, 2
TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
SPECIAL = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]


class Clock(transformers.TrainerCallback):
    """Seconds from the beginning of training to the end of its last step."""

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self.began = time.perf_counter()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.seconds = time.perf_counter() - self.began


def vocabulary(rng: random.Random) -> list[str]:
    letters = ["".join(rng.choice("aeioubdklmnrst") for _ in range(n)) for n in range(2, 9)]
    return [rng.choice(letters)[: rng.randint(1, 8)] + rng.choice(letters) for _ in range(800)]


def make_examples(count: int, steps: int, words: int, layout: Any) -> Iterator[StepExample]:
    """Trajectories of random words: four passages of `words` words and a sentence of 15 a step."""
    rng = random.Random(0)
    known = vocabulary(rng)

    def text(length: int) -> str:
        return " ".join(rng.choices(known, k=length)) + "."

    settings = PromptSettings(layout=layout, instruction=False, demos=0)
    for number in range(count):
        turns = [
            Turn(tuple(Passage.make(text(2), text(words)) for _ in range(4)), text(15))
            for _ in range(steps)
        ]
        question = text(12)
        for at in range(steps):
            kind = "agg" if at == steps - 1 else "exp" if at else "init"
            prompt = build_prompt(IRCoT.words, question, turns[: at + 1], settings, "chat")
            target = Segment("assistant", turns[at].rationale, kind)  # type: ignore[arg-type]
            yield StepExample(
                id=f"{number}/{at}",
                trajectory=str(number),
                question_id=str(number),
                recipe="steper",
                strategy="ircot",
                step=at + 1,
                steps=steps,
                kind=kind,  # type: ignore[arg-type]
                form="chat",
                layout=layout,
                segments=(*prompt.segments, target),
            )


def make_student(path: Path) -> None:
    """A random Llama: hidden 128, 4 layers, a byte-level BPE of 2,048 tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2048,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator([" ".join(vocabulary(random.Random(0)))] * 5, trainer)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=bpe, pad_token=SPECIAL[0], eos_token=SPECIAL[1]
    )
    tokenizer.chat_template = TEMPLATE
    config = transformers.LlamaConfig(
        vocab_size=2048,
        hidden_size=128,
        intermediate_size=344,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=1 << 14,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        tie_word_embeddings=True,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(path)
    tokenizer.save_pretrained(path)


def write_folder(path: Path, rows: list[StepExample]) -> None:
    write_jsonl(path / "examples.jsonl", rows)
    settings = {"form": "chat", "target": "current", "prompt": {}, "strategy": {"name": "ircot"}}
    manifest = {
        "schema_version": 1,
        "content": "step examples",
        "recipe": "steper",
        "weights": "uniform",
        "settings_hash": "",
        "settings": settings,
    }
    write_json(path / "manifest.json", manifest)


def ours(pack: str, examples: Path, student: Path, out: Path) -> dict[str, float]:
    """`steper train` itself, as far as its last step."""
    settings = TrainSettings.model_validate(
        {
            "pack": pack,
            "batch_size": BATCH,
            "micro_batch_size": MICRO,
            "epochs": 1,
            "dtype": "float32",
            "device": "cpu",
            "save_every": 1000,
        }
    )
    folder = TrainFolder(out, {})
    out.mkdir(parents=True)
    job = TrainingJob(ExampleFolder(examples), str(student), folder, settings)
    trainer, clock = job.trainer(), Clock()
    padded = sum(batch["input_ids"].numel() for batch in trainer.get_train_dataloader())
    trainer.add_callback(clock)
    trainer.train()
    return {"tokens": job.data.counts.tokens, "padded": padded, "seconds": clock.seconds}


def trl(rows: list[StepExample], student: Path, out: Path) -> dict[str, float]:
    """SFTTrainer on the separate examples: loss on completions, as many examples in a batch."""
    import datasets
    from trl import SFTConfig, SFTTrainer

    datasets.disable_progress_bars()
    steps = max(row.steps for row in rows)
    data = [
        {
            "prompt": Prompt("chat", row.segments[:-1]).messages(),
            "completion": [{"role": "assistant", "content": row.segments[-1].text}],
        }
        for row in rows
    ]
    config = SFTConfig(
        output_dir=str(out),
        per_device_train_batch_size=MICRO * steps,
        gradient_accumulation_steps=BATCH // MICRO,
        num_train_epochs=1,
        max_length=None,
        completion_only_loss=True,
        bf16=False,
        gradient_checkpointing=False,
        use_cpu=True,
        dataloader_pin_memory=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        logging_strategy="no",
        model_init_kwargs={"dtype": torch.float32},
    )
    clock = Clock()
    trainer = SFTTrainer(
        str(student), config, train_dataset=datasets.Dataset.from_list(data), callbacks=[clock]
    )
    trainer.remove_callback(transformers.PrinterCallback)
    tokens = sum(len(row["input_ids"]) for row in trainer.train_dataset)
    padded = sum(batch["input_ids"].numel() for batch in trainer.get_train_dataloader())
    trainer.train()
    return {"tokens": tokens, "padded": padded, "seconds": clock.seconds}


def measure(arguments: argparse.Namespace, layout: str, work: Path) -> dict[str, dict[str, float]]:
    """Per trajectory, of each way."""
    rows = list(make_examples(arguments.trajectories, arguments.steps, arguments.words, layout))
    write_folder(work / "examples", rows)
    make_student(work / "student")
    examples, student = work / "examples", work / "student"
    ways: dict[str, Callable[[Path], dict[str, float]]] = {
        "one pass": lambda out: ours("steps", examples, student, out),
        "separate": lambda out: ours("none", examples, student, out),
        "TRL": lambda out: trl(rows, student, out),
    }
    best: dict[str, dict[str, float]] = {}
    for repeat in range(arguments.repeats):
        for name, way in ways.items():
            found = way(work / f"{name}{repeat}")
            seconds = min(found["seconds"], best.get(name, found)["seconds"])
            best[name] = {**found, "seconds": seconds}
    count = arguments.trajectories
    return {name: {k: v / count for k, v in found.items()} for name, found in best.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trajectories", type=int, default=8)
    parser.add_argument("--steps", type=int, default=5, help="steps of a trajectory")
    parser.add_argument("--words", type=int, default=60, help="words of a passage")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    for layout in ("passages_first", "append_only"):
        with tempfile.TemporaryDirectory() as work:
            found = measure(arguments, layout, Path(work))
        if arguments.json:
            print(json.dumps({"layout": layout, **found}))
            continue
        print(f"{layout}, S = {arguments.steps}")
        for name, row in found.items():
            ratio = row["tokens"] / found["one pass"]["tokens"]
            slower = row["seconds"] / found["one pass"]["seconds"]
            print(
                f"  {name:10} {row['tokens']:8,.0f} tokens ({ratio:.2f}x)  {row['padded']:8,.0f} "
                f"padded  {row['seconds']:.3f} s ({slower:.2f}x)"
            )


if __name__ == "__main__":
    main()
