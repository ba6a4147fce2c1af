"""Run a teacher (or a student) over questions and write its trajectories."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steper.artifact import warn_of_changes
from steper.doors import fingerprint_of
from steper.engine import Engine, Start, Stats
from steper.errors import InputError, SettingsError
from steper.journal import RunFolder, read_unfinished
from steper.lm.base import LanguageModel, continues_turns, is_greedy
from steper.notebook import run_html
from steper.prompt.render import PromptSettings, Reasoning
from steper.prompt.words import demonstrations
from steper.records import Question, StopReason, Trajectory
from steper.retrieve.base import Retriever
from steper.shards import Shard, write_ids
from steper.store import dump_line, read_json, read_records
from steper.stored import Stored, id_of, open_stored, stored_questions, without_contexts
from steper.strategy import STRATEGIES, StepSettings, Strategy
from steper.strategy.context import Budget
from steper.text import brief, counted, normalise_space, percent

log = logging.getLogger(__name__)

CHAT_TEMPLATE_TOKENS = 64

TRUNCATED_SHARE = 0.1
"""A run with more generations cut off than this says so."""

OUTCOMES = ("answered", "capped", "failed", "dropped")

TOTALS = (
    "steps",
    "searches",
    "generations",
    "generations_truncated",
    "prompt_tokens",
    "completion_tokens",
    "passages_dropped",
    "passages_left_out",
    "passages_shortened",
)
"""What a manifest adds up over all steps. Generations truncated: cut off at their token limit.
Passages: dropped for want of room in the prompt; left out as repeats, as overlong or beyond the
cap; shortened to the words that a prompt shows."""


OTHERS = {
    "judged": "a judge's verdicts, not answers; what came of them is in its preferences.json",
    "states_of": "a teacher's steps at a student's states (`steper relabel`), no answers to "
    "questions; score the student's own run",
}
"""Run folders whose trajectories do not answer their questions, by the setting that says so."""


@dataclass(frozen=True)
class Run:
    """A run folder to read from."""

    path: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return brief("Run", repr(str(self.path)))

    def _repr_html_(self) -> str | None:
        """For notebooks: counts, and scores if there are any; None while there is no run."""
        if not (self.path / "manifest.json").exists():
            return None
        scores = self.path / "metrics.json"
        return run_html(self.path, self.manifest, read_json(scores) if scores.exists() else None)

    @property
    def manifest(self) -> dict[str, Any]:
        """Settings, counts, versions."""
        manifest: dict[str, Any] = read_json(self.path / "manifest.json")
        return manifest

    def made_with(self, partial: bool = False) -> dict[str, Any]:
        """What `check` gives; warns of files that were changed since."""
        made_with = self.check(partial)
        warn_of_changes(self.path, self.manifest)
        return made_with

    def check(self, partial: bool = False) -> dict[str, Any]:
        """The settings that the run was made with.

        Raises InputError where it is none, or, unless `partial`, is unfinished.
        """
        if not (self.path / "manifest.json").exists():
            raise InputError(f"{self.path} is not a run folder: it has no manifest.json")
        manifest = self.manifest
        made_with = manifest.get("settings") if isinstance(manifest, dict) else None
        self.refuse("judged")
        if not isinstance(made_with, dict) or not {"strategy", "prompt"} <= made_with.keys():
            raise InputError(f"{self.path / 'manifest.json'}: not the manifest of a run")
        status = manifest.get("status")
        if status != "complete" and not partial:
            raise InputError(
                f"{self.path} is unfinished (its status is {status!r}): finish it with the same "
                "`steper teach`, or use --partial"
            )
        return made_with

    def refuse(self, *kinds: str) -> None:
        """Raise InputError where the trajectories are of one of these kinds of `OTHERS`."""
        manifest = self.manifest
        made_with = manifest.get("settings") if isinstance(manifest, dict) else None
        for kind in kinds:
            if isinstance(made_with, dict) and kind in made_with:
                raise InputError(f"{self.path} holds {OTHERS[kind]}")

    @property
    def of_states(self) -> bool:
        """Whether its trajectories are single steps at a student's states; see `relabel`."""
        return "states_of" in (self.manifest.get("settings") or {})

    def outcomes(self) -> str:
        """How many questions ended how: `231 answered, 9 capped`."""
        counts = self.manifest["counts"]
        return counted({outcome: counts[outcome] for outcome in OUTCOMES})

    def trajectories(self) -> Iterator[Trajectory]:
        """All trajectories in the questions' order; of an unfinished run those that are there."""
        whole = self.path / "trajectories.jsonl"
        if whole.exists():
            return read_records(whole, Trajectory)
        order = self.questions().by_key.places
        found = read_unfinished(self.path / "trajectories.part")
        places = [n for n, (question, _) in enumerate(found.keys) if question in order]
        places.sort(key=lambda n: (order[found.keys[n][0]], found.keys[n][1]))
        return iter(found.take(places))

    def questions(self) -> Stored[Question]:
        """The questions, with their gold annotation, by id as well; they stay in their file.

        Raises InputError where the file holds none, or one id twice: then it was changed.
        """
        path = self.path / "questions.jsonl"
        again = "the file was changed; the `steper teach` that made the run writes it anew"
        questions = open_stored(path, Question, id_of)
        if twice := next((i for i, n in Counter(questions.keys).items() if n > 1), None):
            raise InputError(f"{path}: question {twice!r} stands twice; {again}")
        if not questions and "shard" not in self.manifest:  # a small run's shard may have none
            raise InputError(f"{path} holds no questions; {again}")
        return questions


