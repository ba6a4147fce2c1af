"""The one renderer: teacher, trainer and student get their prompts from `build_prompt` alone.

Two layouts:

- `passages_first` (IRCoT's and StepER's): all passages, then the question, then the reasoning so
  far. It stands in the user's turn (`reasoning: user`), or begins the assistant's turn, which the
  model continues (`assistant`): there it is the model's own text, as in StepER's
  p(r_s | q, P≤s, R<s), and in Vanilla-KD's target R≤S‖a. Not every server continues a turn. Or it
  is not shown and the model writes all of it anew (`anew`), as in StepER's losses:
  M(q, P≤s) → R≤s. A forced answer continues what stands in both.
- `append_only`: question, P1, r1, P2, r2, … as turns. Nothing before the cursor ever changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, model_validator

from steper.prompt.segments import Form, Prompt, Role, Segment
from steper.prompt.words import Shown, Words
from steper.records import GrownRecord, Passage
from steper.text import limit_words

Layout = Literal["passages_first", "append_only"]
Reasoning = Literal["user", "assistant", "anew"]
DemoSteps = Literal["first_middle_last", "all", "chain"]

NO_NEW_PASSAGES = "No new passages."


class PromptSettings(GrownRecord):
    """What a prompt looks like; teacher, training and student must share it."""

    later = ("reasoning",)

    layout: Layout = Field(
        "passages_first",
        description="passages_first: all passages, then question and reasoning (IRCoT's); "
        "append_only: question, P1, r1, P2, r2, … as turns",
    )
    reasoning: Reasoning = Field(
        "user",
        description="with passages first, how the reasoning so far is shown: in the user's turn; "
        "as the beginning of the assistant's, which the model continues; or not at all: the model "
        "writes all of it anew, and what was not said before is the step's",
    )
    instruction: bool = Field(True, description="begin with the strategy's instruction")
    demos: int = Field(3, ge=0, description="few-shot demonstrations in front (0: none)")
    demo_steps: DemoSteps = Field(
        "first_middle_last",
        description="with passages first, the steps at which a demonstration is shown, each as "
        "the model is asked there; chain: its whole reasoning in one (IRCoT's own prompts)",
    )
    passage_words: int = Field(350, ge=1, description="words of a passage that a prompt shows")

    @model_validator(mode="after")
    def _turns_stay(self) -> PromptSettings:
        if self.written_anew and self.layout == "append_only":
            raise ValueError(
                "reasoning=anew (target=cumulative takes it) leaves earlier reasoning out of the "
                "prompt, and append_only has it there as turns; use layout=passages_first, or "
                "reasoning=user and target=current"
            )
        return self

    @property
    def written_anew(self) -> bool:
        """Whether a step's text is all of the reasoning up to it."""
        return self.reasoning == "anew"

    def one_text(self, form: Form) -> bool:
        """Whether a step's text goes on with that of the steps before, in one turn."""
        return self.layout == "passages_first" and (form == "plain" or self.reasoning != "user")

    def unwritten(self) -> dict[str, Any]:
        """Before there was a choice the chain was shown; without demonstrations it says nothing."""
        return {**super().unwritten(), "demo_steps": "chain" if self.demos else self.demo_steps}


def recorded_prompt(values: Any) -> Any:
    """Prompt settings as a manifest holds them, made complete; see `PromptSettings.unwritten`."""
    shown = isinstance(values, Mapping) and values.get("demos")
    return {"demo_steps": "chain", **values} if shown else values


@dataclass(frozen=True, slots=True)
class Turn:
    """The passages that arrive at a step and, when it is over, the text that was kept of it."""

    passages: tuple[Passage, ...] = ()
    rationale: str = ""


def passage_block(passage: Passage, words: int) -> str:
    """`Wikipedia Title: T` and the text's first `words` words below it (IRCoT's form)."""
    return f"Wikipedia Title: {passage.title}\n{limit_words(passage.text, words)[0]}"


def build_prompt(
    words: Words,
    question: str,
    turns: Sequence[Turn],
    settings: PromptSettings,
    form: Form,
    cue: str = "",
) -> Prompt:
    """The prompt, in these words, after which the model writes the last turn's rationale.

    `turns[:-1]` are finished; `turns[-1]` has its passages and no rationale yet. `cue` is the
    beginning of that rationale where the strategy prescribes it ("So the answer is:").
    """
    segments: list[Segment] = []
    if settings.instruction:
        segments.append(_instruction(words, settings, form))
    for demo in words.demonstrated(settings.demos):
        segments.extend(_demo(words, demo, settings, form))
    segments.extend(_task(words, question, turns, settings, form, cue))
    if cue:
        segments.append(_cue(words, cue, segments[-1].role, settings, form))
    return Prompt(form, tuple(segments))


