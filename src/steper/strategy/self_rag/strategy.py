"""Self-RAG's inference in several segments, each over one passage of a search of its own.

At each segment the model decides whether to retrieve. The query is the question, then what the
segment before stated. Each passage found is read by itself, and the best-scored segment stays.

Differs from the paper: one segment is kept, not a beam of two; later queries are statements alone,
as IRCoT's are, so that the passages are those of a multi-step method; passages that an earlier
search found, and that no segment kept, are read again (`read: gathered`), because the second half
of a comparison stands among those that the question found.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from pydantic import Field

from steper.lm.base import Completion
from steper.prompt.render import Turn
from steper.prompt.segments import Prompt, Segment
from steper.prompt.words import Demo, DemoTurns, Words
from steper.records import Passage, StopReason
from steper.retrieve.base import Found
from steper.store import package_text
from steper.strategy.actions import Action, Actions, Generate, Search
from steper.strategy.base import StepSettings, Strategy
from steper.strategy.context import Gathered
from steper.strategy.self_rag.reflection import (
    CONTINUE,
    DECISIONS,
    FULL,
    JUDGEMENTS,
    RELEVANT,
    UTILITY,
    decided,
    ends,
    likelihood,
    relevance,
    statement_of,
    support,
    utility,
    with_paragraph,
)
from steper.strategy.stated_answer import stated_answer
from steper.strategy.trace import Ending, Trace

Sub = Generator[Action, "list[Found] | Completion", "tuple[str, ...] | None"]


class SelfRagSettings(StepSettings):
    """Settings of Self-RAG; weights and threshold are the authors'."""

    max_steps: int = Field(5, ge=1, description="segments at most")
    read: Literal["gathered", "found"] = Field(
        "gathered",
        description="passages that a segment is tried over: those just found and those found "
        "earlier that no segment kept; or those just found (the paper's)",
    )
    retrieve_above: float = Field(
        0.2, ge=0, le=1, description="retrieve where its probability is above this (δ)"
    )
    w_rel: float = Field(1.0, description="weight of a passage's relevance in a segment's score")
    w_sup: float = Field(1.0, description="weight of the passage's support of the statement")
    w_use: float = Field(0.5, description="weight of the text's utility")
    sequence_score: bool = Field(
        True, description="add how probable the segment is, the mean over its tokens"
    )
    force_answer: bool = Field(
        True, description="where no segment states an answer, ask once more for the answer alone"
    )


def demonstrate(demo: Demo) -> DemoTurns:
    """All segments at once."""
    text = ""
    for hop in demo.hops:
        passages = demo.passages()
        read = next((p for p in passages if hop.sentence in demo.told_by(p)), passages[0])
        text += "".join((*with_paragraph(read, 350), f"{RELEVANT} {hop.sentence}{FULL}"))
    return [((), f"{text}{CONTINUE} So the answer is: {demo.answer}.{UTILITY[-1]}")]


@dataclass
class Shelf:
    """Passages found so far, newest search first, and the ids of those that segments kept."""

    settings: SelfRagSettings
    passages: list[Passage] = field(default_factory=list)
    kept: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._gathered = Gathered(self.settings)

    def take(self, found: Sequence[Found]) -> list[Passage]:
        """What the next segment is tried over: what was found within a loop's limits, also where
        it was found before, then what was found before and not kept.
        """
        self._gathered.add(found)
        within = {passage.id for passage in self._gathered.all}
        new = [hit.passage for hit in found if hit.passage.id in within]
        earlier = [p for p in self.passages if p not in new]
        self.passages = [*new, *earlier]
        gathered = self.settings.read == "gathered"
        return [*new, *(p for p in earlier if gathered and p.id not in self.kept)]


