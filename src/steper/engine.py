"""Drives many strategies at once, with no step barrier: what is pending is searched or generated.

One thread owns all state. Models and retrievers work in their own threads and hand each result to
the inbox; results are recorded first and then sent into their generator, whose next action joins
what is pending. A question at step 1 shares a batch with one at step 4.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush
from queue import Empty, SimpleQueue
from typing import Any

from steper.errors import ModelError, QuestionDropped, RetrievalError, SettingsError
from steper.lm.base import Completion, FatalModelError, LanguageModel, Request
from steper.lm.futures import outcome_of
from steper.records import Attempt, Passage, Question, StopReason, Trajectory, Usage
from steper.retrieve.base import Found, Retriever, recordable
from steper.strategy.actions import Action, Actions, Generate, Search, request_digest
from steper.strategy.base import Strategy
from steper.strategy.trace import Ending, Trace

log = logging.getLogger(__name__)

ActionRow = dict[str, Any]

Start = Callable[[Attempt], tuple[Trace, Actions]]
"""Where an attempt begins: the trace that it writes, and the generator that does."""

TURN = 32
"""Results taken, and queries searched, at a time: a small number keeps the model fed meanwhile."""


@dataclass
class Stats:
    """What an engine has done so far; `replayed` actions were taken from the records."""

    total: int = 0
    done: int = 0
    in_flight: int = 0
    searches: int = 0
    generations: int = 0
    replayed: int = 0
    usage: Usage = field(default_factory=Usage)
    by_status: Counter[str] = field(default_factory=Counter)
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Wall time since the engine started."""
        return time.monotonic() - self.started


@dataclass(eq=False)
class _Flight:
    """One attempt at a question under way."""

    question: Question
    sample: int
    trace: Trace
    actions: Actions
    recorded: list[ActionRow]
    count: int = 0
    pending: Action | None = None


