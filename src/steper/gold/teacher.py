"""Gold annotations as a teacher: what a perfect reader would write at each step, with no LM.

It looks at the same request as an LM would, in structured form, and answers from the question's
annotation (MuSiQue's decomposition, 2Wiki's evidence triples, HotpotQA's supporting sentences). It
does not know more than was retrieved: a hop is told only when its gold passage is shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from steper.errors import ModelError, QuestionDropped
from steper.gold.facts import fact_hops
from steper.gold.hops import GoldHop, gold_hops, stem
from steper.lm.base import Completion, Request
from steper.prompt.segments import Form
from steper.records import Passage, Question

NOT_RETRIEVED = "gold_passage_not_retrieved"
NOT_SHOWN = "gold_passage_not_in_prompt"
NO_ANNOTATION = "no_gold_annotation"

_CUE = re.compile(r"answer is:\s*$", re.I)
_WH = re.compile(r"(Who|What|Which|Where|When|How|In|Of|At|To|The)\b")
_MARKER = re.compile(r"(?P<asked>follow[- ]?up\s*:)|(?P<told>intermediate answer\s*:)", re.I)


@dataclass(frozen=True, slots=True)
class Plan:
    """A question's hops in words, and its official answer."""

    hops: tuple[GoldHop, ...]
    answer: str
    sub_questions: bool


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

    def __init__(self, questions: Iterable[Question], *, look_ahead: bool = False) -> None:
        self._questions = {q.id: q for q in questions}
        self._look_ahead = look_ahead
        self._plans: dict[str, Plan] = {}

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

    def _plan(self, question_id: str) -> Plan:
        if question_id not in self._plans:
            question = self._questions.get(question_id)
            if question is None:
                raise ModelError(f"the gold teacher was not given question {question_id!r}")
            self._plans[question_id] = make_plan(question)
        return self._plans[question_id]

    def _text(self, request: Request) -> str:
        plan = self._plan(request.question_id)
        if not plan.hops or not plan.answer:
            raise QuestionDropped(NO_ANNOTATION)
        if _CUE.search(request.prompt.text()):
            _all_shown(plan, _untold(plan, request.rationales), request.passages)
            return plan.answer
        if request.strategy == "self_ask":
            if not plan.sub_questions:
                raise QuestionDropped(NO_ANNOTATION, "no sub-questions")
            return _self_ask(plan, request)
        if request.strategy == "ircot" and request.role == "reason":
            return _ircot(plan, request, self._look_ahead)
        if request.strategy == "one_shot":
            _all_shown(plan, range(len(plan.hops)), request.passages)
        if request.role == "read":
            return closing("So the answer is:", plan.answer)
        return " ".join((*_in_order(plan), closing("So the answer is:", plan.answer)))


def make_plan(question: Question) -> Plan:
    """What can be told of a question; no hops where the annotation does not allow it."""
    answer = question.answers[0].strip() if question.answers else ""
    hops = gold_hops(question)
    return Plan(hops or fact_hops(question), answer, sub_questions=bool(hops))


def closing(cue: str, answer: str) -> str:
    """`So the answer is: X.`, with one closing mark."""
    return f"{cue} {answer}" if answer.endswith((".", "?", "!")) else f"{cue} {answer}."


def _in_order(plan: Plan) -> list[str]:
    last = len(plan.hops) - 1
    return [hop.sentence(last=i == last) for i, hop in enumerate(plan.hops)]


def _untold(plan: Plan, rationales: Sequence[str]) -> list[int]:
    """Positions of the hops that no rationale states; a rationale may have been cut short.

    Hops that read alike are told as often as they are stated.
    """
    stated = [stem(" ".join(r.split())) for r in rationales if r.strip()]
    untold = []
    for position, hop in enumerate(plan.hops):
        own = stem(hop.statement)
        found = next((s for s in stated if s.startswith(own) or own.startswith(s)), None)
        if found is None:
            untold.append(position)
        else:
            stated.remove(found)
    return untold


def _shown(hop: GoldHop, passages: Sequence[Passage]) -> bool:
    """Whether the hop's gold passage is among those shown, by id or by title and text."""
    gold = hop.passage
    return gold is not None and any(
        p.id == gold.id or (p.title == gold.title and p.text == gold.text) for p in passages
    )


def _all_shown(plan: Plan, hops: Iterable[int], passages: Sequence[Passage]) -> None:
    for position in hops:
        if not _shown(plan.hops[position], passages):
            raise _missing(plan.hops[position])


def _missing(hop: GoldHop) -> QuestionDropped:
    if hop.passage is None:
        return QuestionDropped(NO_ANNOTATION, "a hop has no gold passage")
    return QuestionDropped(NOT_RETRIEVED, hop.passage.title)


def _ircot(plan: Plan, request: Request, look_ahead: bool) -> str:
    """The next hop whose passage is there and whose premises are told, or the answer.

    Looking ahead, the sentence goes on to what is asked next if that passage is still to be found.
    """
    untold = _untold(plan, request.rationales)
    if not untold:
        return closing("So the answer is:", plan.answer)
    ready = [i for i in untold if not plan.hops[i].needs & set(untold)]
    for position in ready:
        if _shown(plan.hops[position], request.passages):
            told = plan.hops[position].sentence(last=len(untold) == 1)
            rest = [i for i in untold if i != position]
            following = _following(plan, rest, request.passages) if look_ahead else None
            return f"{stem(told)}; next, {_lowered(following)}" if following else told
    raise _missing(plan.hops[ready[0]])


def _following(plan: Plan, rest: Sequence[int], passages: Sequence[Passage]) -> str | None:
    """The sub-question of the next hop, unless some next hop's passage is there already."""
    ready = [plan.hops[i] for i in rest if not plan.hops[i].needs & set(rest)]
    if not ready or any(_shown(hop, passages) for hop in ready):
        return None
    return ready[0].question or None


def _lowered(question: str) -> str:
    """A question in the middle of a sentence: its wh-word in lower case."""
    return question[:1].lower() + question[1:] if _WH.match(question) else question


def _self_ask(plan: Plan, request: Request) -> str:
    """The hops in order: the next follow-up, after the answer of the last one if it is open."""
    markers = [m.lastgroup for r in request.rationales for m in _first_markers(r)]
    asked, told = markers.count("asked"), markers.count("told")
    if request.role == "read":
        if not asked:
            return closing("So the answer is:", plan.answer)
        hop = plan.hops[min(asked, len(plan.hops)) - 1]
        if not _shown(hop, request.passages):
            raise _missing(hop)
        return closing("So the answer is:", hop.answer)
    said = ""
    if asked > told and asked <= len(plan.hops):
        hop = plan.hops[asked - 1]
        if not _shown(hop, request.passages):
            raise _missing(hop)
        said = f"Intermediate answer: {hop.answer}\n"
    if asked >= len(plan.hops):
        return said + closing("So the final answer is:", plan.answer)
    return f"{said}Follow up: {plan.hops[asked].question}"


def _first_markers(rationale: str) -> Iterable[re.Match[str]]:
    """The marker that opens each line, if one does."""
    return (m for line in rationale.splitlines() if (m := _MARKER.match(line.strip())))
