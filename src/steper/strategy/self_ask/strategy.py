"""Self-Ask (Press et al., Findings of EMNLP 2023): the follow-up question is the next query.

Two ways to answer a follow-up:

- `reader: none` (StepER's shape, p(r_s | q, P≤s, R<s)): one generation a step, on all passages so
  far, writes the intermediate answer and the next follow-up or the final answer.
- `reader: direct | cot` (Press et al.'s): the reasoning stops at the follow-up, a separate reader
  answers it from the passages that it found, and the reasoning goes on.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Literal

from pydantic import Field

from steper.errors import QuestionDropped, SettingsError
from steper.gold.gold_plan import NO_ANNOTATION, GoldPlan
from steper.lm.base import Request
from steper.prompt.render import PromptSettings
from steper.prompt.segments import Form
from steper.records import Step, StopReason
from steper.strategy.actions import Action, Actions
from steper.strategy.base import ReadingSettings, StepEnd, Strategy
from steper.strategy.context import Budget
from steper.strategy.loop import Loop, with_cue
from steper.strategy.readers import READERS
from steper.strategy.reading import first_line
from steper.strategy.self_ask.gold import next_piece
from steper.strategy.self_ask.pieces import (
    FINAL_CUE,
    INTERMEDIATE_CUE,
    Piece,
    parse_piece,
    without_told,
)
from steper.strategy.self_ask.statements import answered_follow_ups
from steper.strategy.self_ask.words import WORDS, words_for
from steper.strategy.statements import Statement
from steper.strategy.trace import Ending, Trace
from steper.text import normalise_space


class SelfAskSettings(ReadingSettings):
    """Settings of Self-Ask."""

    max_steps: int = Field(5, ge=1, description="follow-up questions and answer at most (S)")
    first_search: bool = Field(True, description="search with the question itself at first")
    reader: Literal["none", "direct", "cot"] = Field(
        "none",
        description="none: the next step answers a follow-up; else a separate reader does",
    )
    show_passages: bool = Field(
        False, description="with a separate reader: show passages in front of the follow-ups too"
    )
    repeated_query: Literal["answer", "stop", "continue"] = Field(
        "answer",
        description="when a follow-up comes again, or a piece without one: answer now, give up, "
        "or go on",
    )
    force_answer: bool = Field(
        True, description="when a guard ends the loop, ask once more for the answer alone"
    )


class SelfAsk(Strategy[SelfAskSettings]):
    """One follow-up question a step, each one the query of the next search."""

    name = "self_ask"
    settings_type = SelfAskSettings
    words = WORDS
    final_cue = FINAL_CUE

    def __init__(
        self,
        settings: SelfAskSettings | None = None,
        prompt: PromptSettings | None = None,
        form: Form = "plain",
        budget: Budget | None = None,
    ) -> None:
        """Raises SettingsError where the settings contradict those of the prompt."""
        super().__init__(settings, prompt, form, budget)
        if self.reads_apart and self.prompt.layout == "append_only":
            raise SettingsError(
                f"reader={self.settings.reader} answers outside the prompt, so it needs "
                "layout=passages_first"
            )
        if self.reads_apart and self.prompt.written_anew:
            raise SettingsError(
                f"reader={self.settings.reader} writes the intermediate answers, so the model "
                "cannot write all of the reasoning anew; use reasoning=user or assistant"
            )
        if self.settings.show_passages and not self.reads_apart:
            raise SettingsError(
                "show_passages is for a separate reader (reader=direct or cot); "
                "without one passages are always shown"
            )
        # The chain is the same for all settings, as earlier runs were shown it.
        if self.words is WORDS and self.prompt.demo_steps != "chain":
            own = self.settings
            self.words = words_for(own.first_search, self.reads_apart, own.show_passages)

    def run(self, trace: Trace) -> Actions:
        """The loop; see `steper.strategy.base.Strategy`."""
        loop = self.loop(trace)
        ending = yield from self._reason(loop)
        if self.settings.force_answer and self._may_force(ending.reason, loop):
            return (yield from loop.forced_answer(self.final_cue, ending.reason))
        return ending

    @property
    def reads_apart(self) -> bool:
        """Whether a separate reader answers the follow-ups."""
        return self.settings.reader != "none"

    @property
    def step_end(self) -> StepEnd:
        """A step's text ends where the next marker would be another's."""
        return "marker"

    def asks(self, rationale: str) -> str:
        """The follow-up question; "" without one."""
        return normalise_space(parse_piece(rationale).follow_up or "")

    def statements(
        self, steps: Sequence[Step], answer: str, titles: Sequence[str] = ()
    ) -> list[Statement]:
        """Each follow-up with its answer; see `statements`."""
        return list(answered_follow_ups(self.told_by(steps, answer)))

    def gold_text(self, plan: GoldPlan, request: Request, look_ahead: bool) -> str:
        """A follow-up a hop; see `gold`."""
        if not plan.sub_questions:
            raise QuestionDropped(NO_ANNOTATION, "no sub-questions")
        return next_piece(plan, request, self.final_cue)

    def _may_force(self, reason: StopReason, loop: Loop) -> bool:
        if reason is StopReason.REPEATED_QUERY:
            return self.settings.repeated_query == "answer"
        unanswered = reason in (StopReason.STEP_CAP, StopReason.NO_MARKER)
        return unanswered or loop.left_blank(reason)

    def _reason(self, loop: Loop) -> Actions:
        inline = not self.reads_apart
        follow_up: str | None = None
        asked: set[str] = set()
        if self.settings.first_search:
            asked.add(normalise_space(loop.trace.question))
        for number in range(self.settings.max_steps):
            query = follow_up if inline else None
            if number == 0 and self.settings.first_search:
                query = loop.trace.question
            piece_or_end = yield from self._piece(loop, query, answered=follow_up is not None)
            if isinstance(piece_or_end, Ending):
                return piece_or_end
            if piece_or_end.final is not None:
                answer = piece_or_end.final
                reason = StopReason.ANSWERED if answer else StopReason.EMPTY_GENERATION
                return Ending(answer, reason)
            follow_up = piece_or_end.follow_up
            # Without a follow-up nothing new is found, so a piece told before would come for ever.
            told = loop.rationales[-1] in loop.rationales[:-1]
            if normalise_space(follow_up) in asked if follow_up else told:
                if self.settings.repeated_query != "continue":
                    return Ending("", StopReason.REPEATED_QUERY)
                follow_up = None
            asked.add(normalise_space(follow_up or ""))
            last = number == self.settings.max_steps - 1
            if follow_up and not inline and not last:
                ending = yield from self._read(loop, follow_up)
                if ending is not None:
                    return ending
        return Ending("", StopReason.STEP_CAP)

    def _piece(
        self, loop: Loop, query: str | None, answered: bool
    ) -> Generator[Action, object, Piece | Ending]:
        """One reasoning step: its piece, or how the loop ends on it."""
        inline = not self.reads_apart
        anew = self.prompt.written_anew
        # A model that continues text needs the marker: the stop string would end it at once.
        continued = self.form == "plain" or self.prompt.one_text(self.form)
        cue = INTERMEDIATE_CUE if inline and answered and continued and not anew else ""
        # The next intermediate answer is another step's; plain text also ends at a blank line.
        stop = ("\n\n",) if self.form == "plain" else ()
        stop = stop if anew else (f"\n{INTERMEDIATE_CUE}", *stop)
        completion = yield from loop.step(query, stop, cue)
        if completion is None:
            return Ending("", StopReason.CONTEXT_BUDGET)
        text = with_cue(cue, completion.text)
        if anew:
            text = without_told(text, loop.rationales)
        if not text:
            told = loop.said_again(completion, text)
            loop.keep(completion, "")
            return Ending("", StopReason.REPEATED_QUERY if told else StopReason.EMPTY_GENERATION)
        piece = parse_piece(text)
        loop.keep(completion, piece.text() or first_line(text) or text.splitlines()[0])
        return piece if piece != Piece() else Ending("", StopReason.NO_MARKER)

    def _read(self, loop: Loop, follow_up: str) -> Generator[Action, object, Ending | None]:
        """The separate reader's answer to a follow-up, as the next piece of reasoning."""
        reader = READERS[self.settings.reader]
        shown, limit = self.settings.show_passages, self.settings.reader_max_tokens
        completion = yield from loop.read(follow_up, reader, follow_up, shown, limit)
        if completion is None:
            return Ending("", StopReason.CONTEXT_BUDGET)
        found = reader.answer(completion.text.strip(), StopReason.ANSWERED)
        loop.keep(completion, f"{INTERMEDIATE_CUE} {found.answer}")
        return None if found.answer else Ending("", found.reason)
