"""Runs of each strategy, made by a scripted model in the engine, with the prompts that it saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from doubles import FILM, DictRetriever
from steper.lm.base import Request
from steper.lm.scripted import ScriptedModel
from steper.prompt.render import PromptSettings
from steper.prompt.segments import Form, Prompt
from steper.records import Hop, Passage, Question, Trajectory
from steper.runs import Run, teach
from steper.strategy import STRATEGIES
from steper.strategy.context import Budget

QUESTION = "When was the director of Gold Rain born?"

IRCOT = [
    "Gold Rain was directed by Ann Lee.",
    "Ann Lee was born in 1950.",
    "So the answer is: 1950.",
]
INLINE = [
    "Follow up: Who directed Gold Rain?",
    "Intermediate answer: Ann Lee\nFollow up: When was Ann Lee born?",
    "Intermediate answer: 1950\nSo the final answer is: 1950",
]
REPEAT = f"Intermediate answer: Ann Lee\n{INLINE[0]}"
READER = [
    "Follow up: Who directed Gold Rain?",
    "Ann Lee.",
    "Follow up: When was Ann Lee born?",
    "So the answer is: 1950.",
    "So the final answer is: 1950",
]


@dataclass
class Case:
    """A strategy's settings, what the model writes, and room for prompts in characters."""

    strategy: str
    texts: Sequence[str]
    settings: dict[str, Any]
    room: int | None = None


CASES = {
    "ircot": Case("ircot", IRCOT, {}),
    "ircot forced by a repeat": Case("ircot", [IRCOT[0], IRCOT[0], "1950."], {}),
    "ircot forced at the cap": Case(
        "ircot", [*IRCOT[:2], "So the answer is: 1950"], {"max_steps": 2}
    ),
    "ircot on after a repeat": Case(
        "ircot", [IRCOT[0], IRCOT[0], IRCOT[2]], {"repeated_query": "continue"}
    ),
    "ircot, direct reader": Case("ircot", [*IRCOT, "1950."], {"reader": "direct"}),
    "ircot, cot reader": Case(
        "ircot",
        [*IRCOT[:2], "Ann Lee was. So the answer is: 1950."],
        {"reader": "cot", "max_steps": 2},
    ),
    "self_ask": Case("self_ask", INLINE, {}),
    "self_ask, no first search": Case("self_ask", INLINE, {"first_search": False}),
    "self_ask forced at the cap": Case("self_ask", [*INLINE[:2], "1950"], {"max_steps": 2}),
    "self_ask forced by a repeat": Case("self_ask", [INLINE[0], REPEAT, "1950"], {}),
    "self_ask on after a repeat": Case(
        "self_ask",
        [INLINE[0], REPEAT, INLINE[2].split("\n")[1]],
        {"repeated_query": "continue"},
    ),
    "self_ask, reader": Case("self_ask", READER, {"reader": "direct"}),
    "self_ask, cot reader, passages shown": Case(
        "self_ask",
        [READER[0], "She did. So the answer is: Ann Lee.", *READER[2:]],
        {"reader": "cot", "show_passages": True},
    ),
    "one_shot": Case("one_shot", [" ".join(IRCOT)], {}),
    "one_shot forced": Case("one_shot", [IRCOT[0], "1950"], {}),
    "closed_book": Case("closed_book", [" ".join(IRCOT)], {}),
}


def question(number: int = 0, text: str = QUESTION, answer: str = "1950") -> Question:
    """A question of two hops with its gold passages."""
    gold = [Passage.make(title, FILM[title]) for title in ("Gold Rain", "Ann Lee")]
    return Question(
        id=f"q{number}",
        text=text,
        answers=(answer,),
        gold=tuple(gold),
        decomposition=(
            Hop(answer="Ann Lee", question="Who directed Gold Rain?", passage_id=gold[0].id),
            Hop(answer="1950", question="When was #1 born?", passage_id=gold[1].id),
        ),
    )


def run_case(
    case: Case,
    out: Path,
    prompt: PromptSettings,
    form: Form = "plain",
    questions: Sequence[Question] = (),
    texts: dict[str, Sequence[str]] | None = None,
) -> tuple[Run, dict[str, list[Prompt]]]:
    """Run a case; returns the run and the prompts of each question, by id.

    `texts` says what is written for single questions, by id; the others get the case's.
    """
    seen: dict[str, list[Prompt]] = {}

    def script(request: Request) -> str:
        seen.setdefault(request.question_id, []).append(request.prompt)
        said = (texts or {}).get(request.question_id, case.texts)[request.step - 1]
        cue = request.prompt.segments[-1].text.strip()
        # A model goes on after a cue, where the prompt ends on one.
        return said.removeprefix(cue) if cue.endswith(":") and said.startswith(cue) else said

    kind = STRATEGIES.find(case.strategy)
    strategy = kind(kind.settings_type(**case.settings), prompt, form, Budget(case.room))
    model = ScriptedModel(script, form=form)
    retriever = DictRetriever(FILM)
    return teach(questions or [question()], strategy, model, retriever, out), seen


def only(run: Run) -> Trajectory:
    """The trajectory of a run of one question."""
    (trajectory,) = run.trajectories()
    return trajectory
