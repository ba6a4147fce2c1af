"""A strategy: how a multi-step retrieval-augmented LM goes about a question.

All that is particular to one stands in its folder: its generator, its words, its cues, what it asks
for, how gold facts are worded for it. Renderer, replay, gold teacher and command line ask it.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Generic, Literal, TypeVar

from pydantic import Field

from steper.doors import origin
from steper.gold.gold_plan import GoldPlan, all_shown, closing
from steper.lm.base import Request
from steper.prompt.render import PromptSettings, Reasoning, Turn, build_prompt, target_lead
from steper.prompt.segments import Form, Prompt
from steper.prompt.words import Shown, Words
from steper.records import Step
from steper.strategy.actions import Actions
from steper.strategy.context import Budget, ContextSettings
from steper.strategy.loop import Loop
from steper.strategy.readers import REASONING_TOKENS
from steper.strategy.stated_answer import stated_answer
from steper.strategy.statements import Statement, what_is_told
from steper.strategy.trace import Trace
from steper.text import normalise_space, strip_full_stop

if TYPE_CHECKING:
    from typing import Any

    from typing_extensions import Self


class StepSettings(ContextSettings):
    """Settings of every strategy that generates."""

    max_tokens: int = Field(
        128,
        ge=1,
        description="tokens of one step's text at most, thoughts included (written anew: of each "
        "so far)",
    )


class ReadingSettings(StepSettings):
    """Settings of strategies that may ask a separate reader."""

    later: ClassVar[tuple[str, ...]] = ("reader_max_tokens",)

    reader_max_tokens: int | None = Field(
        None,
        ge=1,
        description="tokens of a separate reader's text at most, thoughts included (none: "
        f"max_tokens, but {REASONING_TOKENS} at least for cot; of one_shot max_tokens a step)",
    )


StepEnd = Literal["model", "cut", "marker"]
"""What ends a step's text: the model, by an end of turn, or a rule that cuts what it writes, after
one sentence (IRCoT's) or at the next marker (Self-Ask's)."""

STEP_ENDS: dict[str, str] = {
    "model": "where the model ends it",
    "cut": "cut after one sentence",
    "marker": "cut at the next marker",
}
"""Each in words."""

S = TypeVar("S", bound=StepSettings)


class Strategy(Generic[S]):
    """A way to answer a question in steps: a pure generator of actions, and all its words.

    `run` does no I/O, holds no model and knows no batching. It is sent the result of each action
    that it yields, writes its steps into the trace and returns how it ended. A class of one's own
    sets `name`, `settings_type` and `words` (or inherits them) and has a `run`.

    `final_cue` begins an answer that is asked for by force; `searches` says whether it retrieves,
    `writes_whole` whether one generation is all that a student learnt to write of a question.
    """

    name: ClassVar[str]
    settings_type: type[S]
    words: Words
    final_cue: ClassVar[str] = "So the answer is:"
    searches: ClassVar[bool] = True
    writes_whole: ClassVar[bool] = False

    def __init__(
        self,
        settings: S | None = None,
        prompt: PromptSettings | None = None,
        form: Form = "plain",
        budget: Budget | None = None,
    ) -> None:
        self.settings: S = settings or self.settings_type()
        self.prompt = prompt or PromptSettings()
        self.form: Form = form
        self.budget = budget or Budget()

    def fingerprint(self) -> dict[str, Any]:
        """All settings that decide what is asked (JSON values); of a plug-in its code, too."""
        return {"name": self.name, **self.settings.model_dump(mode="json"), **origin(type(self))}

    def run(self, trace: Trace) -> Actions:
        """Answer `trace.question`."""
        raise NotImplementedError

    def loop(self, trace: Trace) -> Loop:
        """A fresh loop over the question of `trace`."""
        room = self.settings.max_tokens
        return Loop(trace, self.render, self.settings, self.prompt, self.form, self.budget, room)

    def asked_as(
        self, form: Form, budget: Budget | None = None, reasoning: Reasoning | None = None
    ) -> Self:
        """This strategy for a model of that form; `budget` where it has no limit of its own.

        `reasoning` goes over the prompt settings' own.
        """
        fitted = copy(self)
        fitted.form = form
        if reasoning is not None:
            fitted.prompt = self.prompt.model_copy(update={"reasoning": reasoning})
        if budget is not None and self.budget.tokens is None:
            fitted.budget = budget
        return fitted

    def showing(self, demonstrations: Sequence[Shown]) -> Self:
        """This strategy with demonstrations of one's own in place of the package's."""
        other = copy(self)
        other.words = replace(self.words, own=tuple(demonstrations))
        return other

    def render(
        self, question: str, turns: Sequence[Turn], cue: str = "", words: Words | None = None
    ) -> Prompt:
        """The prompt of a step in this strategy's words, or in those of a reader."""
        return build_prompt(words or self.words, question, turns, self.prompt, self.form, cue)

    def lead(self, cue: str = "", begun: bool = False, words: Words | None = None) -> str:
        """What stands between a prompt's end and the text that is written."""
        return target_lead(words or self.words, self.prompt, self.form, cue, begun)

    @property
    def step_end(self) -> StepEnd:
        """Who ends a step; a class of one's own that cuts texts says so."""
        return "model"

    @property
    def reads_apart(self) -> bool:
        """Whether a separate reader answers in the middle of the reasoning (Press et al.'s way)."""
        return False

    def asks(self, rationale: str) -> str:
        """What a rationale asks for, or tells: two that are alike repeat each other."""
        return normalise_space(rationale)

    def told(self, steps: Sequence[Step], answer: str) -> list[str]:
        """What these steps tell, in order; what a last reader answered is stated."""
        return [text for _, text in self.told_by(steps, answer)]

    def told_by(self, steps: Sequence[Step], answer: str) -> list[tuple[Step, str]]:
        """The same, each text with its step."""
        if steps and steps[-1].role == "read" and not self.reads_apart:
            told = [(s, s.rationale) for s in steps[:-1] if stated_answer(s.rationale) is None]
            return [*told, (steps[-1], f"{self.final_cue} {strip_full_stop(answer)}.")]
        return [(step, step.rationale) for step in steps]

    def statements(
        self, steps: Sequence[Step], answer: str, titles: Sequence[str] = ()
    ) -> list[Statement]:
        """What these steps state, in order, of passages with these titles: here one a step.

        Joined by the words' `lead` it is the text that they tell.
        """
        told = self.told_by(steps, answer)
        return [Statement(text, what_is_told(text, titles), step) for step, text in told if text]

    def word_gold(self, plan: GoldPlan, request: Request, look_ahead: bool) -> str:
        """What a perfect reader writes at a request: the bare answer where that is forced."""
        if request.cue == self.final_cue:
            all_shown(plan, plan.untold(request.rationales), request.passages)
            return plan.answer
        return self.gold_text(plan, request, look_ahead)

    def gold_text(self, plan: GoldPlan, request: Request, look_ahead: bool) -> str:
        """What a perfect reader writes at this step; raises QuestionDropped (see `gold`).

        Here the whole chain at once; all its passages must be shown, if the strategy searches.
        """
        if self.searches and request.role == "reason":
            all_shown(plan, range(len(plan.hops)), request.passages)
        answer = closing(self.final_cue, plan.answer)
        return answer if request.role == "read" else " ".join((*plan.in_order(), answer))
