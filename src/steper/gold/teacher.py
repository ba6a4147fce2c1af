"""Gold annotations as a teacher: what a perfect reader would write at each step, with no LM.

It looks at the same request as an LM would, in structured form, and answers from the question's
annotation (MuSiQue's decomposition, 2Wiki's evidence triples, HotpotQA's supporting sentences). It
does not know more than was retrieved: a hop is told only when its gold passage is shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from functools import lru_cache
from typing import Any

from steper.errors import ModelError, QuestionDropped, SettingsError
from steper.gold.gold_plan import NO_ANNOTATION, NOT_RETRIEVED, NOT_SHOWN, GoldPlan, make_gold_plan
from steper.lm.base import Completion, Request
from steper.lm.open import How
from steper.prompt.segments import Form
from steper.records import Question
from steper.stored import stored_questions

PLANS = 1024
"""Questions whose plans are kept; more than are under way at once."""


class GoldTeacher:
    """A `LanguageModel` that answers from gold annotations; its futures are settled at once.

    A question is dropped (`QuestionDropped`) as `gold_passage_not_retrieved`, with the passage's
    title, when no untold hop has its passage among those shown; as `no_gold_annotation` when there
    is nothing to tell: no decomposition, no answer, HotpotQA supporting sentences without the
    answer, or HotpotQA under Self-Ask (it has no sub-questions). Usage is zero.

    With `look_ahead` an IRCoT sentence goes on to the next sub-question where its passage is still
    to be found ("The Bubye River is in Zimbabwe; next, what is the name of the waterfall in
    Zimbabwe?"): the sentence is the next query, and a bare fact often does not say what is sought.
    """

    name = "gold"
    form: Form = "plain"
    context_window: int | None = None
    greedy = True

    def __init__(self, questions: Iterable[Question], *, look_ahead: bool = False) -> None:
        self._questions = stored_questions(questions).by_key
        self._look_ahead = look_ahead
        self._plan = lru_cache(PLANS)(self._make_plan)

    def fingerprint(self) -> dict[str, Any]:
        """The version of the wording, and whether it looks ahead."""
        ahead = {"look_ahead": True} if self._look_ahead else {}
        return {"model": "gold", "version": 1, **ahead}

    def count_tokens(self, text: str) -> int:
        """Words; nothing limits this model."""
        return len(text.split())

    def submit(self, requests: Sequence[Request]) -> list[Future[Completion]]:
        """One settled future a request."""
        futures = []
        for request in requests:
            future: Future[Completion] = Future()
            try:
                future.set_result(Completion(text=self._text(request)))
            except QuestionDropped as dropped:
                future.set_exception(self._reason(request, dropped))
            except ModelError as error:
                future.set_exception(error)
            futures.append(future)
        return futures

    def close(self) -> None:
        """Nothing to give back."""

    def _reason(self, request: Request, dropped: QuestionDropped) -> QuestionDropped:
        """Tell a passage that was found, and left out of the prompt, from one never found."""
        hops = self._plan(request.question_id).hops
        missed = [h.passage for h in hops if h.passage and h.passage.title == dropped.detail]
        if dropped.reason == NOT_RETRIEVED and any(p.id in request.retrieved for p in missed):
            return QuestionDropped(NOT_SHOWN, dropped.detail)
        return dropped

    def _make_plan(self, question_id: str) -> GoldPlan:
        question = self._questions.get(question_id)
        if question is None:
            raise ModelError(f"the gold teacher was not given question {question_id!r}")
        return make_gold_plan(question)

    def _text(self, request: Request) -> str:
        plan = self._plan(request.question_id)
        if not plan.hops or not plan.answer:
            raise QuestionDropped(NO_ANNOTATION)
        if request.gold is None:
            raise ModelError(f"strategy {request.strategy} does not say how gold facts are worded")
        return request.gold(plan, request, self._look_ahead)


def open_gold(rest: str, how: How) -> GoldTeacher:
    """`gold` looks ahead, `gold:plain` does not; SettingsError without questions."""
    if rest not in ("", "plain"):
        raise ModelError(f"unknown model 'gold:{rest}'; known: gold, gold:plain")
    if how.questions is None:
        raise SettingsError("the model gold needs the questions with their annotations")
    return GoldTeacher(how.questions, look_ahead=not rest)