class Engine:
    """Runs one strategy over many questions with a model and a retriever.

    At most `in_flight` requests are at the model at once, and `window` questions (four times as
    many) under way, which bounds memory: with more questions than requests the model stays busy
    while others search, and to the end. `record` is called with finished actions before anything
    depends on them. A question whose model or search fails is recorded as failed; `max_failures`
    generations, or searches, that fail in a row end the run with the error. `start` is for attempts
    that do not begin with the question alone.
    """

    def __init__(
        self,
        strategy: Strategy[Any],
        lm: LanguageModel,
        retriever: Retriever | None,
        *,
        in_flight: int = 64,
        window: int | None = None,
        max_failures: int = 10,
        settings: str = "",
        record: Callable[[Sequence[ActionRow]], None] | None = None,
        recorded: dict[tuple[str, int], list[ActionRow]] | None = None,
        progress: Callable[[Stats], None] | None = None,
        start: Start | None = None,
    ) -> None:
        self.strategy = strategy
        self.lm = lm
        self.retriever = retriever
        self.in_flight = in_flight
        self.window = window or 4 * in_flight
        self.max_failures = max_failures
        self.settings = settings
        self.stats = Stats()
        self._record = record
        self._recorded = recorded or {}
        self._progress = progress
        self._start = start or self._from_the_question
        self._inbox: SimpleQueue[tuple[_Flight, Any]] = SimpleQueue()
        self._flights: set[_Flight] = set()
        self._searches: list[_Flight] = []
        self._generations: list[tuple[int, int, _Flight]] = []  # heap: fewest steps first
        self._finished: list[Trajectory] = []
        self._events: list[tuple[_Flight, Any]] = []  # taken from the inbox, not recorded yet
        self._searcher: ThreadPoolExecutor | None = None
        self._searching = False
        self._asked = 0
        self._queued = 0
        self._failures: Counter[type] = Counter()  # in a row

    def run(self, attempts: Iterable[Question | Attempt]) -> Generator[Trajectory, None, None]:
        """Trajectories in the order they finish; a question stands for the first attempt at it.

        Raises SteperError when the model or retriever gives up for good. Leaving the iteration
        early drops what is in flight; its finished actions are recorded.
        """
        source = (Attempt(one) if isinstance(one, Question) else one for one in attempts)
        self._searcher = ThreadPoolExecutor(1, "search")
        try:
            while self._admit(source) or self._flights or self._finished:
                finished, self._finished = self._finished, []
                yield from finished
                if self._flights:
                    self._dispatch()
                    self._take(self._wait())
                if self._progress:
                    self._progress(self.stats)
        finally:
            self._searcher.shutdown(wait=False, cancel_futures=True)
            self._record_rest()

    def _admit(self, source: Iterator[Attempt]) -> bool:
        """Start questions while there is room; whether any was started."""
        started = False
        while len(self._flights) < self.window:
            attempt = next(source, None)
            if attempt is None:
                break
            recorded = self._recorded.pop(attempt.key, [])
            flight = _Flight(*attempt, *self._start(attempt), recorded)
            self._flights.add(flight)
            self._advance(flight, None)
            started = True
        self.stats.in_flight = len(self._flights)
        return started

    def _from_the_question(self, attempt: Attempt) -> tuple[Trace, Actions]:
        trace = Trace(attempt.question.text)
        return trace, self.strategy.run(trace)

    def _dispatch(self) -> None:
        """Hand everything pending to the model and, in one batch, to the retriever."""
        room = self.in_flight - self._asked
        if self._generations and room > 0:
            waiting = self._generations
            flights = [heappop(waiting)[2] for _ in range(min(room, len(waiting)))]
            self._asked += len(flights)
            futures = self.lm.submit([self._request(f) for f in flights])
            for flight, future in zip(flights, futures, strict=True):
                future.add_done_callback(partial(self._deliver, flight))
        if self._searches and not self._searching:
            flights, self._searches = self._searches[:TURN], self._searches[TURN:]
            self._searching = True
            assert self._searcher is not None
            self._searcher.submit(self._search, flights)

    def _deliver(self, flight: _Flight, done: Future[Completion]) -> None:
        self._inbox.put((flight, done))

    def _request(self, flight: _Flight) -> Request:
        action = flight.pending
        assert isinstance(action, Generate)
        return Request(
            question_id=flight.question.id,
            strategy=self.strategy.name,
            step=action.step,
            role=action.role,
            prompt=action.prompt,
            stop=action.stop,
            max_tokens=action.max_tokens,
            passages=action.passages,
            rationales=action.rationales,
            retrieved=action.retrieved,
            cue=action.cue,
            gold=self.strategy.word_gold,
            logprobs=action.logprobs,
            sample=flight.sample,
        )

    def _search(self, flights: list[_Flight]) -> None:
        """In the search thread: one batch for each k."""
        by_k: dict[int, list[_Flight]] = {}
        for flight in flights:
            assert isinstance(flight.pending, Search)
            by_k.setdefault(flight.pending.k, []).append(flight)
        for k, group in by_k.items():
            try:
                assert self.retriever is not None
                queries = [f.pending.query for f in group if isinstance(f.pending, Search)]
                found = self.retriever.search(queries, k)
                if len(found) != len(queries):
                    raise RetrievalError(
                        f"the retriever gave {len(found)} results for {len(queries)} queries; "
                        "one list of passages a query was expected"
                    )
                results: list[Any] = [recordable(each) for each in found]
            except Exception as error:  # noqa: BLE001 (raised again in the engine's thread)
                results = [error] * len(group)
            for flight, result in zip(group, results, strict=True):
                self._inbox.put((flight, result))
        self._inbox.put((flights[0], _SEARCHED))

    def _wait(self) -> list[tuple[_Flight, Any]]:
        """Results that are there, up to a turn's; waits for the first, half a second at most."""
        events = self._events
        try:
            events.append(self._inbox.get(timeout=0.5))
            while len(events) < TURN:
                events.append(self._inbox.get_nowait())
        except Empty:
            pass
        return events

    def _take(self, events: list[tuple[_Flight, Any]]) -> None:
        """Record results, then send each into its generator."""
        for _, outcome in events:
            if outcome is _SEARCHED:
                self._searching = False
            elif isinstance(outcome, Future):
                self._asked -= 1
        results = _results(events)
        self._record_good(results)
        self._events = []
        for flight, result in results:
            if not isinstance(result, BaseException):
                self._failures[type(flight.pending)] = 0
                self._count(result)
                self._advance(flight, result)
        for flight, error in results:
            if isinstance(error, BaseException):
                self._fail(flight, error)

    def _record_good(self, results: list[tuple[_Flight, Any]]) -> None:
        rows = [_row(f, result) for f, result in results if not isinstance(result, BaseException)]
        if self._record and rows:
            self._record(rows)

    def _record_rest(self) -> None:
        """At an early end, record what had finished meanwhile: it was paid for."""
        events, self._events = self._events, []
        while not self._inbox.empty():
            events.append(self._inbox.get_nowait())
        self._record_good(_results(events))

    def _count(self, result: Any) -> None:
        if isinstance(result, Completion):
            self.stats.generations += 1
            self.stats.usage = self.stats.usage + result.usage
        else:
            self.stats.searches += 1

    def _advance(self, flight: _Flight, result: Any) -> None:
        """Send a result into the generator, replay what is recorded, queue the next action."""
        try:
            if flight.pending is None:
                action = next(flight.actions)
            else:
                flight.count += 1
                action = flight.actions.send(result)
            while flight.count < len(flight.recorded):
                flight.pending = action
                result = _replay(flight, flight.recorded[flight.count])
                self.stats.replayed += 1
                flight.count += 1
                action = flight.actions.send(result)
        except StopIteration as stop:
            self._finish(flight, stop.value)
            return
        except (ModelError, QuestionDropped) as error:  # what was written cannot be gone on from
            self._fail(flight, error)
            return
        flight.pending = action
        if isinstance(action, Search):
            if self.retriever is None:
                raise SettingsError(
                    f"strategy {self.strategy.name} searches, so it needs a corpus or an index"
                )
            self._searches.append(flight)
        else:
            # Questions with most still to do go first: none is left over alone at the end.
            heappush(self._generations, (action.step, self._queued, flight))
            self._queued += 1

    def _fail(self, flight: _Flight, error: BaseException) -> None:
        if isinstance(error, QuestionDropped):
            self._give_up(flight, StopReason.DROPPED, error)
            return
        if not isinstance(error, (ModelError, RetrievalError)) or isinstance(
            error, FatalModelError
        ):
            raise error
        kind = type(flight.pending)
        self._failures[kind] += 1
        log.warning("question %s failed: %s", flight.question.id, error)
        nothing_worked = self.stats.generations == 0 and len(self._flights) == 1
        if self._failures[kind] >= self.max_failures or nothing_worked:
            raise error
        self._give_up(flight, StopReason.FAILED, error)

    def _give_up(self, flight: _Flight, reason: StopReason, error: Exception) -> None:
        """Let the strategy write down what it had of the step, then finish without an answer."""
        with suppress(type(error), StopIteration):
            flight.actions.throw(error)
        self._finish(flight, Ending("", reason), str(error))

    def _finish(self, flight: _Flight, ending: Ending, error: str | None = None) -> None:
        flight.actions.close()
        self._flights.discard(flight)
        trajectory = flight.trace.trajectory(
            flight.question.id,
            self.strategy.name,
            self.strategy.prompt.layout,
            self.lm.name,
            self.settings,
            ending,
            error,
            flight.sample,
        )
        stats = self.stats
        stats.done += 1
        stats.in_flight = len(self._flights)
        stats.by_status[trajectory.status] += 1
        self._finished.append(trajectory)


