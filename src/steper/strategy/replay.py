"""A finished trajectory, lived through again by the generator of the student that learns from it.

In: a trajectory, and its strategy as the *student* will be asked: in its form, layout, with its
demonstrations. The strategy's own generator runs on the recorded searches and texts, so a training
prompt is what inference would ask; there is no second way to make one. With the teacher's form and
prompts the requests equal those that the teacher saw, segment by segment.

A student's own form or settings can make the generator ask for something else than was recorded. It
is given the recorded results all the same, and every such difference is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from steper.lm.base import Completion
from steper.prompt.render import Turn, in_a_row
from steper.prompt.segments import Prompt
from steper.records import Passage, Step, StopReason, Trajectory
from steper.retrieve.base import Found
from steper.strategy.actions import Generate, Search
from steper.strategy.base import Strategy
from steper.strategy.loop import with_cue
from steper.strategy.trace import Trace
from steper.text import normalise_space

DIVERGED = {
    "other_query": "the student's strategy searches for something else than was recorded",
    "other_passages": "its prompts show other passages",
    "other_text": "it keeps another part of what was written",
    "goes_on": "it would go on where the record ends",
    "ends_early": "it ends before the record does",
}
"""How a student can differ from the record that it learns from, in words."""


@dataclass
class RecordedTrace(Trace):
    """A trace whose prompts show the passages that the recorded ones showed."""

    past: Sequence[Step] = ()

    def recorded(self) -> frozenset[str] | None:
        """The ids of the recorded step's context."""
        index = len(self.steps)
        return frozenset(self.past[index].context) if index < len(self.past) else None


def recorded_reply(
    action: Search | Generate, past: Step, passages: Mapping[str, Passage]
) -> list[Found] | Completion:
    """What a record says came of a step's search or generation; `passages` are its own by id."""
    if isinstance(action, Search):
        return [Found(passages[hit.passage_id], hit.score) for hit in past.hits]
    # A cue that stood in the recorded prompt is text where this prompt has none.
    text = past.raw if action.cue == past.cue else with_cue(past.cue, past.raw)
    return Completion(text=text, finish=past.finish, usage=past.usage, thoughts=past.thoughts)