def target_lead(
    words: Words, settings: PromptSettings, form: Form, cue: str = "", begun: bool = False
) -> str:
    """What stands between the prompt's end and the text that the model writes.

    Nothing where a chat's turn begins; else, and where the assistant's turn has `begun`, the white
    space that the model itself writes first.
    """
    if form == "chat" and not begun:
        return ""
    return " " if cue else _lead(words, settings)


def _lead(words: Words, settings: PromptSettings) -> str:
    return words.turn_lead if settings.layout == "append_only" else words.lead


def _cue(words: Words, cue: str, after: Role, settings: PromptSettings, form: Form) -> Segment:
    """The cue: the beginning of the assistant's turn, or the end of the user's."""
    if settings.reasoning != "user" and (form == "chat" or settings.layout == "passages_first"):
        begun = form == "plain" or after == "assistant"
        return Segment("assistant", (words.lead if begun else "") + cue)
    apart = form == "chat" and settings.layout == "append_only"
    return Segment("user", ("\n\n" if apart else _lead(words, settings)) + cue)


def _instruction(words: Words, settings: PromptSettings, form: Form) -> Segment:
    text = words.instruct(settings.written_anew)
    return Segment("system", text + ("\n\n\n" if form == "plain" else ""))


def _blocks(passages: Sequence[Passage], settings: PromptSettings) -> str:
    return "\n\n".join(passage_block(p, settings.passage_words) for p in passages)


def _task(
    words: Words,
    question: str,
    turns: Sequence[Turn],
    settings: PromptSettings,
    form: Form,
    cue: str = "",
) -> list[Segment]:
    if settings.layout == "append_only":
        return _append_only(words, question, turns, settings, form)
    passages = [p for turn in turns for p in turn.passages]
    told = [turn.rationale for turn in turns[:-1] if turn.rationale]
    shown = words.show([passage_block(p, settings.passage_words) for p in passages])
    asked = shown + words.head.format(question=question) + words.cue
    if settings.reasoning == "user":
        return [Segment("user", asked + "".join(words.lead + text for text in told))]
    if settings.written_anew and not cue:
        return [Segment("user", asked)]
    # A segment a step, as a target has them, so that both have the same token ids.
    begun = in_a_row(words, told, target_lead(words, settings, form))
    return [Segment("user", asked), *(Segment("assistant", text) for text in begun)]


def in_a_row(words: Words, told: Sequence[str], lead: str) -> list[str]:
    """Pieces of reasoning as one text goes on through them; `lead` precedes the first."""
    return [(words.lead if number else lead) + text for number, text in enumerate(told)]


def _append_only(
    words: Words, question: str, turns: Sequence[Turn], settings: PromptSettings, form: Form
) -> list[Segment]:
    plain = form == "plain"
    segments: list[Segment] = []
    for number, turn in enumerate(turns):
        text = _blocks(turn.passages, settings)
        if number == 0:
            head = words.head.format(question=question)
            text = f"{head}\n\n{text}" if text else head
        else:
            text = ("\n\n" if plain else "") + (text or NO_NEW_PASSAGES)
        segments.append(Segment("user", text + (words.turn_cue if plain else "")))
        if number < len(turns) - 1:
            lead = target_lead(words, settings, form)
            segments.append(Segment("assistant", lead + turn.rationale))
    return segments


def _demo(words: Words, demo: Shown, settings: PromptSettings, form: Form) -> Iterator[Segment]:
    """A demonstration as the model is asked: at single steps (P≤s, R<s → r_s), or in turns."""
    turns = [Turn(passages, text) for passages, text in demo.turns]
    for shown in _shown(words, turns, settings):
        asked = _task(words, demo.question, shown, settings, form)
        lead = target_lead(words, settings, form, begun=asked[-1].role == "assistant")
        written = shown if settings.written_anew else shown[-1:]
        yield from asked
        yield Segment("assistant", lead + words.lead.join(turn.rationale for turn in written))
        if form == "plain":
            yield Segment("user", "\n\n\n")


def _shown(words: Words, turns: list[Turn], settings: PromptSettings) -> list[list[Turn]]:
    """Each prompt that a demonstration makes: its turns, the last with what is written then."""
    if settings.layout == "append_only":
        return [turns]
    if settings.demo_steps == "chain":
        whole = words.lead.join(turn.rationale for turn in turns)
        return [[Turn(tuple(p for turn in turns for p in turn.passages), whole)]]
    written = range(0, len(turns), 2 if words.reads_apart else 1)
    steps = set(written)
    if settings.demo_steps == "first_middle_last":
        steps = {written[0], written[len(written) // 2], written[-1]}
    return [turns[: at + 1] for at in sorted(steps)]