_SEARCHED = object()


def _results(events: list[tuple[_Flight, Any]]) -> list[tuple[_Flight, Any]]:
    """What came of searches and generations: a result or an exception each."""
    results = []
    for flight, outcome in events:
        if isinstance(outcome, Future):
            assert isinstance(flight.pending, Generate)
            asked = flight.pending
            results.append((flight, outcome_of(outcome, asked.max_tokens, asked.logprobs)))
        elif outcome is not _SEARCHED:
            results.append((flight, outcome))
    return results


def _row(flight: _Flight, result: Any) -> ActionRow:
    """The record of a finished action."""
    assert flight.pending is not None
    row: ActionRow = {
        "question_id": flight.question.id,
        **({"sample": flight.sample} if flight.sample else {}),
        "n": flight.count,
        "request": request_digest(flight.pending),
    }
    if isinstance(result, Completion):
        row["completion"] = result.model_dump(mode="json")
    else:
        row["found"] = [
            {"passage": f.passage.model_dump(mode="json"), "score": f.score} for f in result
        ]
    return row


def _replay(flight: _Flight, row: ActionRow) -> Completion | list[Found]:
    """The recorded result of the flight's pending action."""
    assert flight.pending is not None
    if row["n"] != flight.count or row["request"] != request_digest(flight.pending):
        raise SettingsError(
            f"question {flight.question.id}: recorded action {row['n']} is not what the strategy "
            "asks now (its prompts have changed since); use another --out, or --overwrite"
        )
    if "completion" in row:
        return Completion.model_validate(row["completion"])
    return [
        Found(Passage.model_validate(found["passage"]), found["score"]) for found in row["found"]
    ]
