"""What recipes of single-pass readers share: a trajectory as one text, and its answer.

In: a replayed trajectory. Out: its reasoning without the statement of the answer, and the pieces of
a target that ends on the answer. Pieces are cut where a student that is asked by force continues,
so that its prompts have the same token ids as the training sequence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from steper.errors import SettingsError
from steper.evaluation.gold_facts import concludes
from steper.prompt.render import Turn
from steper.prompt.segments import Segment
from steper.recipes.base import Context, Draft, EndOfTurn, Target, check_whole_text, learn
from steper.records import Passage, StepKind
from steper.strategy.base import Strategy
from steper.strategy.replay import Replay
from steper.strategy.stated_answer import told_before_answer
from steper.strategy.statements import Statement, what_is_told
from steper.text import sentences, strip_full_stop

PROMPT = {"layout": "passages_first", "reasoning": "assistant"}
"""How these students are prompted: their text is one turn, which a forced answer continues."""


@dataclass(frozen=True)
class Told:
    """What a trajectory tells: its statements in order, then `closing`, then its answer.

    `closing` leads over to the answer, by the cue of the student's strategy: where the teacher says
    it in words of its own, what it tells before is a statement, what it adds behind is left out.
    `passages` are those that the last step sees, in the order they were gathered; `between` joins
    statements to one text.
    """

    statements: tuple[Statement, ...]
    closing: str
    answer: str
    passages: tuple[Passage, ...]
    between: str

    @property
    def reasoning(self) -> str:
        """All statements as one text."""
        return self.between.join(statement.text for statement in self.statements)

    def said(self, end: int | None = None) -> list[str]:
        """What the statements tell, or those in front of the place `end`."""
        return [statement.tells for statement in self.statements[:end] if statement.tells]


def read_whole(replay: Replay, context: Context, known: Told, passages: Sequence[Passage]) -> Draft:
    """The reader's example: these passages in its words, then the whole chain and the answer."""
    prompt = context.student.render(replay.trajectory.question, [Turn(tuple(passages))])
    target = tuple(answered(context, [known.reasoning], known))
    return Draft(replay.steps[-1], prompt, target, tuple(supervised(replay)))


def told(replay: Replay, context: Context, *, own_words: bool = False) -> Told:
    """What a trajectory tells, its answer apart from its statements.

    With `own_words` it leads over to the answer as the teacher does, where nothing stands behind
    the answer: "So it is Oslo and Rome, and the answer is:" is then `closing`, and no statement.
    """
    strategy, answer = replay.strategy, strip_full_stop(replay.trajectory.answer)
    titles = [passage.title for passage in replay.trajectory.passages]
    stated, closing = strategy.statements(replay.steps, answer, titles), context.student.final_cue
    if stated and (before := told_before_answer(stated[-1].text)) is not None:
        if own_words and (led := _led_over(stated[-1].text, strategy.final_cue, answer)):
            before, closing = led[0], led[1] or closing
        stated[-1] = replace(stated[-1], text=before, tells=what_is_told(before, titles))
    return Told(
        tuple(statement for statement in stated if statement.text),
        closing,
        f"{answer}.",
        replay.gathered(replay.steps[-1]),
        strategy.words.lead,
    )


def _led_over(text: str, cue: str, answer: str) -> tuple[str, str] | None:
    """(what a text tells, how it leads over to its last words, the answer); None for other ends.

    The second is "" where it does so by the cue.
    """
    whole = strip_full_stop(text)
    if not whole.endswith(answer):
        return None
    head = whole.removesuffix(answer).rstrip()
    return (head.removesuffix(cue).rstrip(), "") if head.endswith(cue) else ("", head)


def stands_on_none(statement: Statement) -> bool:
    """Whether no passage is looked for: a statement that only concludes, or asks."""
    return all(concludes(sentence) for sentence in sentences(statement.tells))


def answered(context: Context, pieces: Iterable[str], known: Told) -> Iterator[Segment]:
    """A target: `pieces` of text, the closing and the answer, all learnt as of kind agg."""
    lead = context.student.lead()
    for piece in (*pieces, known.closing, known.answer):
        if piece:
            yield learn(lead + piece, "agg")
            lead = context.student.words.lead


def retold(target: Iterable[Segment], kind: StepKind, weight: float = 1.0) -> tuple[Segment, ...]:
    """The same text, learnt as of another kind or with another weight."""
    return tuple(replace(segment, kind=kind, weight=weight) for segment in target)


def supervised(replay: Replay) -> range:
    """The indices of all steps: whole texts hold what each of them says."""
    return range(1, len(replay.steps) + 1)


def check(target: Target, end_of_turn: EndOfTurn, strategy: Strategy[Any]) -> None:
    """Refuse to ask for a whole text in a form that it is never seen in."""
    check_whole_text(strategy)
    if strategy.prompt.layout == "append_only":
        raise SettingsError(
            f"{strategy.name} reads all passages in one turn; use layout=passages_first"
        )
