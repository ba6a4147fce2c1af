"""What strategies of a single step share: reason and answer in one generation."""

from __future__ import annotations

from pydantic import Field

from steper.records import StopReason
from steper.strategy.actions import Actions
from steper.strategy.base import StepSettings, Strategy
from steper.strategy.loop import Loop
from steper.strategy.readers import REASONING_TOKENS
from steper.strategy.stated_answer import stated_answer
from steper.strategy.trace import Ending, Trace


class SingleSettings(StepSettings):
    """Settings of one-shot RAG and of closed-book answering."""

    max_tokens: int = Field(
        REASONING_TOKENS,
        ge=1,
        description="tokens of the whole text at most, thoughts included",
    )
    force_answer: bool = Field(
        True, description="where the text states no answer, ask once more for the answer alone"
    )


class SingleStep(Strategy[SingleSettings]):
    """Reason and answer in one generation."""

    settings_type = SingleSettings
    writes_whole = True

    def run(self, trace: Trace) -> Actions:
        """The loop; see `steper.strategy.base.Strategy`."""
        loop = self.loop(trace)
        query = trace.question if self.searches else None
        completion = yield from loop.step(query, ("\n\n",))
        if completion is None:
            return Ending("", StopReason.CONTEXT_BUDGET)
        text = loop.keep(completion, completion.text).rationale
        return (yield from self.conclude(loop, text))

    def conclude(self, loop: Loop, text: str) -> Actions:
        """The answer that `text`, the last step's, states; where it states none, asked by force."""
        answer = stated_answer(text)
        if answer:
            return Ending(answer, StopReason.ANSWERED)
        reason = StopReason.NO_MARKER if text else StopReason.EMPTY_GENERATION
        if text and self.settings.force_answer:
            return (yield from loop.forced_answer(self.final_cue, reason))
        return Ending("", reason)
