"""MODEL_CARD.md: how the shipped models were made and what they score, from the runs' own files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path


def _log(run: Path) -> list[dict[str, float]]:
    lines = (run / "log.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _course(log: list[dict[str, float]]) -> list[str]:
    rows = [
        "| step | tokens | loss | look-up, held out | answer, held out |",
        "|---|---|---|---|---|",
    ]
    scored = [line for line in log if "lookup_loss" in line]
    for line in scored[:: max(1, len(scored) // 8)] + scored[-1:]:
        rows.append(
            f"| {line['step']} | {line['tokens']:,} | {line['loss']:.3f} | "
            f"{line['lookup_loss']:.3f} ({line['lookup_right']:.1%} right) | "
            f"{line['answer_loss']:.3f} ({line['answer_right']:.1%} right) |"
        )
    return rows


def _data_hash(log: list[dict[str, float]]) -> str:
    """One hash over the hashes of the chunks in the log."""
    chunks = {line["chunk"]: line["chunk_sha256"] for line in log if "chunk_sha256" in line}
    text = "".join(f"{chunk}:{chunks[chunk]}\n" for chunk in sorted(chunks))
    return hashlib.sha256(text.encode()).hexdigest()


def section(name: str, run: Path, parameters: int, weights: Path) -> list[str]:
    """The card's part about one model's making."""
    recipe = json.loads((run / "recipe.json").read_text("utf-8"))
    log = _log(run)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    return [
        f"## {name}",
        "",
        f"{parameters:,} parameters: hidden {recipe['hidden']}, {recipe['layers']} layers, "
        f"{recipe['heads']} heads, feed-forward {recipe['ffn']}, "
        f"{'tied' if recipe['tied'] else 'untied'} embeddings, bf16.",
        "",
        f"- seeds: weights {recipe['seed']}, data {recipe['mixture']['seed']} (worlds from seed "
        f"{1_000_000 + recipe['mixture']['seed'] * 100_000:,} on)",
        f"- {log[-1]['step']} logged steps, {log[-1]['tokens']:,} tokens",
        f"- data: SHA-256 {_data_hash(log)} over the logged chunks' hashes",
        f"- model.safetensors: SHA-256 {digest}",
        f"- recipe: `{json.dumps(recipe)}`",
        "",
        *_course(log),
        "",
    ]


def scores_table(scores: dict[str, dict[str, float]]) -> list[str]:
    """The measured scores as a table."""
    rows = ["| what | 2 hops | 3 hops | 4 hops | all |", "|---|---|---|---|---|"]
    for name, by_hops in scores.items():
        cells = [f"{by_hops[k]:.1%}" if k in by_hops else "" for k in ("2", "3", "4", "all")]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return rows


HEAD = """\
# The small models

Two Llama-architecture models in plain transformers format that read the small world
(`steper world`): a **teacher** that answers its 2–4-hop questions by IRCoT and Self-Ask, and a
**student base** that answers single questions about passages and was never shown a multi-step
trajectory. They share a tokenizer with one token for each entity name of the worlds and their own
chat template. They know nothing else; use them for tests, tutorials and method comparisons.
A third, **student**, is what StepER makes of the student base: student/README.md.

Made by one command:

    python scripts/pretrain_tiny.py all --out runs/tiny

The teacher starts as the student base, made wider and deeper without changing what it computes,
and goes on with gold IRCoT and Self-Ask trajectories over passages that BM25 found, besides single
questions. Training worlds have seeds that no experiment uses; names are
those of every world, facts are new in each. Prompts come from the package's renderer, in both
layouts. Matrices are trained with Muon, the rest with AdamW; the learning rate is constant and
falls to zero at the end. Floating-point sums differ between machines, so a repetition gives
the same data and nearly, not exactly, the same weights.
"""


def write_asked_as(model: Path) -> None:
    """Write steper.json into a model's folder: commands prompt it as it was trained to be."""
    from steper.student import STEPER, StudentCard
    from tiny.text import PASSAGES_FIRST

    strategy = {"name": "ircot", "max_steps": 5, "k": 4, "max_tokens": 64}
    card = StudentCard(form="chat", strategy=strategy, prompt=PASSAGES_FIRST)
    (model / STEPER).write_text(card.model_dump_json(indent=1) + "\n", encoding="utf-8")


def write_card(
    assets: Path,
    out: Path,
    scores: dict[str, dict[str, float]],
    names: tuple[str, ...],
    count: int,
) -> None:
    """Write MODEL_CARD.md and scores.json beside the models."""
    from safetensors import safe_open

    lines = [HEAD]
    if "teacher" not in names:
        lines += ["**The teacher is not part of the package yet; only the student base is.**", ""]
    for name in names:
        weights = assets / name / "model.safetensors"
        with safe_open(str(weights), "pt") as tensors:
            parameters = sum(tensors.get_tensor(key).numel() for key in tensors.keys())  # noqa: SIM118
        lines += section(name, out / name, parameters, weights)
    lines += [
        "## Scores",
        "",
        f"Exact match, greedy, {count} questions each about the test part of a world that no "
        "training used. The loops retrieve with the package's BM25, K = 4, at most 15 passages and "
        "5 steps; one-hop scores are for the single-question prompt.",
        "",
        *scores_table(scores),
    ]
    (assets / "MODEL_CARD.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (assets / "scores.json").write_text(
        json.dumps({"questions": count, **scores}, indent=1) + "\n", encoding="utf-8"
    )
