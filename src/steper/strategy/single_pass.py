"""What readers of a single pass share: all passages in, reasoning and answer out in one text.

SAIL, Chain-of-Note and KARD are such readers, over what one search with the question finds. Of a
multi-hop question that search cannot find the later hops, so by default they gather passages as
Iter-RetGen does (Shao et al., Findings of EMNLP 2023): each pass writes the whole text anew over
all passages so far, and what it wrote is the next query. `gather: question` is the papers' own way.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from steper.records import StopReason
from steper.strategy.actions import Actions
from steper.strategy.loop import Loop
from steper.strategy.single import SingleSettings, SingleStep
from steper.strategy.trace import Ending, Trace
from steper.text import normalise_space


class SinglePassSettings(SingleSettings):
    """Settings of a reader of a single pass; the limits of passages are those of other loops."""

    gather: Literal["written", "question"] = Field(
        "written",
        description="written: up to max_steps searches for k passages, the first with the "
        "question, later ones with what the last pass wrote; question: one search with the "
        "question for max_passages (the papers' own)",
    )
    max_steps: int = Field(5, ge=1, description="passes at most, one a search (gather=written)")


class SinglePass(SingleStep):
    """Read all passages in one pass; with gather=written again whenever more were found."""

    settings_type = SinglePassSettings
    settings: SinglePassSettings

    def run(self, trace: Trace) -> Actions:
        """The loop; see `steper.strategy.base.Strategy`."""
        loop, query = self.loop(trace), trace.question
        asked: set[str] = set()
        once = self.settings.gather == "question"
        for _ in range(1 if once else self.settings.max_steps):
            asked.add(normalise_space(query))
            self._forget_text(loop)
            completion = yield from loop.step(query, ("\n\n",))
            if completion is None:
                return Ending("", StopReason.CONTEXT_BUDGET)
            text = loop.keep(completion, completion.text).rationale
            query = self.query(text)
            # The same passages would be read again, and the same text be written.
            if not query or normalise_space(query) in asked:
                break
        return (yield from self.conclude(loop, text))

    def query(self, text: str) -> str:
        """What a pass's text asks for: its reasoning, without the answer that it states."""
        return text.rpartition(self.final_cue)[0].strip() or text.strip()

    def loop(self, trace: Trace) -> Loop:
        """A fresh loop; one search with the question has room for all passages."""
        loop = super().loop(trace)
        if self.settings.gather == "question":
            room = self.settings.max_passages
            loop.settings = self.settings.model_copy(update={"k": room})
        return loop

    def _forget_text(self, loop: Loop) -> None:
        """Take the last pass's text out of the prompt; in turns of a chat it has to stay."""
        if loop.rationales and self.prompt.layout == "passages_first":
            loop.rationales[-1] = ""
