"""The records that stages hand each other: typed, frozen, versioned, validated when read.

A trajectory is self-contained: it carries the passages that its steps retrieved, so whatever comes
after the teacher (examples, evaluation, viewer) needs neither index nor corpus.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from enum import Enum
from reprlib import repr as short
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from steper.text import brief, says_nothing, snippet, without_surrogates

SCHEMA_VERSION: Literal[1] = 1

Benchmark = Literal["hotpotqa", "2wikimultihopqa", "musique", "generic"]

Text = Annotated[str, AfterValidator(without_surrogates)]
"""A text from outside: half a character in it, which no file can hold, becomes �."""

StepKind = Literal["init", "exp", "agg"]
"""Reasoning initialization (first step), expansion (middle), aggregation (last); StepER §3."""

Finish = Literal["stop", "length"]
"""Why a generation ended: by itself or at a stop string, or cut off at the token limit."""

StepRole = Literal["reason", "read"]
"""`reason`: the strategy's own next piece of reasoning. `read`: a separate reader's answer."""


class Record(BaseModel):
    """Base of all records: frozen, unknown fields refused.

    `repr` and `str` are one short line; `model_dump()` and rich's `print` show everything.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __repr__(self) -> str:
        return brief(type(self).__name__, *self._brief())

    def __str__(self) -> str:
        return repr(self)

    def _brief(self) -> Iterable[str]:
        """What stands between the brackets of `repr`: the fields that are not their default."""
        fields = type(self).model_fields
        return (f"{key}={short(value)}" for key, value in self if value != fields[key].default)


