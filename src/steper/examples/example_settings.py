"""Settings of examples: the one place where their defaults and descriptions stand."""

from __future__ import annotations

from pydantic import Field

from steper.prompt.render import DemoSteps, Layout, PromptSettings, Reasoning
from steper.prompt.segments import Form
from steper.recipes import EndOfTurn, Inference, Target
from steper.recipes.base import PairsAt
from steper.recipes.labels import Labels
from steper.records import GrownRecord
from steper.store import validated


class ExampleSettings(GrownRecord):
    """What examples are made, and how the student is prompted."""

    later = (
        "seed",
        "reasoning",
        "end_of_turn",
        "demo_steps",
        "questions",
        "labels",
        "embedder",
        "pairs_at",
    )

    recipe: str = Field("steper", description="what a trajectory becomes; see steper.recipes")
    target: Target = Field(
        "current",
        description="current: a step's own rationale, after the earlier ones (what inference asks "
        "for); cumulative: all rationales up to it, as in StepER's equations",
    )
    form: Form = Field("chat", description="chat: the student's chat template; plain: plain text")
    reasoning: Reasoning | None = Field(
        None,
        description="how the reasoning so far is shown (none: as the recipe has it for the target, "
        "else as the run): in the user's turn; assistant: the student continues its own turn; "
        "anew: not at all, the student writes all of it",
    )
    end_of_turn: EndOfTurn = Field(
        "every_step",
        description="where the student learns to end its turn: after every step (stop and "
        "search; not where the next one goes on in the same turn on the same passages), or after "
        "the last one alone, for inference that cuts its steps",
    )
    layout: Layout | None = Field(None, description="layout of the prompts (none: the run's own)")
    instruction: bool | None = Field(
        None, description="begin with the strategy's instruction (none: as the run does)"
    )
    demos: int = Field(0, ge=0, description="few-shot demonstrations in the student's prompts")
    demo_steps: DemoSteps | None = Field(
        None, description="steps at which a demonstration is shown (none: as the run has it)"
    )
    passage_words: int | None = Field(
        None, ge=1, description="words of a passage that a prompt shows (none: the run's own)"
    )
    seed: int = Field(0, ge=0, description="seed of recipes that draw at random")
    questions: int | None = Field(
        None,
        ge=1,
        description="learn from the trajectories of so many questions (none: of all): the first in "
        "an order by `seed`, so that fewer are always among more",
    )
    pairs_at: PairsAt = Field(
        "first",
        description="of preference pairs, the states of a failed trajectory that give one: the "
        "first at which student and teacher differ, or all such states, those that stand on an "
        "earlier mistake, too",
    )
    labels: Labels = Field(
        "auto",
        description="where recipes that need to know which passages are relevant have it from: "
        "gold passages, names and numbers looked up (lexical), an embedding model, a judge; auto: "
        "gold where it is known, else lexical",
    )
    embedder: str = Field(
        "sentence-transformers/all-MiniLM-L6-v2",
        description="model of labels=embedding, for sentence-transformers: a folder or hub name",
    )

    def prompt(self, teacher: PromptSettings, inference: Inference | None = None) -> PromptSettings:
        """The student's prompt settings, given those of the run and the recipe's own."""
        own = {
            "layout": self.layout,
            "reasoning": self.reasoning,
            "instruction": self.instruction,
            "demos": self.demos,
            "demo_steps": self.demo_steps,
            "passage_words": self.passage_words,
        }
        given = {k: v for k, v in own.items() if v is not None}
        if inference is None:
            return teacher.model_copy(update=given)
        values = {**teacher.model_dump(), **inference.prompt, **given}
        return validated(PromptSettings, values)
