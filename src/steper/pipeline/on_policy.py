"""The stages of on-policy methods: students come to states, the teacher writes the steps there."""

from __future__ import annotations

from collections.abc import Sequence

from steper.examples.taken import seeded_order
from steper.pipeline.plan import Advance
from steper.pipeline.stages import ALLOWED, open_answering, open_teacher, outcome_line, told
from steper.pipeline.workspace import EvalRun, Workspace
from steper.records import Question
from steper.relabelling import labelled_line, relabel
from steper.runs import Run, teach
from steper.stored import choose
from steper.student import student_retriever


def students_questions(ws: Workspace, data: str, method: str) -> Sequence[Question]:
    """The training questions that a method's students are asked: all but the teacher's share.

    The order is that of `examples.questions`, so a smaller share is always part of a larger one.
    """
    examples = ws.settings.example_settings(method)
    train = ws.data[data].train
    every = [question.id for question in train]
    ids = seeded_order(every, examples.seed)[: examples.questions]
    teachers = round(ws.settings.recipes[method].teacher_share * len(ids))
    taken = set(ids[min(teachers, len(ids) - 1) :])
    return choose(train, [n for n, i in enumerate(every) if i in taken])


def collect(
    ws: Workspace,
    overwrite: bool,
    advance: Advance,
    *,
    data: str,
    student: str,
    method: str,
    seed: int,
) -> str:
    """Have the students of the round before answer training questions, with real retrieval."""
    before = ws.settings.recipes[method].states_of
    assert before is not None
    source, path = ws.data[data], ws.collected(data, student, method, seed)
    trained = ws.trained(data, student, before, seed)
    name = f"{data}/{student}/{method}-{seed}"
    answering = EvalRun(before, before, name, path, student, trained, data)
    lm, strategy = open_answering(ws, source, answering)
    retriever = ws.retriever(ws.learnt_over(data))
    if retriever is not None:
        retriever = student_retriever(trained, retriever, ALLOWED.allow_code)
    run = teach(
        students_questions(ws, data, method),
        strategy,
        lm,
        retriever,
        path,
        in_flight=ws.settings.evaluate.in_flight,
        overwrite=overwrite,
        inputs={"questions": source.inputs(source.train_file), "corpus": ws.corpus_learnt(data)},
        progress=told(advance),
    )
    return outcome_line(run)


def label(
    ws: Workspace,
    overwrite: bool,
    advance: Advance,
    *,
    data: str,
    student: str,
    method: str,
    seed: int,
) -> str:
    """Have the teacher write the step at each state that these students came to."""
    source = Run(ws.collected(data, student, method, seed))
    teacher = ws.settings.teacher
    lm = open_teacher(ws, ws.data[data].train, f"train {data}")
    run = relabel(
        source,
        lm,
        ws.relabelled(data, student, method, seed),
        teacher.prompt,
        strategy=ws.settings.strategy_kind,
        in_flight=teacher.in_flight,
        overwrite=overwrite,
        progress=told(advance),
    )
    return labelled_line(run)
