"""KARD's reranker: a cross-encoder that learns to rank as a rationale's search does (§3.2).

In: rankings (a question, candidates, their scores for the rationale) and a model's folder. Out: a
folder with the reranker. Of each question a step draws n candidates, half of those that the
rationale found and half of the others. With t = softmax(score for the rationale / τ1) and
p = softmax(model's score / τ2) the loss is KL(t ‖ p).

Differs from the authors' code: τ1 falls from 5 to 1 with α = 2 / (1 + exp(−10 s/S)) − 1, at step s
of S. Theirs starts at 1, falls by 4 and so becomes negative, as does τ2; τ2 stays 1 here, because
one score of a cross-encoder is not a sum over a question's tokens. Both sides of a pair are
trained; there only the passage's last layer is.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch

from steper.errors import InputError, SettingsError
from steper.lm.model_source import find_source
from steper.lm.shipped import locate_model
from steper.recipes.base import Ranking
from steper.retrieve.cross_encoder import CrossEncoder, load_cross_encoder
from steper.training.model import freeze_embeddings
from steper.training.train_settings import TINY, TrainSettings

log = logging.getLogger(__name__)

DRAWN, BATCH, HELD_OUT, WARMUP = 8, 16, 0.05, 0.05
"""Candidates of a question, questions in a step, share kept out, share of steps to warm up."""


@dataclass(frozen=True)
class RerankerScore:
    """How often the best of a question's drawn candidates is among the first so many.

    Of questions that were kept out of the training; `before` is the model that it began with.
    `found` is the like of what the question itself finds, at inference's size: how often the best
    of it is put first, by the reranker and by the `retriever`'s own order. None of rankings that do
    not say what the question found.
    """

    questions: int
    top1: float
    top3: float
    top5: float
    top1_before: float
    found_top1: float | None
    found_top1_retriever: float | None


def find_start(settings: TrainSettings, student: str) -> str:
    """The model that a reranker begins with: a folder or hub name.

    Raises SettingsError where it is packed (GGUF) or an adapter (LoRA), of which transformers makes
    no sequence classifier, and what `find_source` raises.
    """
    source = find_source(locate_model(settings.reranker or student).removeprefix("hf:"))
    if not source.gguf and source.adapter is None:
        return source.weights
    what = "a GGUF file" if source.gguf else "a LoRA adapter"
    named = "--reranker" if settings.reranker else "the student, for --reranker names no other,"
    raise SettingsError(
        f"the reranker would begin with {source.name} ({named} is {what}), of which transformers "
        "makes no sequence classifier; name a whole model's folder or hub name with --reranker"
    )


def train_reranker(
    rankings: Sequence[Ranking],
    start: str,
    out: Path,
    epochs: int,
    seed: int,
    device: str | None = None,
    frozen: bool = False,
) -> dict[str, Any]:
    """Train a reranker, write it to the folder `out`, and return what a manifest says of it.

    `start` is a model's folder or hub name (see `find_start`); it is trained in float32, whatever
    its files are in, on `device` (None: a GPU where there is one); `frozen`: without its
    embeddings. Raises ModelError where it cannot be loaded, InputError where no ranking has two
    candidates.
    """
    rng = Random(f"{seed}/reranker")
    usable = [ranking for ranking in rankings if len(ranking.candidates) > 1]
    if not usable:
        raise InputError("no question has two candidates to rank, so there is no reranker to train")
    # Of a question that was sampled several times all rankings are on one side.
    questions = list(dict.fromkeys(ranking.question_id for ranking in usable))
    rng.shuffle(questions)
    apart = set(questions[: int(len(questions) * HELD_OUT)])
    kept_out = [ranking for ranking in usable if ranking.question_id in apart]
    learnt = [ranking for ranking in usable if ranking.question_id not in apart]
    torch.manual_seed(seed)
    encoder = load_cross_encoder(start, device, "float32")
    if frozen:
        freeze_embeddings(encoder.model)
    before = evaluate(encoder, kept_out, seed)
    steps = epochs * math.ceil(len(learnt) / BATCH)
    loss = _fit(encoder, learnt, epochs, steps, rng)
    score, found = evaluate(encoder, kept_out, seed), against_retriever(encoder, kept_out)
    encoder.model.save_pretrained(out)
    encoder.tokenizer.save_pretrained(out)
    held_out = RerankerScore(len(apart), *score, before[0], *found) if kept_out else None
    if found[0] is not None and found[0] < found[1]:
        log.warning(
            "%s: on %d questions kept out it puts the best passage first in %.0f %%, the "
            "retriever's own order in %.0f %%; take reranker out of the student's steper.json, or "
            "begin with a stronger model (--reranker)",
            out,
            len(apart),
            100 * found[0],
            100 * found[1],
        )
    return {
        "start": start,
        "questions": len(questions) - len(apart),
        "steps": steps,
        "loss": loss,
        "held_out": asdict(held_out) if held_out else None,
    }


def temperature(step: int, steps: int) -> float:
    """τ1 at a step: from 5 to 1."""
    return 5 - 4 * (2 / (1 + math.exp(-10 * step / steps)) - 1)


def listwise_loss(teacher: Any, model: Any, tau: float) -> Any:
    """KL(softmax(teacher / τ) ‖ softmax(model)) of one question's (n,) scores."""
    target = torch.softmax(teacher / tau, 0)
    return torch.nn.functional.kl_div(torch.log_softmax(model, 0), target, reduction="sum")


