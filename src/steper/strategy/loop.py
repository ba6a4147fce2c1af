"""What the strategies share: a step is one search (or none) and the generation that follows it."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Generic, TypeVar, cast

from pydantic import Field

from steper.errors import ModelError, QuestionDropped
from steper.lm.base import Completion
from steper.prompt.render import PromptSettings, Turn, build_prompt
from steper.prompt.segments import Form, Prompt
from steper.records import Passage, Step, StepRole
from steper.retrieve.base import Found
from steper.strategy.actions import Action, Actions, Generate, Search
from steper.strategy.context import Budget, ContextSettings, Gathered, fit
from steper.strategy.trace import Trace
from steper.text import limit_words

Sub = Generator[Action, "list[Found] | Completion", "Completion | None"]


class StepSettings(ContextSettings):
    """Settings of every strategy that generates."""

    max_tokens: int = Field(128, ge=1, description="tokens of one generation at most")


S = TypeVar("S", bound=StepSettings)


class Prompted(Generic[S]):
    """What strategies are made of: settings, prompt settings, the model's form and its room."""

    name: ClassVar[str]
    settings_type: type[S]

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

    def fingerprint(self) -> dict[str, object]:
        """All settings that decide what is asked (JSON values)."""
        return {"name": self.name, **self.settings.model_dump(mode="json")}

    def run(self, trace: Trace) -> Actions:
        """Answer `trace.question`; see `steper.strategy.actions.Strategy`."""
        raise NotImplementedError

    def loop(self, trace: Trace) -> Loop:
        """A fresh loop over the question of `trace`."""
        return Loop(trace, self.name, self.settings, self.prompt, self.form, self.budget)


@dataclass
class Loop:
    """One question under way: passages gathered, reasoning so far, and the step being made."""

    trace: Trace
    template: str
    settings: StepSettings
    prompt: PromptSettings
    form: Form
    budget: Budget
    gathered: Gathered = field(init=False)
    rationales: list[str] = field(default_factory=list)
    _draft: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.gathered = Gathered(self.settings)

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
        prompt, shown, dropped = self._fit(self.gathered, self.rationales, cue)
        draft: dict[str, object] = {
            "query": query,
            "found": found,
            "context": shown,
            "dropped": dropped,
            "cue": cue,
        }
        if prompt is None:
            self._draft = {"role": "reason", **draft, "cue": ""}
            self.keep(None, "")
            return None
        return (yield from self._generate(prompt, stop, "reason", shown, draft))

    def read(
        self,
        question: str,
        template: str,
        stop: Sequence[str],
        query: str | None = None,
        show_later: bool = False,
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
        prompt, shown, dropped = fit(
            source,
            [],
            question,
            lambda turns: build_prompt(template, question, turns, self.prompt, self.form),
            self.budget,
            append_only=False,
        )
        draft: dict[str, object] = {
            "query": query,
            "found": found,
            "context": shown,
            "dropped": dropped,
        }
        if prompt is None:
            self._draft = {"role": "read", **draft}
            self.keep(None, "")
            return None
        return (yield from self._generate(prompt, stop, "read", shown, draft))

    def keep(self, completion: Completion | None, rationale: str, cue: str = "") -> Step:
        """Write the step into the trace; a reasoning step's text stands in later prompts."""
        text = with_cue(cue, rationale)
        self.trace.add(completion, text, **self._draft)  # type: ignore[arg-type]
        self.rationales.append(text)
        return self.trace.steps[-1]

    def _fit(
        self, gathered: Gathered, rationales: Sequence[str], cue: str
    ) -> tuple[Prompt | None, tuple[Passage, ...], tuple[Passage, ...]]:
        def render(turns: Sequence[Turn]) -> Prompt:
            return build_prompt(
                self.template, self.trace.question, turns, self.prompt, self.form, cue
            )

        return fit(
            gathered,
            rationales,
            self.trace.question,
            render,
            self.budget,
            append_only=self.prompt.layout == "append_only",
        )

    def _generate(
        self,
        prompt: Prompt,
        stop: Sequence[str],
        role: StepRole,
        shown: tuple[Passage, ...],
        draft: dict[str, object],
    ) -> Generator[Action, object, Completion]:
        words = self.prompt.passage_words
        shortened = [p for p in shown if limit_words(p.text, words)[1]]
        self._draft = {"role": role, "shortened": shortened, **draft}
        found = cast("Sequence[Found]", draft["found"])
        action = Generate(
            step=len(self.trace.steps) + 1,
            role=role,
            prompt=prompt,
            stop=tuple(stop),
            max_tokens=self.settings.max_tokens,
            passages=shown,
            rationales=tuple(self.rationales),
            retrieved=frozenset((*self.trace.passages, *(f.passage.id for f in found))),
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
