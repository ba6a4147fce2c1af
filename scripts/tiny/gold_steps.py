"""Gold trajectories of a world's questions, in the words that the small teacher was trained on."""

from __future__ import annotations

from itertools import pairwise

from steper.data.world.world_questions import WorldQuestion


def gold_steps(question: WorldQuestion, strategy: str) -> tuple[str, ...]:
    """What each step of the strategy writes: IRCoT's sentences, or Self-Ask's pieces."""
    return _ircot(question) if strategy == "ircot" else _self_ask(question)


def _ircot(question: WorldQuestion) -> tuple[str, ...]:
    """One sentence a hop, then the answer."""
    return (*(hop.rationale for hop in question.hops), _conclusion(question))


def _conclusion(question: WorldQuestion) -> str:
    """The sentence with the answer; of a comparison it says first what is compared."""
    answer = question.answer
    if "comparison" not in question.type:
        return f"So the answer is: {answer}."
    one, other = question.hops[-2:]
    if answer in ("yes", "no"):
        return f"So it is {one.answer} and {other.answer}, and the answer is: {answer}."
    if question.hops[0].subject != answer:
        one, other = other, one
    which = "first" if int(one.answer) < int(other.answer) else "later"
    return f"So the {which} year is {one.answer} of {one.subject}, and the answer is: {answer}."


def _self_ask(question: WorldQuestion) -> tuple[str, ...]:
    """Each piece answers one follow-up and asks the next."""
    hops = question.hops
    pieces = [f"Follow up: {hops[0].sub_question}"]
    for hop, following in pairwise(hops):
        pieces.append(f"Intermediate answer: {hop.answer}\nFollow up: {following.sub_question}")
    last = f"So the final answer is: {question.answer}"
    return (*pieces, f"Intermediate answer: {hops[-1].answer}\n{last}")
