"""Have a teacher write the step at each state that a student came to: on-policy examples, by text.

In: a run of the student's own, with real retrieval. Out: a run folder with a trajectory for each of
its states: the student's steps up to there, then the teacher's one (`Trajectory.begun`). A teacher
is asked once for each state and nothing is searched, so any model that writes text serves. The run
resumes, fails and counts as any other; what was written is never asked for again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from steper.doors import fingerprint_of
from steper.engine import Stats
from steper.errors import InputError
from steper.journal import TRAJECTORIES, Key, RunFolder, key_of
from steper.lm.base import LanguageModel
from steper.prompt.render import PromptSettings
from steper.records import Attempt, StopReason, Trajectory
from steper.runs import Run, check_questions, drive, make_strategy, questions_hash
from steper.store import check_out, sha256_file, validated
from steper.stored import Stored, open_stored
from steper.strategy import Strategy, load_strategy
from steper.strategy.actions import Actions
from steper.strategy.handover import State, hand_over, states
from steper.strategy.trace import Trace
from steper.text import counted


class States:
    """The state behind each attempt (`keys`, in the run's order); trajectories stay in their file.

    A state's number among its question's is the attempt's sample.
    """

    def __init__(self, trajectories: Stored[Trajectory]) -> None:
        self._trajectories = trajectories
        self._places: dict[Key, tuple[int, int]] = {}  # its trajectory's, and its step
        counts: Counter[str] = Counter()
        for at, trajectory in enumerate(trajectories):
            name = trajectory.question_id
            for state in states(trajectory):
                self._places[name, counts[name]] = at, state.step
                counts[name] += 1

    @property
    def keys(self) -> list[Key]:
        """What the attempts are known by."""
        return list(self._places)

    def __getitem__(self, key: Key) -> State:
        at, step = self._places[key]
        return State(self._trajectories[at], step)


def relabel(
    student_run: Run | Path | str,
    lm: LanguageModel,
    out: Path | str,
    prompt: PromptSettings | None = None,
    *,
    strategy: type[Strategy[Any]] | None = None,
    in_flight: int = 64,
    overwrite: bool = False,
    retry_failed: bool = False,
    allow_code: bool = False,
    progress: Callable[[Stats], None] | None = None,
) -> Run:
    """Ask `lm` for the step at each state of a student's run; writes a run folder to `out`.

    The strategy and its settings are the student run's, the prompts are the teacher's own
    (`prompt`). A state's number among its question's is the trajectory's `sample`. `strategy` is
    the run's, where the caller has it; else its code needs `allow_code`, see `load_strategy`.
    Raises InputError where `student_run` is no complete run with a state, SettingsError where `out`
    was made with other settings.
    """
    source = student_run if isinstance(student_run, Run) else Run(Path(student_run))
    check_out(out, source.path)
    made_with = source.made_with()
    if source.of_states:
        raise InputError(
            f"{source.path} holds a teacher's steps at a student's states; name a run of the "
            "student's own, as `steper teach --model STUDENT` writes it"
        )
    place = str(source.path / "manifest.json")
    kind, own = load_strategy(made_with["strategy"], strategy, allow_code=allow_code, place=place)
    teacher = make_strategy(kind, lm, validated(kind.settings_type, own, place), prompt)
    questions = source.questions()
    trajectories = source.path / TRAJECTORIES
    found = States(open_stored(trajectories, Trajectory, key_of))
    if not found.keys:
        raise InputError(f"{source.path}: no trajectory has a step to be written anew")
    check_questions(questions, teacher.prompt)
    folder = RunFolder(
        Path(out),
        questions,
        {
            "questions": {"count": len(questions), "hash": questions_hash(questions)},
            "strategy": teacher.fingerprint(),
            "prompt": teacher.prompt.model_dump(mode="json"),
            "model": fingerprint_of(lm),
            "retriever": made_with.get("retriever"),
            "states_of": {"trajectories_sha256": sha256_file(trajectories)},
        },
        inputs={"run": str(source.path), "student": made_with.get("model")},
        step_end=teacher.step_end,
        keys=found.keys,
        overwrite=overwrite,
        retry_failed=retry_failed,
    )
    try:
        if not folder.complete:
            start = partial(_start, teacher, found)
            drive(folder, teacher, lm, None, in_flight, progress, start)
    finally:
        folder.close()
    return Run(Path(out))


def _start(strategy: Strategy[Any], found: States, attempt: Attempt) -> tuple[Trace, Actions]:
    return hand_over(strategy, found[attempt.key])


def labelled_line(run: Run) -> str:
    """`812 states: 250 answers, 540 steps, 22 dropped; 812 teacher calls, 91,234 tokens`."""
    counts = run.manifest["counts"]
    steps = counts["stop_reasons"].get(StopReason.ONE_STEP.value, 0)
    outcomes = {
        "answers": counts["answered"],
        "steps": steps,
        "empty": counts["capped"] - steps,
        "failed": counts["failed"],
        "dropped": counts["dropped"],
    }
    cost = "" if counts["dollars"] is None else f", ${counts['dollars']:.2f}"
    tokens = counts["prompt_tokens"] + counts["completion_tokens"]
    total = sum(outcomes.values())
    calls = f"{counts['generations']} teacher calls, {tokens:,} tokens{cost}"
    return f"{total} states: {counted(outcomes)}; {calls}"
