"""The engine against a lock-step runner, on a scripted model that sleeps as a remote LLM does.

    python benchmarks/engine.py

256 questions of 2-5 steps; a generation sleeps 20-200 ms; 64 requests in flight. The ideal is the
total sleep divided by 64. Also measured: the engine's own time per action, with no sleep at all.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from steper.lm.base import Request
from steper.lm.scripted import ScriptedModel, seeded_delay
from steper.prompt.render import PromptSettings
from steper.records import Passage, Question
from steper.retrieve.base import Found
from steper.runs import teach
from steper.strategy.actions import Generate, Search
from steper.strategy.ircot import IRCoT
from steper.strategy.trace import Trace

LOW, HIGH = 0.020, 0.200


class Everything:
    """A retriever that finds four made-up passages for any query."""

    def search(self, queries: Sequence[str], k: int) -> list[list[Found]]:
        return [
            [Found(Passage.make(f"{hash((q, i))}", f"Text {q} {i}"), 1.0) for i in range(k)]
            for q in queries
        ]

    def fingerprint(self) -> dict[str, object]:
        return {"kind": "everything"}

    def close(self) -> None:
        pass


def steps_of(question_id: str) -> int:
    """2 to 5, fixed by the question."""
    return random.Random(question_id).randint(2, 5)


def script(request: Request) -> str:
    """A sentence a step, then the answer."""
    if request.step == steps_of(request.question_id):
        return "So the answer is: yes."
    return f"Fact {request.step} of {request.question_id} is known."


def strategy() -> IRCoT:
    return IRCoT(prompt=PromptSettings(demos=0))


def run_engine(questions: list[Question], delay: bool, in_flight: int) -> tuple[float, int]:
    """Seconds and actions of a `teach` run, records on disk included."""
    model = ScriptedModel(script, delay=seeded_delay(LOW, HIGH) if delay else None)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        run = teach(
            questions, strategy(), model, Everything(), Path(folder) / "run", in_flight=in_flight
        )
        seconds = time.perf_counter() - start
        counts = run.manifest["counts"]
    model.close()
    return seconds, counts["searches"] + counts["generations"]


def run_lock_step(questions: list[Question], in_flight: int) -> float:
    """Everyone waits for the slowest: a batch's step ends before any goes on to the next."""
    model = ScriptedModel(script, delay=seeded_delay(LOW, HIGH))
    retriever = Everything()
    start = time.perf_counter()
    for first in range(0, len(questions), in_flight):
        batch = questions[first : first + in_flight]
        flights = [(q.id, strategy().run(Trace(q.text))) for q in batch]
        pending = [(qid, run, next(run)) for qid, run in flights]
        while pending:
            searched = [p for p in pending if isinstance(p[2], Search)]
            found = retriever.search([p[2].query for p in searched if isinstance(p[2], Search)], 4)
            asking = [(p[0], p[1], p[1].send(f)) for p, f in zip(searched, found, strict=True)]
            futures = model.submit([_request(qid, a) for qid, _, a in asking])
            results = [future.result() for future in futures]
            pending = []
            for (qid, run, _), result in zip(asking, results, strict=True):
                try:
                    pending.append((qid, run, run.send(result)))
                except StopIteration:
                    continue
    model.close()
    return time.perf_counter() - start


def _request(question_id: str, action: Generate | Search) -> Request:
    assert isinstance(action, Generate)
    return Request(question_id, "ircot", action.step, action.role, action.prompt, action.stop)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--questions", type=int, default=256)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    questions = [Question(id=f"q{i}", text=f"Question {i}?") for i in range(options.questions)]
    delay = seeded_delay(LOW, HIGH)
    empty = strategy().run(Trace("q"))
    next(empty)
    prompt = empty.send([])
    assert isinstance(prompt, Generate)
    total = sum(
        delay(Request(q.id, "ircot", step, "reason", prompt.prompt))
        for q in questions
        for step in range(1, steps_of(q.id) + 1)
    )
    ideal = total / options.in_flight
    print(f"ideal (total sleep {total:.1f} s / {options.in_flight}): {ideal:.2f} s")
    for _ in range(options.repeat):
        seconds, _ = run_engine(questions, True, options.in_flight)
        locked = run_lock_step(questions, options.in_flight)
        print(
            f"engine {seconds:.2f} s ({seconds / ideal:.2f}x ideal), "
            f"lock-step {locked:.2f} s ({locked / ideal:.2f}x), ratio {locked / seconds:.2f}"
        )
    for _ in range(options.repeat):
        seconds, actions = run_engine(questions * 1, False, options.in_flight)
        print(f"own cost: {1000 * seconds / actions:.3f} ms an action ({actions} actions)")


if __name__ == "__main__":
    main()