def make_strategy(
    strategy: str | type[Strategy[Any]],
    lm: LanguageModel,
    settings: StepSettings | None = None,
    prompt: PromptSettings | None = None,
) -> Strategy[Any]:
    """A strategy, by class or by a name as in `steper.doors`, for a model (see `fit_to_model`)."""
    kind = STRATEGIES.find(strategy) if isinstance(strategy, str) else strategy
    return fit_to_model(kind(settings, prompt), lm)


def fit_to_model(strategy: Strategy[Any], lm: LanguageModel) -> Strategy[Any]:
    """The strategy in the model's form, with the room for prompts that its window leaves.

    Where prompts are to begin the assistant's turn, and the model is a server's that does not
    continue one, the reasoning stands in the user's.
    """
    room = None
    if lm.context_window is not None:
        spare = CHAT_TEMPLATE_TOKENS if lm.form == "chat" else 1
        room = lm.context_window - strategy.settings.max_tokens - spare
        if room <= 0:
            raise SettingsError(
                f"max_tokens is {strategy.settings.max_tokens}, but the model {lm.name} has a "
                f"window of {lm.context_window} tokens for prompt and text together"
            )
    begun = lm.form == "chat" and strategy.prompt.reasoning != "user"
    reasoning: Reasoning | None = "user" if begun and not continues_turns(lm) else None
    return strategy.asked_as(lm.form, Budget(room, lm.count_tokens), reasoning)


def questions_hash(questions: Iterable[Question]) -> str:
    """Hash of all questions with their annotation, in order."""
    digest = hashlib.sha256()
    for question in questions:
        digest.update(dump_line(question))
    return digest.hexdigest()[:16]


def teach(
    questions: Sequence[Question],
    strategy: Strategy[Any] | type[Strategy[Any]] | str,
    lm: LanguageModel,
    retriever: Retriever | None,
    out: Path | str,
    *,
    samples: int = 1,
    shard: Shard | str | None = None,
    in_flight: int = 64,
    overwrite: bool = False,
    retry_failed: bool = False,
    inputs: dict[str, Any] | None = None,
    progress: Callable[[Stats], None] | None = None,
) -> Run:
    """Answer all questions and write their trajectories to the folder `out`.

    `strategy` is a name, a class, or an object, which is put in the model's form. Each question is
    answered `samples` times, each time with a seed of its own, which needs a model that samples.
    Of a `shard` ("3/8") only its questions are asked; `merge` puts the shards together.
    `inputs` (files, their hashes, what was left out of them) goes into the manifest as it is.
    A run that was interrupted goes on inside its trajectories; nothing finished is asked again.
    Raises SettingsError when `out` was made with other settings or all samples would be equal,
    InputError on bad questions.
    """
    if isinstance(strategy, Strategy):
        strategy = fit_to_model(strategy, lm)
    else:
        strategy = make_strategy(strategy, lm)
    check_samples(samples, lm)
    shard = Shard.parse(shard) if isinstance(shard, str) else shard
    questions = stored_questions(without_contexts(questions))
    check_questions(questions, strategy.prompt)
    settings = {
        "questions": {"count": len(questions), "hash": questions_hash(questions)},
        "strategy": strategy.fingerprint(),
        "prompt": strategy.prompt.model_dump(mode="json"),
        "model": fingerprint_of(lm),
        "retriever": fingerprint_of(retriever) if retriever else None,
        **({"samples": samples} if samples > 1 else {}),
        **strategy.words.own_demonstrations(),
    }
    asked = stored_questions(shard.choose(questions)) if shard else questions
    folder = RunFolder(
        Path(out),
        asked,
        settings,
        inputs=inputs,
        step_end=strategy.step_end,
        keys=[(i, sample) for i in asked.keys for sample in range(samples)],
        overwrite=overwrite,
        retry_failed=retry_failed,
        more={"shard": str(shard)} if shard else None,
    )
    try:
        if shard:
            write_ids(folder.path, questions)
        if not folder.complete:
            drive(folder, strategy, lm, retriever, in_flight, progress)
    finally:
        folder.close()
    return Run(Path(out))


