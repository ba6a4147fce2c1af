"""Ask a judge about two runs, in both orders: a run folder of verdicts, resumed as any other.

In: two run folders over the same questions, and a language model. Out: a folder with a trajectory
for each question, ability and order, whose answer is the verdict. Where both show the same, that
is a tie and not asked. Asking in both orders is
MT-Bench's remedy (Zheng et al., NeurIPS 2023, §3.4) for judges that prefer a place: a preference
counts where it survives the exchange, else it is a tie.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field

from steper.artifact import warn_of_changes
from steper.doors import fingerprint_of
from steper.engine import Stats
from steper.errors import InputError, QuestionDropped
from steper.evaluation.methods import Method, load_methods, shared_questions
from steper.evaluation.statistics import Bootstrap
from steper.journal import TRAJECTORIES, RunFolder
from steper.judging.pairs import ABILITIES, RUBRICS, Ability, JudgedPair, pair_of
from steper.judging.preferences import Key, Preferences, Verdicts, count_preferences
from steper.lm.base import LanguageModel
from steper.lm.judge import warn_of_own_work
from steper.prompt.segments import Prompt
from steper.records import Attempt, Question, Record, StopReason, Trajectory
from steper.runs import Run, drive, make_strategy, questions_hash
from steper.store import check_out, sha256_file, write_json
from steper.stored import ByKey, Stored, open_stored, stored_questions
from steper.strategy import StepSettings, Strategy
from steper.strategy.actions import Actions, Generate
from steper.strategy.trace import Ending, Trace

PREFERENCES = "preferences.json"
"""What came of it, beside the verdicts."""

FEWEST_WORDS = 10
"""Passages are halved for want of room as long as they have more words than this."""

_VERDICT = re.compile(r"verdict\W{0,6}(first|second|tie)\b", re.IGNORECASE)
_ALONE = re.compile(r"\W*(first|second|tie)\W*", re.IGNORECASE)


class JudgeSettings(Record):
    """What is asked of a judge.

    `questions` are drawn by the seed from those that both runs have; None: all of them.
    """

    abilities: tuple[Ability, ...] = Field(ABILITIES, min_length=1)
    questions: int | None = Field(None, ge=1)
    seed: int = Field(0, ge=0)
    passage_words: int = Field(80, ge=1)
    max_tokens: int = Field(256, ge=1)


class Judge(Strategy[StepSettings]):
    """One generation a pair and order; its answer is `first`, `second` or `tie`."""

    name = "judge"
    settings_type = StepSettings
    searches = False

    def prompt_of(self, pair: JudgedPair, swapped: bool, words: int) -> Prompt:
        """A pair's prompt, its passages shortened to the room that there is.

        Raises QuestionDropped where even short ones have none.
        """
        prompt = pair.prompt(swapped, self.form, words)
        while not self.budget.fits(prompt):
            if words <= FEWEST_WORDS:
                raise QuestionDropped("no_room", "the judge's window is too small for the pair")
            words //= 2
            prompt = pair.prompt(swapped, self.form, words)
        return prompt


def judged_runs(methods: Mapping[str, Sequence[Path]]) -> dict[str, Path]:
    """Each method's run; InputError where it is none, which is told before a judge is loaded."""
    runs = {name: paths[0] for name, paths in methods.items()}
    for path in runs.values():
        Run(path).check()
    return runs


def read_verdict(text: str) -> str:
    """`first`, `second` or `tie`: the last one that a text names as its verdict, or all it says.

    "" where it names none: that counts as unreadable, not as a tie.
    """
    found = _VERDICT.findall(text)
    if found:
        return str(found[-1]).lower()
    alone = _ALONE.fullmatch(text)
    return alone[1].lower() if alone else ""


