"""Self-Ask's words: follow-up questions and their answers, a line each."""

from __future__ import annotations

from steper.prompt.words import Demo, DemoTurns, Words
from steper.store import package_text
from steper.strategy.self_ask.pieces import FINAL_CUE, INTERMEDIATE_CUE


def demonstrate(demo: Demo) -> DemoTurns:
    """The first follow-up; then each answer with the next follow-up, or with the final answer."""
    asks = [f"Follow up: {hop.follow_up}" for hop in demo.hops]
    asks.append(f"{FINAL_CUE} {demo.answer}")
    told = ["", *(f"{INTERMEDIATE_CUE} {hop.answer}\n" for hop in demo.hops)]
    texts = [answer + ask for answer, ask in zip(told, asks, strict=True)]
    return list(zip(demo.arriving(), texts, strict=True))


WORDS = Words(
    "self_ask",
    package_text(__package__, "instruction.txt"),
    demonstrate,
    head="Question: {question}\nAre follow up questions needed here: Yes.",
    cue="",
    lead="\n",
    turn_cue="\n\n",
    turn_lead="",
    anew=package_text(__package__, "anew.txt"),
)
