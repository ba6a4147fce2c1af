"""What is fit to learn from where no gold answer is known: agreement, a judge, a first bad step.

In: the samples of a question, or a replayed trajectory. Out: which are left out, with the reason.
Beside these there is `min_grounded` (`filters`), which needs no gold either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from steper.errors import QuestionDropped, SettingsError
from steper.evaluation.gold_facts import claims, gold_facts, told_in
from steper.evaluation.official_scores import normalize_answer, score_answer
from steper.evaluation.samples import agreement, majority
from steper.examples.filters import Filter, FilterSettings, grounded
from steper.lm.judge import LMJudge, read_word
from steper.recipes.labels import UNREADABLE
from steper.records import Question, Trajectory
from steper.runs import Run
from steper.strategy.replay import Replay
from steper.text import limit_words

JUDGED_ANSWER = """Is the answer to the question right, as far as the passages and the reasoning \
show? Answer with one word, yes or no.

{passages}

Question: {question}
Reasoning: {reasoning}
Answer: {answer}"""

JUDGED_STEP = """Does the statement follow from the passages and what was said before? Answer with \
one word, yes or no.

{passages}

Question: {question}
Said before: {before}
Statement: {statement}"""


def inconsistent(samples: Sequence[Trajectory], share: float) -> set[tuple[str, int]]:
    """Keys of a question's samples that do not give the answer of at least that share of them.

    Wang et al.'s self-consistency (ICLR 2023): the answer given most often, of equals the one that
    came first; answers are compared as SQuAD normalises them. A sample without an answer counts to
    the share and agrees with none.
    """
    answers = [t.answer if t.status == "answered" else "" for t in samples]
    most = majority(answers)
    if not most or agreement(answers) < share:
        return {t.key for t in samples}
    same = normalize_answer(most)
    pairs = zip(samples, answers, strict=True)
    return {t.key for t, answer in pairs if normalize_answer(answer) != same}


def verified(question: Question, replay: Replay) -> dict[int, str]:
    """The first step that is not verified, and all after it, which stand on it.

    A step is verified where all its names and numbers stand in what it was given; where the
    question has gold facts, and was shown a passage with one not told yet, where it tells one; and
    the last one, where the question has gold answers, where its answer is right.
    """
    facts, told = gold_facts(question), set[int]()
    titles = [passage.title for passage in replay.trajectory.passages]
    gold = {passage.id for passage in question.gold}
    for step in replay.steps:
        new: set[int] = set()
        for claim in claims(step.rationale, step.query or "", titles):
            new |= told_in(claim, facts)
        shown = {f.position for f in facts if f.passage.id in gold & set(step.context)} - told
        last = step.index == len(replay.steps)
        asks = not claims(step.rationale, "", titles)  # Self-Ask's first step tells nothing
        idle = bool(shown) and not new & shown and not asks
        if grounded(replay, step) < 1 or (_wrong(question, replay) if last else idle):
            return dict.fromkeys(range(step.index, len(replay.steps) + 1), "not_verified")
        told |= new
    return {}


def _wrong(question: Question, replay: Replay) -> bool:
    if not question.answers:
        return False
    answer = replay.trajectory.answer
    return score_answer(answer, question.answers, question.benchmark).acc_token < 1


@dataclass
class Verdicts:
    """What a judge says of trajectories (`answer`) or of each of their steps (`steps`).

    Where it answers neither yes nor no, that is the reason.
    """

    judge: Callable[[str, str], str]

    def of_answer(self, question: Question, replay: Replay) -> dict[int, str]:
        """{0: reason} where the judge takes the answer for wrong."""
        said = " ".join(step.rationale for step in replay.steps)
        prompt = JUDGED_ANSWER.format(
            passages=_passages(replay, [i for step in replay.steps for i in step.context]),
            question=question.text,
            reasoning=said,
            answer=replay.trajectory.answer,
        )
        reason = self._objection(prompt, question.id, "judged_wrong")
        return {0: reason} if reason else {}

    def of_steps(self, question: Question, replay: Replay) -> dict[int, str]:
        """The first step that the judge does not find supported, and all after it."""
        before = ""
        for step in replay.steps:
            prompt = JUDGED_STEP.format(
                passages=_passages(replay, step.context),
                question=question.text,
                before=before or "nothing",
                statement=step.rationale,
            )
            if reason := self._objection(prompt, question.id, "judged_unsupported"):
                return dict.fromkeys(range(step.index, len(replay.steps) + 1), reason)
            before = f"{before} {step.rationale}".strip()
        return {}

    def _objection(self, prompt: str, question_id: str, no: str) -> str:
        """`no` where the judge says so, "" where it says yes."""
        try:
            said = self.judge(prompt, question_id)
        except QuestionDropped:  # the judge's server refused it
            return UNREADABLE
        return {"yes": "", "no": no}.get(read_word(said, ("yes", "no")), UNREADABLE)


def judging(judge: LMJudge | None, filters: FilterSettings) -> tuple[Filter, ...]:
    """The judge as a filter, where it is asked."""
    if judge is None or filters.judged == "none":
        return ()
    verdicts = Verdicts(judge.ask)
    return (verdicts.of_answer if filters.judged == "answer" else verdicts.of_steps,)


def _passages(replay: Replay, ids: Sequence[str]) -> str:
    words = replay.strategy.prompt.passage_words
    shown = (replay.passages[i] for i in dict.fromkeys(ids))
    return "\n\n".join(f"{p.title}\n{limit_words(p.text, words)[0]}" for p in shown)


def check_filters(filters: FilterSettings, run: Run, judge: bool) -> None:
    """Refuse filters that this run, or want of a judge, leaves without effect."""
    if filters.consistent and "samples" not in run.manifest["settings"]:
        raise SettingsError(
            f"consistent compares several samples of a question, and {run.path} has one of each; "
            "make more: steper teach --samples 5, with a temperature above 0"
        )
    if filters.judged != "none" and not judge:
        raise SettingsError(f"judged={filters.judged} asks a judge; name its model: --judge")
