"""How an untrained student is asked: as a trained one would be, as the teacher, or with
demonstrations, which are what a trained one learns from: right trajectories of the teacher's.
"""

from __future__ import annotations

from itertools import chain, zip_longest
from typing import Any

from steper.errors import InputError
from steper.examples.filters import is_right
from steper.examples.taken import seeded_order
from steper.pipeline.config import PipelineSettings
from steper.pipeline.workspace import EvalRun, Workspace
from steper.prompt.render import PromptSettings
from steper.prompt.words import Shown
from steper.records import Passage, Question, Trajectory
from steper.runs import Run


def base_prompt(settings: PipelineSettings, run: EvalRun) -> PromptSettings:
    """How the untrained student is prompted in one of its runs."""
    shown = settings.base_demos() if run.data is not None else None
    if shown is not None:
        return shown
    if settings.evaluate.base == "teacher":
        return settings.teacher.prompt
    return settings.student_prompt()


def shown_key(settings: PipelineSettings) -> dict[str, Any]:
    """What decides, beside the teacher's run, which trajectories are shown."""
    by = settings.filters.model_dump(mode="json", include={"correct", "threshold"})
    return {"seed": settings.examples.seed, **by}


def right_trajectories(ws: Workspace, data: str, count: int) -> list[Shown]:
    """So many right trajectories of the teacher's: the first in the order of `examples.questions`,
    question types taking turns.

    Where no gold answer is known, any answer will do. Raises InputError where there are fewer.
    """
    settings, run = ws.settings, Run(ws.folder("teach", data))
    questions = run.questions().by_key

    def fit(found: Trajectory) -> bool:
        right = is_right(found.answer, questions[found.question_id], settings.filters)
        return found.status == "answered" and right is not False

    keys = {found.question_id: found.key for found in run.trajectories() if fit(found)}
    order = seeded_order(keys, settings.examples.seed)
    chosen = _by_turns([questions[i] for i in order])[:count]
    if len(chosen) < count:
        raise InputError(
            f"evaluate.base_demos: {count} demonstrations are asked for, but the teacher has "
            f"{len(chosen)} right trajectories of {data}; ask for fewer"
        )
    wanted = {keys[question.id] for question in chosen}
    found = {t.question_id: as_shown(t) for t in run.trajectories() if t.key in wanted}
    return [found[question.id] for question in chosen]


def _by_turns(questions: list[Question]) -> list[Question]:
    """The questions in their order, but one of each type by turns."""
    types: dict[str | None, list[Question]] = {}
    for question in questions:
        types.setdefault(question.type, []).append(question)
    return [q for q in chain.from_iterable(zip_longest(*types.values())) if q is not None]


def as_shown(trajectory: Trajectory) -> Shown:
    """A trajectory as a demonstration: what arrived at each step, and the text that was kept."""
    passages = {passage.id: passage for passage in trajectory.passages}
    turns: list[tuple[tuple[Passage, ...], str]] = []
    seen = set[str]()
    for step in trajectory.steps:
        if step.stands:
            new = [i for i in step.context if i not in seen]
            turns.append((tuple(passages[i] for i in new), step.rationale))
            seen.update(new)
    return Shown(trajectory.question, tuple(turns))
