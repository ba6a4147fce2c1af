"""Prompts and targets of a finished trajectory, made again as inference makes them.

In: a trajectory, its strategy's settings, and how the *student* is prompted. Out, for each step:
the prompt that `build_prompt` gives a student at that point, and the text that it should write.
The student's layout, demonstrations and form may differ from the teacher's; with the same ones the
prompts equal those that the teacher saw, segment by segment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from steper.errors import SettingsError
from steper.prompt.render import PromptSettings, Turn, build_prompt, target_lead
from steper.prompt.segments import Form, Prompt
from steper.prompt.words import TEMPLATES
from steper.records import Passage, Step, StopReason, Trajectory
from steper.strategy.ircot import ANSWER_CUE, read_answer
from steper.strategy.self_ask import FINAL_CUE, INTERMEDIATE_CUE, parse_piece
from steper.text import normalise_space, stated_answer, strip_full_stop

FORCED_CUES = (ANSWER_CUE, FINAL_CUE)


class Replay:
    """A finished trajectory as a student of form `form` would live through it.

    `strategy` is the run's fingerprint of the strategy: `name` and its settings. Raises
    SettingsError where `settings.layout` is one that the strategy does not have.
    """

    def __init__(
        self,
        trajectory: Trajectory,
        strategy: Mapping[str, Any],
        settings: PromptSettings,
        form: Form,
    ) -> None:
        self.trajectory = trajectory
        self.strategy = strategy
        self.settings = settings
        self.form: Form = form
        self.separate = separate_answerer(strategy)
        if self.separate and settings.layout == "append_only":
            raise SettingsError(
                "the run has a separate reader, which answers outside the prompt, so it needs "
                "layout=passages_first"
            )

    @cached_property
    def passages(self) -> dict[str, Passage]:
        """The trajectory's passages by id."""
        return {p.id: p for p in self.trajectory.passages}

    @cached_property
    def cues(self) -> dict[int, str]:
        """The cue on which a prompt of this form ends, by step index.

        It depends on who is prompted: Self-Ask's `Intermediate answer:` stands in the prompts of
        models that continue text and not in a chat's, whatever the teacher was.
        """
        inline = self.strategy["name"] == "self_ask" and not self.separate
        follow_up: str | None = None
        asked: set[str] = set()
        cues: dict[int, str] = {}
        for step in self.trajectory.steps:
            cues[step.index] = step.cue
            if not inline or step.role != "reason" or step.cue in FORCED_CUES:
                continue
            answers = follow_up is not None and self.form == "plain"
            cues[step.index] = INTERMEDIATE_CUE if answers else ""
            follow_up = parse_piece(step.rationale).follow_up
            if follow_up and normalise_space(follow_up) in asked:
                follow_up = None  # as in the strategy: it is not searched again
            asked.add(normalise_space(follow_up or ""))
        return cues

    def prompt(self, step: Step) -> Prompt:
        """The prompt at a step: P≤s, and R<s in front of it."""
        if step.role == "read":
            shown = [Turn(self._shown(step))]
            question = step.query or self.trajectory.question
            return build_prompt(self._reader, question, shown, self.settings, self.form)
        return self._build(self._turns(step), self.cues[step.index])

    def written(self, step: Step) -> str | None:
        """What is to be written after `prompt(step)`, with the white space before it.

        A rationale without the cue that already stands in the prompt. A separate reader's answer is
        the model's own text (`reader_cot`) or the answer read from it (`reader_direct`). None where
        the step cannot be written from that prompt: it is empty, or does not begin with the cue.
        """
        cue = self.cues[step.index]
        text = self._read_text(step) if step.role == "read" else step.rationale
        if cue:
            if not text.lower().startswith(cue.lower()):
                return None
            text = text[len(cue) :].strip()
        if not text:
            return None
        template = self._reader if step.role == "read" else self.strategy["name"]
        return target_lead(template, self.settings, self.form, cue) + text

    def prompt_without_reasoning(self, passages: Sequence[Passage]) -> Prompt:
        """The prompt of a first step that has all `passages`: (q, P)."""
        return self._build([Turn(tuple(passages))], "")

    def written_up_to(self, step: Step) -> str | None:
        """All rationales R≤s in a row, as the layout joins them, after `prompt_without_reasoning`.

        After the last step, what a separate reader answered is stated as the strategy would. None
        where there is no text.
        """
        steps = self.trajectory.steps[: step.index]
        if step.role == "read" and not self.separate:
            told = [s.rationale for s in steps[:-1] if stated_answer(s.rationale) is None]
            told.append(f"{ANSWER_CUE} {strip_full_stop(self.trajectory.answer)}.")
        else:
            told = [s.rationale for s in steps]
        name = self.strategy["name"]
        text = TEMPLATES[name].lead.join(t for t in told if t)
        return target_lead(name, self.settings, self.form) + text if text else None

    def gathered(self, step: Step) -> tuple[Passage, ...]:
        """The passages that a step sees; where a separate reader answers, all shown until then."""
        if not self.separate:
            return self._shown(step)
        steps = self.trajectory.steps[: step.index]
        return tuple(self.passages[i] for i in dict.fromkeys(i for s in steps for i in s.context))

    def repeats(self, step: Step) -> bool:
        """Whether a reasoning step asks or tells again what an earlier one did (its next query)."""
        if step.role != "reason" or step.cue in FORCED_CUES:
            return False
        before = [s for s in self.trajectory.steps[: step.index - 1] if s.role == "reason"]
        own = self._asks(step)
        searched = {normalise_space(s.query) for s in (*before, step) if s.query}
        if own and (own in searched or own in {self._asks(s) for s in before}):
            return True
        after = self.trajectory.steps[step.index :]
        stopped = self.trajectory.stop_reason is StopReason.REPEATED_QUERY
        return stopped and all(s.role == "read" or s.cue in FORCED_CUES for s in after)

    def _asks(self, step: Step) -> str:
        if self.strategy["name"] == "self_ask":
            return normalise_space(parse_piece(step.rationale).follow_up or "")
        return normalise_space(step.rationale)

    @property
    def _reader(self) -> str:
        """The template of the separate reader (IRCoT's final one, or Self-Ask's answerer)."""
        return "reader_cot" if self.strategy.get("reader") == "cot" else "reader_direct"

    def _read_text(self, step: Step) -> str:
        text = step.raw.strip()
        if self._reader == "reader_cot":
            return text
        return read_answer(text, "direct", StopReason.ANSWERED).answer

    def _build(self, turns: Sequence[Turn], cue: str) -> Prompt:
        question, name = self.trajectory.question, self.strategy["name"]
        return build_prompt(name, question, turns, self.settings, self.form, cue)

    def _shown(self, step: Step) -> tuple[Passage, ...]:
        return tuple(self.passages[i] for i in step.context)

    def _turns(self, step: Step) -> list[Turn]:
        """The turns up to a step. In `append_only`, each has the passages not shown before it."""
        *earlier, _ = steps = self.trajectory.steps[: step.index]
        if self.settings.layout == "passages_first":
            return [*(Turn((), s.rationale) for s in earlier), Turn(self._shown(step))]
        turns: list[Turn] = []
        seen: set[str] = set()
        for each in steps:
            new = tuple(p for p in self._shown(each) if p.id not in seen)
            seen.update(p.id for p in new)
            turns.append(Turn(new, "" if each is step else each.rationale))
        return turns


def separate_answerer(strategy: Mapping[str, Any]) -> bool:
    """Whether the run is Self-Ask whose follow-ups a separate reader answers."""
    return bool(strategy["name"] == "self_ask" and strategy.get("reader", "none") != "none")
