"""Scores of the small models: single questions, and the whole loop with BM25."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from steper.data.world.generate import World
from steper.data.world.world_questions import WorldQuestion
from steper.prompt.render import PromptSettings, Turn, build_prompt
from steper.strategy import STRATEGIES
from steper.strategy.ircot import IRCoT
from steper.strategy.ircot.queries import without_wh_words
from steper.strategy.stated_answer import stated_answer
from tiny.retrieval import TitleIndex, world_passages
from tiny.text import CAP, PASSAGES_FIRST, K, Reader

STEPS = 5


def last_answer(text: str) -> str | None:
    """What a reply names as the answer, or None."""
    lines = text.strip().splitlines()
    return stated_answer(lines[-1]) if lines else None


@torch.no_grad()
def complete(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[list[dict[str, str]]],
    new_tokens: int = 48,
    batch: int = 32,
) -> list[str]:
    """Greedy replies to chats."""
    texts = [
        tokenizer.apply_chat_template(p, tokenize=False, add_generation_prompt=True)
        for p in prompts
    ]
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    replies = [""] * len(texts)
    tokenizer.padding_side = "left"
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        inputs = tokenizer([texts[i] for i in rows], return_tensors="pt", padding=True)
        inputs.pop("token_type_ids", None)
        output = model.generate(
            **inputs, max_new_tokens=new_tokens, do_sample=False, use_cache=True
        )
        fresh = output[:, inputs["input_ids"].shape[1] :]
        for row, text in zip(
            rows, tokenizer.batch_decode(fresh, skip_special_tokens=True), strict=True
        ):
            replies[row] = text
    return replies


def one_hop(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    world: World,
    passages: int,
    count: int,
    settings: PromptSettings = PASSAGES_FIRST,
) -> float:
    """Share of single questions answered exactly, with `passages` passages."""
    reader = Reader(world, random.Random(f"one-hop/{world.seed}/{passages}"), ("test",))
    prompts, golds = [], []
    while len(prompts) < count:
        titles = reader.context(passages)
        question, hop, answer = reader.ask(titles, 1)[0]
        if hop is None:
            continue
        shown = tuple(reader.passages[t] for t in titles)
        prompts.append(
            build_prompt(IRCoT.words, question, [Turn(shown)], settings, "chat").messages()
        )
        golds.append(answer)
    replies = complete(model, tokenizer, prompts)
    return sum(last_answer(r) == g for r, g in zip(replies, golds, strict=True)) / count


@dataclass
class Run:
    """One question on its way through the loop."""

    question: WorldQuestion
    turns: list[Turn] = field(default_factory=list)
    query: str = ""
    answer: str | None = None

    def titles(self) -> list[str]:
        """Titles of all passages so far."""
        return [p.title for turn in self.turns for p in turn.passages]


def next_query(name: str, reply: str) -> str:
    """The query that a step's text gives."""
    if name == "ircot":
        return without_wh_words(reply)
    return reply.rsplit("Follow up:", 1)[-1].strip()


def run_loop(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    world: World,
    questions: Sequence[WorldQuestion],
    name: str = "ircot",
    settings: PromptSettings = PASSAGES_FIRST,
) -> list[Run]:
    """Every question through IRCoT or Self-Ask with BM25, all questions step by step together."""
    passages = world_passages(world)
    index = TitleIndex(passages)
    runs = [Run(q, query=q.question) for q in questions]
    for _ in range(STEPS):
        active = [run for run in runs if run.answer is None]
        if not active:
            break
        for run, found in zip(active, index.search([r.query for r in active], K), strict=True):
            seen = run.titles()
            new = [t for t in found if t not in seen][: CAP - len(seen)]
            run.turns.append(Turn(tuple(passages[t] for t in new)))
        prompts = [
            build_prompt(
                STRATEGIES.find(name).words, r.question.question, r.turns, settings, "chat"
            ).messages()
            for r in active
        ]
        for run, reply in zip(active, complete(model, tokenizer, prompts), strict=True):
            run.turns[-1] = Turn(run.turns[-1].passages, reply)
            run.answer = last_answer(reply)
            run.query = next_query(name, reply) or run.question.question
    return runs


def exact_by_hops(runs: Sequence[Run]) -> dict[str, float]:
    """Share of exact answers by number of hops, and over all."""
    scores = {}
    for hops in sorted({len(r.question.hops) for r in runs}):
        group = [r for r in runs if len(r.question.hops) == hops]
        scores[str(hops)] = sum(r.answer == r.question.answer for r in group) / len(group)
    scores["all"] = sum(r.answer == r.question.answer for r in runs) / len(runs)
    return scores