def judge(
    runs: Mapping[str, Path | str],
    lm: LanguageModel,
    out: Path | str,
    settings: JudgeSettings | None = None,
    *,
    bootstrap: Bootstrap | None = None,
    in_flight: int = 64,
    overwrite: bool = False,
    retry_failed: bool = False,
    progress: Callable[[Stats], None] | None = None,
) -> Preferences:
    """Have `lm` compare two runs ({name: folder}) and write its verdicts to the folder `out`.

    The same call goes on where an interrupted one stopped; nothing that was judged is asked again.
    Raises InputError where the runs are not two, share no question or show no ability both;
    SettingsError where `out` was made with other settings.
    """
    settings = settings or JudgeSettings()
    if len(runs) != 2:
        raise InputError(f"a judge compares two runs; {len(runs)} are named")
    check_out(out, *runs.values())
    bootstrap = bootstrap or Bootstrap()
    methods = load_methods({name: [folder] for name, folder in runs.items()}, bootstrap=bootstrap)
    pairs = _Pairs(methods, settings)
    if not pairs.keys:
        names = " and ".join(runs)
        if pairs.alike:
            raise InputError(f"{names} show the same on every question: nothing to judge")
        raise InputError(f"{names}: no question on which both show {', '.join(settings.abilities)}")
    asked = pairs.questions()
    chosen = make_strategy(Judge, lm, StepSettings(max_tokens=settings.max_tokens))
    assert isinstance(chosen, Judge)
    folder = RunFolder(
        Path(out),
        asked,
        {
            "questions": {"count": len(asked), "hash": questions_hash(asked)},
            "judge": {**settings.model_dump(mode="json"), "rubrics": RUBRICS},
            "model": fingerprint_of(lm),
            "judged": [sha256_file(Path(run) / TRAJECTORIES) for run in runs.values()],
        },
        inputs={name: str(path) for name, path in runs.items()},
        keys=[(key[0], _number(key)) for key in pairs.keys],
        overwrite=overwrite,
        retry_failed=retry_failed,
    )
    for path in runs.values():
        warn_of_own_work(lm, Run(Path(path)).manifest["settings"], path)
    try:
        if folder.complete:
            warn_of_changes(folder.path, Run(folder.path).manifest)  # they are counted anew below
        else:
            start = partial(_start, chosen, pairs, settings.passage_words)
            drive(folder, chosen, lm, None, in_flight, progress, start)
    finally:
        folder.close()
    found = _verdicts(Run(Path(out)).trajectories())
    a, b = methods
    counts = Counter(ability for _, ability, _ in pairs.keys)
    each = {name: counts[name] for name in ABILITIES if name in settings.abilities}
    result = count_preferences(a, b, each, found, bootstrap, pairs.alike)
    write_json(Path(out) / PREFERENCES, result.model_dump(mode="json"))
    return result


def _number(key: Key) -> int:
    """The attempt's number among its question's, which says ability and order."""
    return 2 * ABILITIES.index(key[1]) + key[2]


class _Pairs:
    """All that is asked (`keys`, question by question); trajectories stay in their files.

    `alike` counts, for each ability, the questions in which both show the same.
    """

    def __init__(self, methods: Sequence[Method], settings: JudgeSettings) -> None:
        self._questions = shared_questions(methods)
        ids = list(self._questions)
        if settings.questions is not None and settings.questions < len(ids):
            drawn = set(random.Random(f"judge/{settings.seed}").sample(ids, settings.questions))
            ids = [i for i in ids if i in drawn]
        self._a, self._b = map(_first_samples, methods)
        abilities = [ability for ability in ABILITIES if ability in settings.abilities]
        self.keys: list[Key] = []
        self.alike: Counter[Ability] = Counter()
        for i in ids:
            question, a, b = self._questions[i], self._a[i], self._b[i]
            for ability in abilities:
                pair = pair_of(question, a, b, ability)
                if pair and pair.alike(settings.passage_words):
                    self.alike[ability] += 1
                elif pair:
                    self.keys += [(i, ability, swapped) for swapped in (False, True)]

    def questions(self) -> Stored[Question]:
        """Those that are asked about, in their order."""
        return stored_questions(self._questions[i] for i in dict.fromkeys(i for i, *_ in self.keys))

    def __getitem__(self, key: Key) -> JudgedPair:
        i, ability, _ = key
        pair = pair_of(self._questions[i], self._a[i], self._b[i], ability)
        assert pair is not None
        return pair


def _first_samples(method: Method) -> ByKey[Trajectory]:
    """Each question's trajectory, the first one where it was sampled several times."""
    found = open_stored(method.paths[0] / TRAJECTORIES, Trajectory, lambda t: t.question_id)
    first: dict[str, int] = {}
    for at, question in enumerate(found.keys):
        first.setdefault(question, at)
    return found.take(first.values()).by_key


def _start(judge: Judge, pairs: _Pairs, words: int, attempt: Attempt) -> tuple[Trace, Actions]:
    ability, swapped = ABILITIES[attempt.sample // 2], bool(attempt.sample % 2)
    trace = Trace(attempt.question.text)
    pair = pairs[attempt.question.id, ability, swapped]
    return trace, _one_verdict(judge, trace, pair, swapped, words)


def _one_verdict(
    judge: Judge, trace: Trace, pair: JudgedPair, swapped: bool, words: int
) -> Actions:
    """Ask once; the answer is the verdict."""
    prompt = judge.prompt_of(pair, swapped, words)
    completion: Any = yield Generate(1, "reason", prompt, (), judge.settings.max_tokens)
    trace.add(completion, completion.text.strip())
    verdict = read_verdict(completion.text)
    return Ending(verdict, StopReason.ANSWERED if verdict else StopReason.NO_MARKER)


def _verdicts(trajectories: Iterable[Trajectory]) -> Verdicts:
    """What was said of each; what failed is not there."""
    return {
        (t.question_id, ABILITIES[t.sample // 2], bool(t.sample % 2)): t.answer
        for t in trajectories
        if t.status in ("answered", "capped")
    }
