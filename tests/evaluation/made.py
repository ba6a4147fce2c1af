"""Small questions and trajectories by hand."""

from steper.records import Hit, Passage, Question, Step, StopReason, Trajectory, Usage

ADA = Passage.make("Ada Lovelace", "Ada Lovelace lived in London.")
LONDON = Passage.make("London", "London is the capital of England.")
NOISE = Passage.make("Noise", "Noise is unwanted sound.")

STOPS = {
    "answered": StopReason.ANSWERED,
    "capped": StopReason.STEP_CAP,
    "failed": StopReason.FAILED,
    "dropped": StopReason.DROPPED,
}


def make_question(qid, answers=("England",), benchmark="hotpotqa", **fields):
    fields = {"gold": (ADA, LONDON), "hops": 2, **fields}
    return Question(id=qid, text=f"Question {qid}?", answers=answers, benchmark=benchmark, **fields)


def make_trajectory(qid, answer="", searches=((ADA,), (LONDON,)), status="answered", error=None):
    """A trajectory with one step a search: 10 + 2 tokens and a tenth of a cent each."""
    steps = tuple(
        Step(
            index=i,
            kind="exp",
            query=f"query {i}",
            hits=tuple(Hit(passage_id=p.id, score=1.0, rank=r) for r, p in enumerate(found, 1)),
            context=tuple(p.id for p in found),
            usage=Usage(prompt_tokens=10, completion_tokens=2, dollars=0.001),
        )
        for i, found in enumerate(searches, 1)
    )
    return Trajectory(
        question_id=qid,
        question=f"Question {qid}?",
        strategy="ircot",
        layout="passages_first",
        model="scripted",
        steps=steps,
        passages=(ADA, LONDON, NOISE),
        answer=answer,
        status=status,
        stop_reason=STOPS[status],
        error=error,
    )