@dataclass
class Replay:
    """A finished trajectory as the student of `strategy` would live through it.

    `steps` are the student's own, `requests` what it is asked at each, by step index; `diverged`
    counts by reason where that differs from the record.
    """

    trajectory: Trajectory
    strategy: Strategy[Any]
    steps: tuple[Step, ...] = field(default=(), repr=False)
    requests: dict[int, Generate] = field(default_factory=dict, repr=False)
    diverged: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        trace = RecordedTrace(self.trajectory.question, past=self.trajectory.steps)
        actions = self.strategy.run(trace)
        reply: Any = None
        try:
            while True:
                action = actions.send(reply)
                past = self._past(len(trace.steps))
                if past is None or (isinstance(action, Generate) and not past.generated):
                    self._goes_on(action, past)
                    break
                reply = self._reply(action, past)
        except StopIteration:
            self.diverged["ends_early"] += len(trace.steps) < len(self.trajectory.steps)
        actions.close()
        last = len(self.trajectory.steps)
        self.steps = tuple(
            new.model_copy(update={"kind": old.kind})
            for new, old in zip(trace.steps[:last], self.trajectory.steps, strict=False)
        )
        for new, old in zip(self.steps, self.trajectory.steps, strict=False):
            self.diverged["other_text"] += new.rationale != old.rationale
        self.diverged = +self.diverged

    def _goes_on(self, action: Search | Generate, past: Step | None) -> None:
        """More is asked for than was recorded: expected after the one step of a labelled state."""
        if self.trajectory.stop_reason is not StopReason.ONE_STEP:
            self.diverged["goes_on"] += past is None
        elif isinstance(action, Generate):
            self.requests[action.step] = action

    def _past(self, index: int) -> Step | None:
        steps = self.trajectory.steps
        return steps[index] if index < len(steps) else None

    def _reply(self, action: Search | Generate, past: Step) -> list[Found] | Completion:
        """The recorded result of the step, whatever exactly is asked for."""
        if isinstance(action, Search):
            self.diverged["other_query"] += action.query != past.query
        else:
            self.requests[action.step] = action
            self.diverged["other_passages"] += tuple(p.id for p in action.passages) != past.context
        return recorded_reply(action, past, self.passages)

    @cached_property
    def passages(self) -> dict[str, Passage]:
        """The trajectory's passages by id."""
        return {p.id: p for p in self.trajectory.passages}

    def prompt(self, step: Step) -> Prompt:
        """What the student is asked at a step: P≤s, and R<s in front of what it writes."""
        return self.requests[step.index].prompt

    def written(self, step: Step) -> str | None:
        """What is to be written after `prompt(step)`, with the white space before it.

        A rationale without the cue that already stands in the prompt; of a separate reader's text
        what its student learns. None where the step cannot be written from that prompt: it is
        empty, or the recorded text does not begin with the cue.
        """
        request, past = self.requests[step.index], self.trajectory.steps[step.index - 1]
        if request.reader is not None:
            text = request.reader.taught(past.raw)
            return self.strategy.lead(words=request.reader.words) + text if text else None
        text = step.rationale
        if request.cue:
            said = with_cue(past.cue, past.raw)
            if not said.lower().startswith(request.cue.lower()):
                return None
            text = text[len(request.cue) :].strip()
        return self.strategy.lead(request.cue, request.prompt.begun) + text if text else None

    def prompt_without_reasoning(self, passages: Sequence[Passage]) -> Prompt:
        """The prompt of a first step that has all `passages`: (q, P)."""
        return self.strategy.render(self.trajectory.question, [Turn(tuple(passages))])

    def written_up_to(self, step: Step) -> str | None:
        """All rationales R≤s in a row, as the layout joins them, after `prompt_without_reasoning`.

        After the last step, what a separate reader answered is stated as the strategy would. None
        where there is no text.
        """
        return "".join(self.pieces_up_to(step)) or None

    def pieces_up_to(self, step: Step) -> tuple[str, ...]:
        """`written_up_to` in pieces, each with the white space before it: one a step.

        A prompt that shows earlier reasoning has it in the same pieces; one that ends on a cue
        has that as a piece of its own.
        """
        told = self.strategy.told(self.steps[: step.index], self.trajectory.answer)
        cues = {request.cue for request in self.requests.values() if request.cue}
        pieces: list[str] = []
        lead = self.strategy.lead()
        for text in in_a_row(self.strategy.words, [t for t in told if t], lead):
            cue = next((c for c in cues if text.lstrip().startswith(c)), "")
            end = text.find(cue) + len(cue)
            pieces += [piece for piece in (text[:end], text[end:]) if piece]
        return tuple(pieces)

    def goes_on(self, step: Step) -> bool:
        """Whether the next step's text continues that of `step`, in one turn on the same passages.

        An end of turn learnt between the two would contradict what is learnt of the next step.
        """
        here, following = self.requests.get(step.index), self.requests.get(step.index + 1)
        if here is None or following is None or {here.role, following.role} != {"reason"}:
            return False
        one_text = self.strategy.prompt.one_text(self.strategy.form)
        return one_text and here.passages == following.passages

    def gathered(self, step: Step) -> tuple[Passage, ...]:
        """The passages that a step sees; where a separate reader answers, all shown until then."""
        steps = self.steps[: step.index] if self.strategy.reads_apart else (step,)
        return tuple(self.passages[i] for i in dict.fromkeys(i for s in steps for i in s.context))

    def forced(self, step: Step) -> bool:
        """Whether a step's answer was asked for by force."""
        return step.cue == self.strategy.final_cue

    def repeats(self, step: Step) -> bool:
        """Whether a reasoning step asks or tells again what an earlier one did (its next query).

        Only what the step goes on from counts: a strategy may begin anew and say the same, better
        founded.
        """
        if step.role != "reason" or self.forced(step):
            return False
        asks, request = self.strategy.asks, self.requests.get(step.index)
        said = request.rationales if request else ()
        earlier = self.steps[: step.index - 1]
        before = [s for s in earlier if s.role == "reason" and s.rationale in said]
        own = asks(step.rationale)
        searched = {normalise_space(s.query) for s in (*before, step) if s.query}
        if own and (own in searched or own in {asks(s.rationale) for s in before}):
            return True
        if step.rationale and step.rationale in {s.rationale for s in before}:
            return True
        after = self.steps[step.index :]
        stopped = self.trajectory.stop_reason is StopReason.REPEATED_QUERY
        return stopped and all(s.role == "read" or self.forced(s) for s in after)