class GrownRecord(Record):
    """A record with fields that came `later`: at their defaults they are left out of its JSON.

    So what was made before there were such fields compares as equal to what would be made now.
    """

    later: ClassVar[tuple[str, ...]] = ()

    def unwritten(self) -> dict[str, Any]:
        """Values by field that go without saying."""
        return {name: type(self).model_fields[name].default for name in self.later}

    @model_serializer(mode="wrap", when_used="json")
    def _without_later_defaults(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = dump(self)
        left_out = self.unwritten()
        unsaid = {k for k, default in left_out.items() if getattr(self, k) == default}
        return {k: v for k, v in values.items() if k not in unsaid}


def passage_id(title: str, text: str) -> str:
    """Content id of a passage: the same title and text have the same id in every corpus."""
    known = without_surrogates(f"{title}\n{text}")
    return hashlib.sha256(known.encode()).hexdigest()[:16]


class Passage(Record):
    """A retrievable unit of text; `id` is the corpus's own or `passage_id(title, text)`."""

    id: Text
    title: Text
    text: Text

    @classmethod
    def make(cls, title: str, text: str) -> Passage:
        """A passage with its content id."""
        return cls(id=passage_id(title, text), title=title, text=text)

    def _brief(self) -> Iterable[str]:
        return repr(snippet(self.title, 30)), repr(snippet(self.text, 50))


class Hop(Record):
    """One hop of a question's gold annotation.

    `question` may refer to earlier hops' answers as `#1`, `#2`, … (MuSiQue); 2Wiki gives the triple
    `subject`, `relation` and `answer` instead; HotpotQA only `fact`, the supporting sentence, with
    no answer of its own (""). `passage_id` is the gold passage that states it.
    """

    answer: str
    question: str | None = None
    subject: str | None = None
    relation: str | None = None
    fact: str | None = None
    passage_id: str | None = None


class Question(Record):
    """A question with its gold annotation, as far as the benchmark has one.

    `answers[0]` is the official answer, the rest are accepted aliases; a question without answers
    can be taught but not scored. A blank answer or "-" is none: an empty prediction would meet it.
    `gold` are the passages that support the answer. `context` are the candidate passages that the
    benchmark ships with the question (for `--corpus auto`).
    """

    id: Text
    text: Text
    benchmark: Benchmark = "generic"
    answers: tuple[str, ...] = ()
    type: str | None = None
    hops: int | None = None
    gold: tuple[Passage, ...] = ()
    decomposition: tuple[Hop, ...] = ()
    context: tuple[Passage, ...] = ()

    @field_validator("answers")
    @classmethod
    def _no_blank_answer(cls, answers: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(answer for answer in answers if not says_nothing(answer))

    def _brief(self) -> Iterable[str]:
        hops = [f"{self.hops} hops"] if self.hops is not None else []
        return repr(snippet(self.id, 12)), repr(snippet(self.text, 40)), *hops, self.benchmark


class Hit(Record):
    """A passage that a search returned; `rank` counts from 1 within its search."""

    passage_id: str
    score: float
    rank: int


class Usage(Record):
    """What one generation cost; `dollars` is None where no price is known."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    dollars: float | None = None

    def __add__(self, other: Usage) -> Usage:
        known = [d for d in (self.dollars, other.dollars) if d is not None]
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            dollars=sum(known) if known else None,
        )


class Step(GrownRecord):
    """One search (or none) and the one generation that follows it.

    `context` are the ids of the passages that the prompt showed, in order (P≤s after guards), and
    `dropped` those that the context budget left out, `shortened` those shown up to the word limit
    of prompts. `cue` is what the prompt made the rationale
    begin with ("So the answer is:"), `raw` what the model said after it, `rationale` what the
    strategy kept, cue included: the text that later prompts and training see. `thoughts` are what
    the model wrote before it spoke; no prompt has them. `finish` is why the generation ended.
    `generated` is False where the question ended before anything was written for the step.
    `discarded` is True of a text that the reasoning went on without: a decision, a candidate that
    another was preferred to. Runs of before do not tell.
    """

    later: ClassVar[tuple[str, ...]] = ("finish", "thoughts", "discarded")

    index: int = Field(ge=1)
    kind: StepKind
    role: StepRole = "reason"
    query: str | None = None
    hits: tuple[Hit, ...] = ()
    context: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    shortened: tuple[str, ...] = ()
    cue: str = ""
    raw: str = ""
    rationale: str = ""
    generated: bool = True
    finish: Finish = "stop"
    thoughts: str = ""
    discarded: bool = False
    usage: Usage = Usage()

    @property
    def stands(self) -> bool:
        """Whether a model wrote something for it that is part of the reasoning."""
        return self.generated and not self.discarded

    @property
    def left_out(self) -> int:
        """Hits that no prompt showed: repeats, overlong ones, and those beyond the cap."""
        shown = {*self.context, *self.dropped}
        return sum(hit.passage_id not in shown for hit in self.hits)

    def _brief(self) -> Iterable[str]:
        query = "no search" if self.query is None else repr(snippet(self.query, 25))
        hits, kept = f"{len(self.hits)} hits", repr(snippet(self.rationale, 35))
        return str(self.index), self.kind, query, hits, kept


class StopReason(str, Enum):
    """Why a trajectory ended; every trajectory has one."""

    ANSWERED = "answered"
    FORCED = "forced_at_step_cap"
    STEP_CAP = "step_cap"
    REPEATED_QUERY = "repeated_query"
    EMPTY_GENERATION = "empty_generation"
    NO_MARKER = "no_marker"
    CONTEXT_BUDGET = "context_budget"
    ONE_STEP = "one_step"
    FAILED = "failed"
    DROPPED = "dropped"


Status = Literal["answered", "capped", "failed", "dropped"]


class Instead(Record):
    """What a student wrote itself where another model was then asked for the step.

    The text is as in `Step`; `answer` and `status` are how the student's trajectory ended.
    """

    cue: str = ""
    raw: str
    rationale: str
    finish: Finish = "stop"
    answer: str = ""
    status: Status


class Trajectory(GrownRecord):
    """All that happened in one attempt at a question.

    `settings` is the hash of the settings in the run's manifest. `sample` counts the attempts of a
    run at one question, from 0.
    `begun`, where another model began it: so many first steps are that one's, and so is the search
    of the one that follows; None where all is this model's own. `instead_of` is then what the one
    that began it wrote in place of the last step.
    `status`: `answered`; `capped` (a guard ended it without an answer); `failed` (the model or the
    retriever gave up; `error` says why); `dropped` (the teacher could not go on; `error` says why).
    """

    later: ClassVar[tuple[str, ...]] = ("sample", "begun", "instead_of")

    schema_version: Literal[1] = SCHEMA_VERSION
    question_id: str
    sample: int = Field(0, ge=0)
    question: str
    strategy: str
    layout: str
    model: str
    settings: str = ""
    steps: tuple[Step, ...] = ()
    passages: tuple[Passage, ...] = ()
    answer: str = ""
    status: Status
    stop_reason: StopReason
    error: str | None = None
    begun: int | None = Field(None, ge=0)
    instead_of: Instead | None = None

    @property
    def key(self) -> tuple[str, int]:
        """What no other trajectory of its run has: question id and sample."""
        return self.question_id, self.sample

    @property
    def own_steps(self) -> tuple[Step, ...]:
        """The steps that this model wrote: all, but for those of another that began."""
        return self.steps[self.begun or 0 :]

    def instead(self, index: int) -> Instead:
        """What stands at its step `index`, for one that is to stand in its place."""
        step = self.steps[index - 1]
        return Instead(
            cue=step.cue,
            raw=step.raw,
            rationale=step.rationale,
            finish=step.finish,
            answer=self.answer,
            status=self.status,
        )

    @property
    def usage(self) -> Usage:
        """Tokens and cost of all own steps together."""
        return sum((step.usage for step in self.own_steps), Usage())

    @property
    def reason(self) -> str | None:
        """What this error has in common with others of its kind, for counts; None without one.

        Of a dropped question the name of the reason; of a failed one the message, with what it
        quotes (ids, file names) left out, up to 120 characters.
        """
        if self.error is None:
            return None
        if self.status == "dropped":
            return self.error.split(": ", 1)[0]
        return re.sub(r"'[^']*'", "'…'", self.error)[:120]

    def _brief(self) -> Iterable[str]:
        end = repr(snippet(self.answer, 20)) if self.answer else self.status
        question = repr(snippet(self.question, 35))
        return repr(snippet(self.question_id, 12)), question, f"{len(self.steps)} steps", end

    def _repr_html_(self) -> str:
        """For notebooks."""
        from steper.notebook import trajectory_html

        return trajectory_html(self)

    @model_validator(mode="after")
    def _passages_known(self) -> Trajectory:
        known = {p.id for p in self.passages}
        for step in self.steps:
            for pid in (*(h.passage_id for h in step.hits), *step.context, *step.dropped):
                if pid not in known:
                    raise ValueError(
                        f"steps[{step.index - 1}] names passage {pid!r}, not in passages"
                    )
        return self


class Attempt(NamedTuple):
    """A question to answer; `sample` counts a run's attempts at it, from 0."""

    question: Question
    sample: int = 0

    @property
    def key(self) -> tuple[str, int]:
        """That of its trajectory."""
        return self.question.id, self.sample


class Prediction(Record):
    """An answer to a question, by whatever system."""

    question_id: str
    answer: str
