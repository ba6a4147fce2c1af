"""What the strategies share: a step is one search (or none) and the generation that follows it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from steper.errors import ModelError, QuestionDropped
from steper.lm.base import Completion
from steper.prompt.render import PromptSettings, Turn
from steper.prompt.segments import Form, Prompt
from steper.prompt.words import Words
from steper.records import Passage, Step, StepRole, StopReason
from steper.retrieve.base import Found
from steper.strategy.actions import Action, Actions, Generate, Search
from steper.strategy.context import Budget, ContextSettings, Fitted, Gathered, fit
from steper.strategy.readers import Reader
from steper.strategy.stated_answer import stated_answer, without_label
from steper.strategy.trace import Ending, Trace
from steper.text import limit_words

Sub = Generator[Action, "list[Found] | Completion", "Completion | None"]

Render = Callable[..., Prompt]
"""`render(question, turns, cue, words)`: the strategy's prompt, or in other words a reader's."""


@dataclass(frozen=True, slots=True)
class StepDraft:
    """A step being made: all that its record says beside what is written."""

    role: StepRole = "reason"
    query: str | None = None
    found: Sequence[Found] = ()
    context: Sequence[Passage] = ()
    dropped: Sequence[Passage] = ()
    shortened: Sequence[Passage] = ()
    cue: str = ""


@dataclass
class Loop:
    """One question under way: passages gathered, reasoning so far, and the step being made."""

    trace: Trace
    render: Render
    settings: ContextSettings
    prompt: PromptSettings
    form: Form
    budget: Budget
    max_tokens: int
    gathered: Gathered = field(init=False)
    rationales: list[str] = field(default_factory=list)
    _draft: StepDraft = field(default_factory=StepDraft)

    def __post_init__(self) -> None:
        self.gathered = Gathered(self.settings)

    def forget(self) -> None:
        """Let the next step begin anew: no passages gathered, nothing said."""
        self.gathered, self.rationales = Gathered(self.settings), []

    def search(self, query: str | None) -> Generator[Action, object, list[Found]]:
        """Search, where there is a query."""
        if not query:
            return []
        return cast("list[Found]", (yield Search(query, self.settings.k)))

    def step(self, query: str | None, stop: Sequence[str], cue: str = "") -> Sub:
        """Search, then generate the next piece; None where the context has no room for it.

        The caller looks at the completion and calls `keep` with what it keeps of it.
        """
        found = yield from self.search(query)
        self.gathered.add(found)
        appended = self.prompt.layout == "append_only"
        # What is written anew holds the text of the steps before, too.
        anew = self.prompt.written_anew and not cue
        times = 1 + sum(map(bool, self.rationales)) if anew else 1
        limit = times * self.max_tokens
        fitted = self._fit(
            self.gathered, self.rationales, self.trace.question, cue, appended, limit
        )
        draft = StepDraft("reason", query, found, fitted.shown, fitted.dropped, (), cue)
        return (yield from self._generate(fitted, stop, draft, limit))

    def read(
        self,
        question: str,
        reader: Reader,
        query: str | None = None,
        show_later: bool = False,
        max_tokens: int | None = None,
    ) -> Sub:
        """A separate reader's answer to `question`: from the passages that `query` finds, or from
        all that were gathered. With `show_later` the reasoning sees what `query` found, too.
        """
        found = yield from self.search(query)
        source = Gathered(self.settings)
        if query is None:
            source.turns = [self.gathered.all]
        else:
            source.add(found)
            self.gathered.add(found if show_later else ())
        times = len(self.rationales) + 1 if reader.name == "chain" else 1
        limit = max_tokens or max(times * self.max_tokens, reader.least_tokens)
        fitted = self._fit(source, [], question, "", False, limit, words=reader.words)
        draft = StepDraft("read", query, found, fitted.shown, fitted.dropped)
        return (yield from self._generate(fitted, reader.stop, draft, limit, reader))

    def keep(self, completion: Completion | None, rationale: str, cue: str = "") -> Step:
        """Write the step into the trace; a reasoning step's text stands in later prompts."""
        text = with_cue(cue, rationale)
        draft = self._draft
        self.trace.add(
            completion,
            text,
            role=draft.role,
            query=draft.query,
            found=draft.found,
            context=draft.context,
            dropped=draft.dropped,
            shortened=draft.shortened,
            cue=draft.cue,
        )
        self.rationales.append(text)
        return self.trace.steps[-1]

    def said_again(self, completion: Completion, kept: str) -> bool:
        """Whether a text that is written anew says what was said before, and no more."""
        earlier = self.prompt.written_anew and bool(self.rationales)
        return earlier and not kept and bool(completion.text.strip())

    def left_blank(self, reason: StopReason) -> bool:
        """Whether the loop ended on "The answer is:" with nothing after it (a stop string cut)."""
        last = self.trace.steps[-1]
        return (
            reason is StopReason.EMPTY_GENERATION and last.role == "reason" and bool(last.rationale)
        )

    def forced_answer(self, cue: str, reason: StopReason) -> Actions:
        """Ask once more, without a search, with `cue` as the beginning of the text."""
        completion = yield from self.step(None, ("\n",), cue)
        if completion is None:
            return Ending("", StopReason.CONTEXT_BUDGET)
        step = self.keep(completion, without_label(completion.text), cue)
        answer = stated_answer(step.rationale) or ""
        forced = reason is StopReason.STEP_CAP and answer
        return Ending(answer, StopReason.FORCED if forced else reason)

    def _fit(
        self,
        gathered: Gathered,
        rationales: Sequence[str],
        question: str,
        cue: str,
        append_only: bool,
        limit: int,
        words: Words | None = None,
    ) -> Fitted:
        """The prompt, with room for `limit` tokens after it."""

        def render(turns: Sequence[Turn]) -> Prompt:
            return self.render(question, turns, cue, words)

        recorded = self.trace.recorded()
        budget = self.budget.less(limit - self.max_tokens)
        return fit(gathered, rationales, question, render, budget, append_only, recorded)

    def _generate(
        self,
        fitted: Fitted,
        stop: Sequence[str],
        draft: StepDraft,
        limit: int,
        reader: Reader | None = None,
    ) -> Sub:
        if fitted.prompt is None:
            self._draft = replace(draft, cue="")
            self.keep(None, "")
            return None
        words = self.prompt.passage_words
        shortened = [p for p in draft.context if limit_words(p.text, words)[1]]
        self._draft = replace(draft, shortened=shortened)
        action = Generate(
            step=len(self.trace.steps) + 1,
            role=draft.role,
            prompt=fitted.prompt,
            stop=tuple(stop),
            max_tokens=limit,
            passages=fitted.shown,
            rationales=tuple(self.rationales),
            retrieved=frozenset((*self.trace.passages, *(f.passage.id for f in draft.found))),
            cue=draft.cue,
            reader=reader,
        )
        try:
            return cast(Completion, (yield action))
        except (QuestionDropped, ModelError):
            # What was searched for this step belongs in the record of the question.
            self.keep(None, "")
            raise


def with_cue(cue: str, text: str) -> str:
    """`text` beginning with the cue that the prompt ended on; a model may have repeated it."""
    text = text.strip()
    if not cue or text.lower().startswith(cue.lower()):
        return text
    return f"{cue} {text}"