def draw(ranking: Ranking, rng: Random) -> list[int]:
    """Places of the drawn candidates: half found by the rationale, half of the others."""
    parts = range(ranking.first), range(ranking.first, len(ranking.candidates))
    half = DRAWN // 2
    taken = [rng.sample(part, min(half, len(part))) for part in parts]
    # Where one part is small the other fills up.
    left = [at for part in parts for at in part if at not in (*taken[0], *taken[1])]
    missing = min(DRAWN - len(taken[0]) - len(taken[1]), len(left))
    return [*taken[0], *taken[1], *rng.sample(left, missing)]


def evaluate(
    encoder: CrossEncoder, rankings: Sequence[Ranking], seed: int
) -> tuple[float, float, float]:
    """How often the best of the drawn candidates is among the first 1, 3 and 5."""
    rng, hits = Random(f"{seed}/held out"), [0, 0, 0]
    encoder.model.eval()
    with torch.inference_mode():
        for ranking in rankings:
            drawn = draw(ranking, rng)
            scores = _model_scores(encoder, ranking, drawn).tolist()
            best = max(range(len(drawn)), key=lambda n: ranking.scores[drawn[n]])
            place = sum(score > scores[best] for score in scores)
            hits = [hit + (place < top) for hit, top in zip(hits, (1, 3, 5), strict=True)]
    first, third, fifth = (hit / max(1, len(rankings)) for hit in hits)
    return first, third, fifth


def against_retriever(
    encoder: CrossEncoder, rankings: Sequence[Ranking]
) -> tuple[float, float] | tuple[None, None]:
    """How often the best of what a question found is first: (reranked, as it was found)."""
    known = [ranking for ranking in rankings if ranking.asked]
    if not known:
        return None, None
    own = theirs = 0
    encoder.model.eval()
    with torch.inference_mode():
        for ranking in known:
            best = max(ranking.scores[at] for at in ranking.asked)
            scores = _model_scores(encoder, ranking, ranking.asked)
            own += ranking.scores[ranking.asked[int(scores.argmax())]] == best
            theirs += ranking.scores[ranking.asked[0]] == best
    return own / len(known), theirs / len(known)


def _fit(
    encoder: CrossEncoder, rankings: list[Ranking], epochs: int, steps: int, rng: Random
) -> float:
    """Train in place; returns the mean loss of the last epoch."""
    model = encoder.model.train()
    lr = 1e-3 if model.num_parameters() < TINY else 1e-4  # the authors'
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    warm = max(1, round(WARMUP * steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min((s + 1) / warm, (steps - s) / max(1, steps - warm))
    )
    step, losses = 0, [0.0]
    for _ in range(epochs):
        rng.shuffle(rankings)
        losses = []
        for start in range(0, len(rankings), BATCH):
            batch = rankings[start : start + BATCH]
            loss = _loss(encoder, batch, temperature(step, steps), rng)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            losses.append(float(loss.detach()))
            step += 1
    return sum(losses) / len(losses)


def _loss(encoder: CrossEncoder, batch: Sequence[Ranking], tau: float, rng: Random) -> Any:
    drawn = [(ranking, draw(ranking, rng)) for ranking in batch]
    queries = [ranking.query for ranking, places in drawn for _ in places]
    passages = [ranking.candidates[at] for ranking, places in drawn for at in places]
    scores = encoder.scores(queries, passages).split([len(places) for _, places in drawn])
    losses = [
        listwise_loss(torch.tensor([r.scores[at] for at in places], device=own.device), own, tau)
        for (r, places), own in zip(drawn, scores, strict=True)
    ]
    return torch.stack(losses).mean()


def _model_scores(encoder: CrossEncoder, ranking: Ranking, places: Sequence[int]) -> Any:
    passages = [ranking.candidates[at] for at in places]
    return encoder.scores([ranking.query] * len(passages), passages)
