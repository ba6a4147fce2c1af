"""Self-Ask's words: follow-up questions and their answers, a line each."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from steper.prompt.words import Demo, DemoTurns, Words
from steper.store import package_text
from steper.strategy.self_ask.pieces import FINAL_CUE, INTERMEDIATE_CUE


def demonstrate(demo: Demo, first_search: bool = True) -> DemoTurns:
    """The first follow-up; then each answer with the next follow-up, or with the final answer.

    Without a first search the first follow-up finds what the question would have found.
    """
    told = ["", *(f"{INTERMEDIATE_CUE} {hop.answer}\n" for hop in demo.hops)]
    texts = [answer + ask for answer, ask in zip(told, _asked(demo), strict=True)]
    arriving = demo.arriving()
    if not first_search:
        arriving[:2] = [(), arriving[0] + arriving[1]]
    return list(zip(arriving, texts, strict=True))


def demonstrate_apart(demo: Demo, first_search: bool, show_passages: bool) -> DemoTurns:
    """Each follow-up, and after it what a separate reader answers; then the final answer."""
    *asks, final = _asked(demo)
    first, *found = (passages for passages, _ in demonstrate(demo, first_search))
    turns: DemoTurns = []
    for number, (ask, hop) in enumerate(zip(asks, demo.hops, strict=True)):
        turns.append(((), ask) if number else (first, ask))
        answer = f"{INTERMEDIATE_CUE} {hop.answer}"
        turns.append((found[number] if show_passages else (), answer))
    return [*turns, ((), final)]


def _asked(demo: Demo) -> list[str]:
    """What each step asks: the follow-ups, then the final answer."""
    return [*(f"Follow up: {hop.follow_up}" for hop in demo.hops), f"{FINAL_CUE} {demo.answer}"]


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


def words_for(first_search: bool, apart: bool, show_passages: bool) -> Words:
    """The words whose demonstrations search and read as these settings do."""
    if apart:
        show = partial(demonstrate_apart, first_search=first_search, show_passages=show_passages)
        return replace(WORDS, demonstrate=show, reads_apart=True)
    return replace(WORDS, demonstrate=partial(demonstrate, first_search=first_search))
