"""Strategies of a single step: retrieve once and reason (`one_shot`), or no retrieval at all."""

from __future__ import annotations

from pydantic import Field

from steper.records import StopReason
from steper.strategy.actions import Actions
from steper.strategy.ircot import ANSWER_CUE, forced_answer
from steper.strategy.loop import Prompted, StepSettings
from steper.strategy.trace import Ending, Trace
from steper.text import stated_answer


class SingleSettings(StepSettings):
    """Settings of one-shot RAG and of closed-book answering."""

    force_answer: bool = Field(
        True, description="where the text states no answer, ask once more for the answer alone"
    )


class _Single(Prompted[SingleSettings]):
    """Reason and answer in one generation."""

    settings_type = SingleSettings
    searches: bool

    def run(self, trace: Trace) -> Actions:
        """The loop; see `steper.strategy.actions.Strategy`."""
        loop = self.loop(trace)
        query = trace.question if self.searches else None
        completion = yield from loop.step(query, ("\n\n",))
        if completion is None:
            return Ending("", StopReason.CONTEXT_BUDGET)
        text = loop.keep(completion, completion.text).rationale
        answer = stated_answer(text)
        if answer:
            return Ending(answer, StopReason.ANSWERED)
        reason = StopReason.NO_MARKER if text else StopReason.EMPTY_GENERATION
        if text and self.settings.force_answer:
            return (yield from forced_answer(loop, ANSWER_CUE, reason))
        return Ending("", reason)


class OneShot(_Single):
    """Retrieve once with the question, then reason and answer."""

    name = "one_shot"
    searches = True


class ClosedBook(_Single):
    """Reason and answer from what the model knows."""

    name = "closed_book"
    searches = False
