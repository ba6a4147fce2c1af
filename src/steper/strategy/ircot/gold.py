"""Gold annotations in IRCoT's words: a sentence a step, each the query for the next passage."""

from __future__ import annotations

import re
from collections.abc import Sequence

from steper.gold.gold_plan import GoldPlan, closing, missing, shown
from steper.gold.hops import stem
from steper.lm.base import Request
from steper.records import Passage

_WH = re.compile(r"(Who|What|Which|Where|When|How|In|Of|At|To|The)\b")


def next_sentence(plan: GoldPlan, request: Request, look_ahead: bool, cue: str) -> str:
    """The next hop whose passage is there and whose premises are told, or the answer after `cue`.

    Looking ahead, the sentence goes on to what is asked next if that passage is still to be found.
    """
    untold = plan.untold(request.rationales)
    if not untold:
        return closing(cue, plan.answer)
    ready = [i for i in untold if not plan.hops[i].needs & set(untold)]
    for position in ready:
        if shown(plan.hops[position], request.passages):
            told = plan.hops[position].sentence(last=len(untold) == 1)
            rest = [i for i in untold if i != position]
            following = _following(plan, rest, request.passages) if look_ahead else None
            return f"{stem(told)}; next, {_lowered(following)}" if following else told
    raise missing(plan.hops[ready[0]])


def _following(plan: GoldPlan, rest: Sequence[int], passages: Sequence[Passage]) -> str | None:
    """The sub-question of the next hop, unless some next hop's passage is there already."""
    ready = [plan.hops[i] for i in rest if not plan.hops[i].needs & set(rest)]
    if not ready or any(shown(hop, passages) for hop in ready):
        return None
    return ready[0].question or None


def _lowered(question: str) -> str:
    """A question in the middle of a sentence: its wh-word in lower case."""
    return question[:1].lower() + question[1:] if _WH.match(question) else question