class SelfRag(Strategy[SelfRagSettings]):
    """Retrieve, generate and critique by reflection tokens (Asai et al., 2024)."""

    name = "self_rag"
    settings_type = SelfRagSettings
    # Reflection tokens stand where the turn begins, without a space.
    words = Words("self_rag", package_text(__package__, "instruction.txt"), demonstrate, lead="")

    def run(self, trace: Trace) -> Actions:
        """The loop; see `steper.strategy.base.Strategy`."""
        written: tuple[str, ...] = ()
        query, shelf = trace.question, Shelf(self.settings)
        for _ in range(self.settings.max_steps):
            segment = yield from self._segment(trace, written, query, shelf)
            if segment is None:
                return Ending("", StopReason.CONTEXT_BUDGET)
            statement = statement_of(segment[-1])
            answer = stated_answer(statement)
            if answer:
                return Ending(answer, StopReason.ANSWERED)
            if not statement:
                return (yield from self._forced(trace, written, StopReason.EMPTY_GENERATION))
            written += segment
            if ends(segment[-1]):
                return (yield from self._forced(trace, written, StopReason.NO_MARKER))
            query = statement
        return (yield from self._forced(trace, written, StopReason.STEP_CAP))

    def _segment(self, trace: Trace, written: tuple[str, ...], query: str, shelf: Shelf) -> Sub:
        """The pieces of the next segment, the model's own text last; None where no room is."""
        decision = yield from self._write(trace, written, max_tokens=1, of=DECISIONS)
        if decision is None:
            return None
        retrieve, otherwise = decided(decision, bool(written))
        # One token was asked for, so no limit cut it; and it states nothing.
        trace.add(decision.model_copy(update={"finish": "stop"}), statement_of(decision.text))
        trace.discard(trace.steps[-1:])
        searched: dict[str, Any] = {}
        if retrieve > self.settings.retrieve_above:
            found = cast("list[Found]", (yield Search(query, self.settings.k)))
            tried = shelf.take(found)
            opened = {p.id: with_paragraph(p, self.prompt.passage_words) for p in tried}
            fits = {p.id for p in tried if self._prompt(trace, (*written, *opened[p.id]))}
            dropped = [p for p in tried if p.id not in fits]
            searched = {"query": query, "found": found, "dropped": dropped}
            if fits:
                read = [(p, opened[p.id]) for p in tried if p.id in fits]
                return (yield from self._best(trace, written, read, shelf, searched))
        completion = yield from self._write(trace, (*written, otherwise))
        if completion is None:
            return None
        trace.add(completion, statement_of(completion.text), **searched)
        return otherwise, f" {completion.text.strip()}"

    def _best(
        self,
        trace: Trace,
        written: tuple[str, ...],
        read: Sequence[tuple[Passage, Sequence[str]]],
        shelf: Shelf,
        searched: dict[str, Any],
    ) -> Sub:
        """The best-scored segment of those that each read one passage."""
        scored: list[tuple[float, Passage, tuple[str, ...]]] = []
        for passage, opened in read:
            written_so = self._write(trace, (*written, *opened), passage)
            completion = cast(Completion, (yield from written_so))
            said = statement_of(completion.text)
            # The search stands in the first step that comes of it.
            trace.add(completion, said, context=[passage], **({} if scored else searched))
            text = completion.text.strip()
            scored.append((self.score(completion), passage, (*opened, text)))
        best = max(range(len(scored)), key=lambda place: scored[place][0])
        _, kept, pieces = scored[best]
        candidates = trace.steps[-len(scored) :]
        trace.discard(step for place, step in enumerate(candidates) if place != best)
        shelf.kept.add(kept.id)
        return pieces

    def score(self, completion: Completion) -> float:
        """A segment's score: exp(mean log p) + w_rel s_rel + w_sup s_sup + w_use s_use."""
        own, tokens = self.settings, completion.token_logprobs
        judged = own.w_rel * relevance(tokens) + own.w_sup * support(tokens)
        score = judged + own.w_use * utility(tokens)
        return score + likelihood(tokens) if own.sequence_score else score

    def _forced(self, trace: Trace, written: tuple[str, ...], reason: StopReason) -> Actions:
        """Ask for the answer alone, where that is wanted."""
        if not self.settings.force_answer:
            return Ending("", reason)
        begun = (*written, CONTINUE, f" {self.final_cue}")
        completion = yield from self._write(trace, begun, cue=self.final_cue)
        if completion is None:
            return Ending("", StopReason.CONTEXT_BUDGET)
        text = f"{self.final_cue} {statement_of(completion.text)}"
        trace.add(completion, text, cue=self.final_cue)
        answer = stated_answer(text) or ""
        forced = reason is StopReason.STEP_CAP and answer
        return Ending(answer, StopReason.FORCED if forced else reason)

    def _write(
        self,
        trace: Trace,
        pieces: Sequence[str],
        passage: Passage | None = None,
        max_tokens: int | None = None,
        of: tuple[str, ...] = JUDGEMENTS,
        cue: str = "",
    ) -> Generator[Action, list[Found] | Completion, Completion | None]:
        """What the model writes after these pieces; None where they have no room."""
        prompt = self._prompt(trace, pieces)
        if prompt is None:
            return None
        action = Generate(
            step=len(trace.steps) + 1,
            role="reason",
            prompt=prompt,
            stop=(*DECISIONS, "\n\n") if max_tokens is None else (),
            max_tokens=max_tokens or self.settings.max_tokens,
            passages=(passage,) if passage else (),
            retrieved=frozenset(trace.passages),
            cue=cue,
            logprobs=of,
        )
        return cast(Completion, (yield action))

    def _prompt(self, trace: Trace, pieces: Sequence[str]) -> Prompt | None:
        """The question and these pieces of the assistant's turn; None where they have no room."""
        asked = self.render(trace.question, [Turn()])
        begun = tuple(Segment("assistant", piece) for piece in pieces)
        prompt = Prompt(asked.form, (*asked.segments, *begun))
        return prompt if self.budget.fits(prompt) else None