def drive(
    folder: RunFolder,
    strategy: Strategy[Any],
    lm: LanguageModel,
    retriever: Retriever | None,
    in_flight: int,
    progress: Callable[[Stats], None] | None,
    start: Start | None = None,
) -> None:
    """Make all attempts of a run folder that have no trajectory yet, and finish it."""
    engine = Engine(
        strategy,
        lm,
        retriever,
        in_flight=in_flight,
        settings=folder.hash,
        record=folder.write_actions,
        recorded=folder.recorded_actions(),
        progress=progress,
        start=start,
    )
    pending = folder.pending()
    engine.stats.total = len(folder.keys)
    engine.stats.done = len(folder.keys) - len(pending)
    # Closed before the folder is: what had finished at an early end is still recorded.
    counts = RunCounts(len(folder.questions), len(folder.keys))
    for trajectory in folder.finished():
        counts.add(trajectory)
    with closing(engine.run(map(folder.attempt, pending))) as trajectories:
        for trajectory in trajectories:
            folder.write_trajectory(trajectory)
            counts.add(trajectory)
    folder.finish(counts.as_dict(), engine.stats.seconds, counts.warnings())


class RunCounts:
    """What a run's manifest counts: trajectories by status and reason, steps, passages, usage.

    What another model began is not counted again.

    The number of trajectories stands there where it is not that of the questions.
    """

    def __init__(self, questions: int, trajectories: int) -> None:
        self._trajectories = trajectories
        self._sampled = trajectories > questions
        self._outcomes = dict.fromkeys(OUTCOMES, 0)
        self._questions = questions
        self._reasons: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._totals: Counter[str] = Counter()
        self._dollars: float | None = None

    def add(self, trajectory: Trajectory) -> None:
        """Count a finished trajectory."""
        self._outcomes[trajectory.status] += 1
        self._reasons[trajectory.stop_reason.value] += 1
        if error := trajectory.reason:
            self._errors[error] += 1
        usage = trajectory.usage
        self._totals["prompt_tokens"] += usage.prompt_tokens
        self._totals["completion_tokens"] += usage.completion_tokens
        if usage.dollars is not None:
            self._dollars = (self._dollars or 0.0) + usage.dollars
        for step in trajectory.own_steps:
            self._totals["steps"] += 1
            self._totals["searches"] += step.query is not None and trajectory.begun is None
            self._totals["generations"] += step.generated
            self._totals["generations_truncated"] += step.finish == "length"
            self._totals["passages_dropped"] += len(step.dropped)
            self._totals["passages_shortened"] += len(step.shortened)
            self._totals["passages_left_out"] += step.left_out

    def warnings(self) -> list[str]:
        """What the user should know of the whole run, a line each."""
        cut, generations = self._totals["generations_truncated"], self._totals["generations"]
        lines = truncation_warnings(cut, generations)
        if unfit := self._reasons[StopReason.CONTEXT_BUDGET.value]:
            lines.append(
                f"{unfit} × context_budget: the prompt does not fit; show fewer demos or passages, "
                "or raise context_window"
            )
        return lines

    def as_dict(self) -> dict[str, Any]:
        """All counts, names with 0 included."""
        return {
            "questions": self._questions,
            **({"trajectories": self._trajectories} if self._sampled else {}),
            **self._outcomes,
            "stop_reasons": dict(sorted(self._reasons.items())),
            "errors": dict(sorted(self._errors.items())),
            **{name: self._totals[name] for name in TOTALS},
            "dollars": self._dollars,
        }


def check_samples(samples: int, lm: LanguageModel) -> None:
    """Refuse a number of samples that is none, and several of a model that does not sample."""
    if samples < 1:
        raise SettingsError(f"samples is {samples}; it must be at least 1")
    if samples > 1 and is_greedy(lm):
        raise SettingsError(
            f"samples is {samples}, but {lm.name} writes the same text each time, so all "
            "trajectories of a question would be equal; set a temperature above 0 (such as 0.7) "
            "of a model that samples, or samples to 1"
        )


def truncation_warnings(cut: int, generations: int) -> list[str]:
    """One line where more than a tenth of generations were cut off at their token limit."""
    if cut <= TRUNCATED_SHARE * generations:
        return []
    return [
        f"{cut} of {generations} generations ({percent(cut / generations)} %) were cut off at the "
        "token limit; raise max_tokens (reader_max_tokens for a separate reader), for a model that "
        "thinks to some thousands, or switch its thinking off"
    ]


def check_questions(questions: Iterable[Question], prompt: PromptSettings) -> None:
    """Refuse an empty set, repeated ids, and questions that the prompt shows as demonstrations."""
    seen: set[str] = set()
    shown = {normalise_space(d.question) for d in demonstrations()[: prompt.demos]}
    for question in questions:
        if question.id in seen:
            raise InputError(f"question id {question.id!r} comes twice; ids must be unique")
        seen.add(question.id)
        if normalise_space(question.text) in shown:
            raise InputError(
                f"question {question.id!r} is one of the prompt's demonstrations "
                f"({question.text!r}); take it out, or use fewer demonstrations"
            )
    if not seen:
        raise InputError("there are no questions")
