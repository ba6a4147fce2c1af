"""What a recipe is: from a trajectory to training examples, and how its students are asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from random import Random
from typing import Any, ClassVar, Literal

from steper.errors import SettingsError
from steper.prompt.segments import Form, Prompt, Segment
from steper.recipes.labels import Labeller, Labels, Similarity
from steper.records import GrownRecord, Passage, Question, Step, StepKind, Trajectory
from steper.retrieve.base import Found, Retriever
from steper.strategy.base import Strategy
from steper.strategy.replay import Replay

Target = Literal["current", "cumulative"]
"""`current`: r_s, with R<s in the prompt. `cumulative`: R≤s, without R<s in the prompt (StepER's
equations as they are written), for students that write all of it anew, or continue their turn."""

EndOfTurn = Literal["every_step", "last_step"]
"""Where a student learns to end its turn. After a middle step an end means *stop and search*: right
where the student ends its steps, needless where they are cut after a sentence. `every_step` leaves
out those after which the next goes on in the same turn on the same passages: nothing was searched
for, and what is learnt of the next step is to go on."""

Weights = Literal["learned", "uniform"]
"""How the three losses are weighed: by learned σ (StepER's reasoning difficulty), or alike."""

PairsAt = Literal["first", "all"]
"""Which states of a failed trajectory give preference pairs: the first at which student and teacher
differ (Step-DPO's first mistake, found without a judge), or all such."""

Learns = Literal["trajectories", "pairs", "own"]
"""What examples are made of: a teacher's trajectories, preference pairs of a teacher's labels at a
student's states, or a student's own steps. The student of the latter two is trained on."""

Judge = Callable[[str], str]
"""A language model that answers one prompt: `judge("Does the passage …?") -> "yes"`."""


@dataclass(frozen=True, slots=True)
class Draft:
    """An example in the making: a prompt and the segments that follow it.

    `target` is None where the step cannot be written, else made by `learn`; each segment counts to
    the loss of its step kind with its weight, and one of weight 0 is shown and not learnt.
    `supervises` are the indices of the steps whose text is in the target: where a filter objects to
    one of them, the example goes. `name` tells several examples of one step apart. `rejected`, of a
    preference pair, is another target, made by `learn`, too. `left_out` is the reason, one of
    `filters.REASONS`, for which the step alone is no example.
    """

    step: Step
    prompt: Prompt
    target: tuple[Segment, ...] | None
    supervises: tuple[int, ...]
    name: str = ""
    rejected: tuple[Segment, ...] = ()
    left_out: str = ""


def learn(text: str, kind: StepKind, weight: float = 1.0, ends: bool = True) -> Segment:
    """A piece of a target; `weight` multiplies the loss of each of its tokens (0: shown only).

    With `ends` a target that closes with it learns to end its turn there.
    """
    return Segment("assistant", text, kind, weight, ends)


def unknown(answer: str) -> None:
    """What is known of an answer's rightness without gold answers."""


@dataclass(frozen=True)
class Context:
    """What a recipe may use beside the replayed trajectory.

    `question` has the gold annotation where it is known; `student` is the strategy as the student
    will be asked; `rng` is seeded by the examples' seed and the trajectory alone, so examples do
    not depend on their order; `retriever` and `judge` are there where the user named them.
    `labels` say where labels of passages come from, `similarity` is that of `labels=embedding`.
    `samples` are all the attempts of the run at the question, fit to learn from or not; `is_right`
    says whether an answer to it is right, None where nobody knows.
    """

    target: Target
    end_of_turn: EndOfTurn
    question: Question
    student: Strategy[Any]
    rng: Random
    retriever: Retriever | None = None
    judge: Judge | None = None
    labels: Labels = "auto"
    similarity: Similarity | None = None
    samples: Sequence[Trajectory] = ()
    pairs_at: PairsAt = "first"
    is_right: Callable[[str], bool | None] = unknown

    @cached_property
    def labeller(self) -> Labeller:
        """Says which passages the trajectory stands on; InputError where that is not known."""
        return Labeller(self.question, self.labels, self.judge, self.similarity)

    def search(self, query: str, k: int) -> list[Found]:
        """The best `k` passages; SettingsError where no corpus was named."""
        if self.retriever is None:
            raise SettingsError("this recipe searches, so it needs a corpus: --corpus")
        return self.retriever.search([query], k)[0]

    def ask_judge(self, prompt: str) -> str:
        """What the judge answers; SettingsError where none was named."""
        if self.judge is None:
            raise SettingsError("this recipe asks a judge, so it needs a model for it: --judge")
        return self.judge(prompt)


@dataclass(frozen=True)
class Inference:
    """How a recipe's students are asked; what is left out is as the teacher was.

    `strategy` is a name as in `steper.doors`; `settings` and `prompt` go over the settings of the
    strategy and of prompts, below what the user sets. Another strategy than the run's has the run's
    limits of passages and steps. `reranker` is the `package.module:Name` of a
    `steper.retrieve.rerank.Reranker`, which orders `candidates` passages, or the name of a folder
    inside the student's, with the model that `steper train` made of the recipe's rankings.
    """

    strategy: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    prompt: Mapping[str, Any] = field(default_factory=dict)
    form: Form | None = None
    reranker: str | None = None
    candidates: int = 20


class Ranking(GrownRecord):
    """What a reranker learns of one question: candidates, and how they are to be ranked.

    `scores` are those of a ranking by something that is not known at inference. The candidates up
    to `first` were found by it, the others by the question; `asked` are the places of all that the
    question found, best first: what a reranker is given at inference, as it is given it.
    """

    later: ClassVar[tuple[str, ...]] = ("asked",)

    question_id: str
    query: str
    candidates: tuple[Passage, ...]
    scores: tuple[float, ...]
    first: int
    asked: tuple[int, ...] = ()


Make = Callable[[Replay, Context], Iterator[Draft]]


@dataclass(frozen=True)
class Recipe:
    """A recipe: the examples of one trajectory, the weights that training defaults to, inference.

    `cumulative` is the inference of students with cumulative targets, where that is another.
    `searches` and `judges` say that it needs a retriever, or a judge, in its context; `labels` that
    it labels passages; `rank` is what a reranker of its students learns of a trajectory; `tokens`
    are added to a student's tokenizer, and their embeddings are learnt. `check` refuses, with a
    SettingsError, what the recipe cannot make: it is given the target, where ends of turns are
    learnt, and the strategy as the student will be asked. `learns` says what a pipeline makes its
    examples of.
    `filters` are settings of filters that it has where the user sets none, `more_filters` filters
    by name that it always has.
    """

    name: str
    make: Make
    weights: Weights
    about: str
    inference: Inference = Inference()
    cumulative: Inference | None = None
    searches: bool = False
    judges: bool = False
    labels: bool = False
    rank: Callable[[Replay, Context], Ranking] | None = None
    tokens: tuple[str, ...] = ()
    check: Callable[[Target, EndOfTurn, Strategy[Any]], None] | None = None
    learns: Learns = "trajectories"
    filters: Mapping[str, Any] = field(default_factory=dict)
    more_filters: tuple[str, ...] = ()

    def asked(self, target: Target) -> Inference:
        """How students of that target are asked."""
        return self.cumulative if target == "cumulative" and self.cumulative else self.inference


def current_draft(replay: Replay, step: Step, ends: bool = True) -> Draft:
    """(q, P≤s, R<s) → r_s: what a student is asked for at inference."""
    text = replay.written(step)
    return _draft(step, replay.prompt(step), (text,) if text else (), (step.index,), ends)


def cumulative_draft(replay: Replay, step: Step, ends: bool = True) -> Draft:
    """(q, P≤s) → R≤s."""
    prompt = replay.prompt_without_reasoning(replay.gathered(step))
    return _draft(step, prompt, replay.pieces_up_to(step), range(1, step.index + 1), ends)


def _draft(
    step: Step, prompt: Prompt, pieces: Sequence[str], supervises: Sequence[int], ends: bool
) -> Draft:
    target = tuple(learn(piece, step.kind, ends=ends) for piece in pieces)
    return Draft(step, prompt, target or None, tuple(supervises))


def check_whole_text(strategy: Strategy[Any]) -> None:
    """Refuse a student that learns R≤s as one text and is asked with R<s in the user's turn."""
    if strategy.prompt.layout == "passages_first" and strategy.prompt.reasoning == "user":
        raise SettingsError(
            "reasoning=user shows earlier reasoning in the user's turn, which a student that "
            "learns all of it as one text never saw; use reasoning=anew or assistant"
        )
