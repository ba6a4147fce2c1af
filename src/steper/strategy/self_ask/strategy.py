"""Self-Ask (Press et al., Findings of EMNLP 2023): the follow-up question is the next query.

Two ways to answer a follow-up:

- `reader: none` (StepER's shape, p(r_s | q, P≤s, R<s)): one generation a step, on all passages so
  far, writes the intermediate answer and the next follow-up or the final answer.
- `reader: direct | cot` (Press et al.'s): the reasoning stops at the follow-up, a separate reader
  answers it from the passages that it found, and the reasoning goes on.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from steper.errors import SettingsError
from steper.prompt.render import PromptSettings
from steper.prompt.segments import Form
from steper.records import StopReason
from steper.strategy.actions import Action, Actions
from steper.strategy.context import Budget
from steper.strategy.ircot import forced_answer, read_answer
from steper.strategy.loop import Loop, Prompted, StepSettings, with_cue
from steper.strategy.trace import Ending, Trace
from steper.text import normalise_space, strip_full_stop

FINAL_CUE = "So the final answer is:"
INTERMEDIATE_CUE = "Intermediate answer:"

_MARKERS = re.compile(
    r"(?P<follow_up>follow[- ]?up(?: question)?\s*:)"
    r"|(?P<intermediate>intermediate answer\s*:)"
    r"|(?P<final>(?:so,?\s+)?the final answer is\s*:?)",
    re.IGNORECASE,
)

_NEXT_ON_THE_LINE = re.compile(
    r"(intermediate answer\s*:.*?)\s+(?=follow[- ]?up\s*:|so the final answer is\s*:)",
    re.IGNORECASE,
)


class SelfAskSettings(StepSettings):
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
        "answer", description="when a follow-up comes again: answer now, give up, or go on"
    )
    force_answer: bool = Field(
        True, description="when a guard ends the loop, ask once more for the answer alone"
    )


@dataclass(frozen=True, slots=True)
class Piece:
    """What a generation says, by its markers; their case varies between models."""

    intermediate: str | None = None
    follow_up: str | None = None
    final: str | None = None

    def text(self) -> str:
        """The piece as later prompts and training see it, with the original's markers."""
        lines = []
        if self.intermediate is not None:
            lines.append(f"{INTERMEDIATE_CUE} {self.intermediate}")
        if self.final is not None:
            lines.append(f"{FINAL_CUE} {self.final}")
        elif self.follow_up is not None:
            lines.append(f"Follow up: {self.follow_up}")
        return "\n".join(lines)


def parse_piece(text: str) -> Piece:
    """The first intermediate answer, and the first follow-up or final answer, of a generation.

    A marker's value is all that follows it on its line, colons included; but what comes next may
    stand on the intermediate answer's line. Markdown's `**` is taken off.
    """
    found: dict[str, str] = {}
    for line in _NEXT_ON_THE_LINE.sub(r"\1\n", text.replace("**", "")).splitlines():
        marker = _MARKERS.search(line)
        if marker is None or marker.lastgroup is None:
            continue
        value = line[marker.end() :].strip()
        name = marker.lastgroup
        if name in found or (name == "intermediate" and found):
            break
        found[name] = strip_full_stop(value) if name == "final" else value
        if name != "intermediate":
            break
    return Piece(found.get("intermediate"), found.get("follow_up"), found.get("final"))


class SelfAsk(Prompted[SelfAskSettings]):
    """One follow-up question a step, each one the query of the next search."""

    name = "self_ask"
    settings_type = SelfAskSettings

    def __init__(
        self,
        settings: SelfAskSettings | None = None,
        prompt: PromptSettings | None = None,
        form: Form = "plain",
        budget: Budget | None = None,
    ) -> None:
        """Raises SettingsError where the settings contradict those of the prompt."""
        super().__init__(settings, prompt, form, budget)
        apart = self.settings.reader != "none"
        if apart and self.prompt.layout == "append_only":
            raise SettingsError(
                f"reader={self.settings.reader} answers outside the prompt, so it needs "
                "layout=passages_first"
            )
        if self.settings.show_passages and not apart:
            raise SettingsError(
                "show_passages is for a separate reader (reader=direct or cot); "
                "without one passages are always shown"
            )

    def run(self, trace: Trace) -> Actions:
        """The loop; see `steper.strategy.actions.Strategy`."""
        loop = self.loop(trace)
        ending = yield from self._reason(loop)
        if self.settings.force_answer and self._may_force(ending.reason):
            return (yield from forced_answer(loop, FINAL_CUE, ending.reason))
        return ending

    def _may_force(self, reason: StopReason) -> bool:
        if reason is StopReason.REPEATED_QUERY:
            return self.settings.repeated_query == "answer"
        return reason in (StopReason.STEP_CAP, StopReason.NO_MARKER)

    def _reason(self, loop: Loop) -> Actions:
        inline = self.settings.reader == "none"
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
            if follow_up and normalise_space(follow_up) in asked:
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
        inline = self.settings.reader == "none"
        # A model that continues text needs the marker: the stop string would end it at once.
        cue = INTERMEDIATE_CUE if inline and answered and self.form == "plain" else ""
        completion = yield from loop.step(query, stop_strings(self.form), cue)
        if completion is None:
            return Ending("", StopReason.CONTEXT_BUDGET)
        text = with_cue(cue, completion.text)
        if not text:
            loop.keep(completion, "")
            return Ending("", StopReason.EMPTY_GENERATION)
        piece = parse_piece(text)
        loop.keep(completion, piece.text() or text.splitlines()[0])
        return piece if piece != Piece() else Ending("", StopReason.NO_MARKER)

    def _read(self, loop: Loop, follow_up: str) -> Generator[Action, object, Ending | None]:
        """The separate reader's answer to a follow-up, as the next piece of reasoning."""
        reader = self.settings.reader
        stop = ("\n",) if reader == "direct" else ("\n\n",)
        completion = yield from loop.read(
            follow_up, f"reader_{reader}", stop, follow_up, self.settings.show_passages
        )
        if completion is None:
            return Ending("", StopReason.CONTEXT_BUDGET)
        found = read_answer(completion.text.strip(), reader, StopReason.ANSWERED)
        loop.keep(completion, f"{INTERMEDIATE_CUE} {found.answer}")
        return None if found.answer else Ending("", found.reason)


def stop_strings(form: Form) -> tuple[str, ...]:
    """Stop at the next intermediate answer; a model that continues text also at a blank line."""
    return ("\nIntermediate answer:", "\n\n") if form == "plain" else ("\nIntermediate answer:",)
