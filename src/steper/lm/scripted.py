"""A model that says what a script tells it to: for tests, benchmarks and dry runs.

It can sleep before each answer as a remote LLM would: one timer thread holds any number of
requests in flight. A call log survives `kill -9`.
"""

from __future__ import annotations

import heapq
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from random import Random
from typing import Any

import orjson
from pydantic import ValidationError, model_validator

from steper.errors import InputError, ModelError
from steper.lm.base import Completion, Request
from steper.lm.futures import CompletionFuture, settle
from steper.lm.open import How
from steper.lm.thinking import in_words
from steper.prompt.segments import Form
from steper.records import Record, StepRole
from steper.store import field_error, read_json_lines, sha256_file
from steper.text import brief

Script = Callable[[Request], "str | Completion | Exception"]
Delay = Callable[[Request], float]


class ScriptRow(Record):
    """A line of a script file.

    Either the text for one (question_id, step, role), or a `default` for every request that no
    other line answers; a default's `step` and `role` narrow what it answers.
    """

    text: str
    question_id: str | None = None
    step: int | None = None
    role: StepRole | None = None
    default: bool = False

    @model_validator(mode="after")
    def _addressed(self) -> ScriptRow:
        if self.default and self.question_id is not None:
            raise ValueError("a default row has no question_id")
        if not self.default and (self.question_id is None or self.step is None):
            raise ValueError("question_id and step are required unless default is true")
        return self

    @property
    def key(self) -> tuple[str | None, int | None, str | None]:
        """What the row answers; None is "any"."""
        role = self.role if self.default else self.role or "reason"
        return self.question_id, self.step, role


def seeded_delay(low: float, high: float, seed: int = 0) -> Delay:
    """A delay in seconds, uniform in [low, high], fixed by (seed, question id, step, role)."""

    def delay(request: Request) -> float:
        key = f"{seed}|{request.question_id}|{request.step}|{request.role}"
        return Random(key).uniform(low, high)

    return delay


def read_script(path: Path | str) -> Script:
    """The script in a JSON-lines file of `ScriptRow`s.

    Raises InputError at a bad or repeated row. A request that no row answers is a ModelError.
    """
    rows: dict[tuple[str | None, int | None, str | None], tuple[int, str]] = {}
    for number, value in read_json_lines(path):
        try:
            row = ScriptRow.model_validate(value)
        except ValidationError as error:
            raise InputError(f"{path}, line {number}: {field_error(error)}") from None
        if row.key in rows:
            raise InputError(f"{path}, line {number}: repeats line {rows[row.key][0]}")
        rows[row.key] = number, row.text
    if not rows:
        raise InputError(f"{path}: a script needs at least one row")

    def script(request: Request) -> str | Completion | Exception:
        step, role = request.step, request.role
        for key in (
            (request.question_id, step, role),
            (None, step, role),
            (None, step, None),
            (None, None, role),
            (None, None, None),
        ):
            if key in rows:
                return rows[key][1]
        return ModelError(
            f"{path}: no text for question {request.question_id!r}, step {step}, role {role!r}; "
            'add that row, or one with "default": true'
        )

    return script


class ScriptedModel:
    """Answers each request with `script(request)`: text, a Completion, or an exception to fail it.

    A text is taken apart from its thoughts and cut at the request's stop strings; a Completion is
    handed on as it is. Tokens are
    counted as white-space separated words, and `max_tokens` is not enforced.

    `delay(request)` seconds pass between a request's start and its answer; without it `submit`
    answers at once, in the caller's thread. At most `max_concurrency` requests are under way, the
    others wait their turn. `call_log` gets one line `{"question_id", "step", "role"}` at the start
    of each call, by a single unbuffered append. `identity` is recorded in the fingerprint.
    """

    def __init__(
        self,
        script: Script,
        *,
        delay: Delay | None = None,
        max_concurrency: int | None = None,
        call_log: Path | str | None = None,
        name: str = "scripted",
        form: Form = "plain",
        context_window: int | None = None,
        identity: str = "",
    ) -> None:
        if max_concurrency is not None and max_concurrency < 1:
            raise InputError(f"max_concurrency is {max_concurrency}; it must be at least 1")
        self.name = name
        self.form: Form = form
        self.context_window = context_window
        self.greedy = False
        self._identity = identity
        self._script = script
        self._delay = delay
        self._limit = max_concurrency
        self._log = _open_log(call_log)
        self._waiting: deque[tuple[float, Request, Future[Completion]]] = deque()
        self._asleep: list[tuple[float, int, Request, Future[Completion]]] = []
        self._started = 0
        self._closed = False
        self._changed = threading.Condition()
        self._timer: threading.Thread | None = None

    @classmethod
    def from_file(cls, path: Path | str, **settings: Any) -> ScriptedModel:
        """A model that reads its script from a JSON-lines file (see `ScriptRow`)."""
        path = Path(path)
        settings.setdefault("name", f"scripted:{path}")
        model = cls(read_script(path), identity=sha256_file(path), **settings)
        model.greedy = True
        return model

    def __repr__(self) -> str:
        return brief("ScriptedModel", repr(self.name), self.form)

    def fingerprint(self) -> dict[str, Any]:
        """Kind, form and the script's identity (its file's SHA-256); not the delay."""
        return {"kind": "scripted", "form": self.form, "script": self._identity or self.name}

    def count_tokens(self, text: str) -> int:
        """White-space separated words."""
        return len(text.split())

    def submit(self, requests: Sequence[Request]) -> list[Future[Completion]]:
        """Start all requests; each future is settled after its delay."""
        futures: list[Future[Completion]] = [CompletionFuture() for _ in requests]
        pauses = [self._delay(request) for request in requests] if self._delay else []
        with self._changed:
            if self._closed:
                raise ModelError(f"{self.name} is closed")
            if self._delay is not None:
                self._waiting.extend(zip(pauses, requests, futures, strict=True))
                self._start_waiting()
                if self._timer is None:
                    self._timer = threading.Thread(
                        target=self._run, name="steper-scripted", daemon=True
                    )
                    self._timer.start()
                self._changed.notify()
                return futures
        for request, future in zip(requests, futures, strict=True):
            self._note(request)
            settle(future, self._answer(request))
        return futures

    def close(self) -> None:
        """Cancel what is pending and end the timer thread."""
        with self._changed:
            if self._closed:
                return
            pending = self._shut()
        for future in pending:
            future.cancel()
        if self._timer is not None and self._timer is not threading.current_thread():
            self._timer.join()
        if self._log is not None:
            os.close(self._log)
            self._log = None

    def _shut(self) -> list[Future[Completion]]:
        """Take no more requests; returns the unsettled futures. The lock is held."""
        self._closed = True
        pending = [row[-1] for row in self._waiting] + [row[-1] for row in self._asleep]
        self._waiting.clear()
        self._asleep.clear()
        self._changed.notify_all()
        return pending

    def _start_waiting(self) -> None:
        """Put waiting requests to sleep while there is room. The lock is held."""
        now = time.monotonic()
        while self._waiting and (self._limit is None or len(self._asleep) < self._limit):
            pause, request, future = self._waiting.popleft()
            if future.cancelled():
                continue
            self._note(request)
            self._started += 1
            heapq.heappush(self._asleep, (now + pause, self._started, request, future))

    def _run(self) -> None:
        """The timer thread; whatever ends it is told to all futures."""
        try:
            self._keep_time()
        except BaseException as error:  # noqa: BLE001 - a dead timer must not look like a slow one
            with self._changed:
                pending = self._shut()
            for future in pending:
                settle(future, error)

    def _keep_time(self) -> None:
        """Settle what is due, start what waits, sleep until the next is due."""
        while True:
            with self._changed:
                if self._closed:
                    return
                now = time.monotonic()
                due: list[tuple[Request, Future[Completion]]] = []
                while self._asleep and self._asleep[0][0] <= now:
                    due.append(heapq.heappop(self._asleep)[2:])
                self._start_waiting()
                if not due:
                    until = self._asleep[0][0] - now if self._asleep else None
                    self._changed.wait(until)
                    continue
            for request, future in due:
                settle(future, self._answer(request))

    def _note(self, request: Request) -> None:
        if self._log is None:
            return
        row = {"question_id": request.question_id, "step": request.step, "role": request.role}
        os.write(self._log, orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))

    def _answer(self, request: Request) -> Completion | BaseException:
        try:
            said = self._script(request)
        except Exception as error:  # noqa: BLE001 - it belongs to the request's future
            return error
        if not isinstance(said, str):
            return said
        return in_words(request, said)


def _open_log(path: Path | str | None) -> int | None:
    if path is None:
        return None
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)


def open_scripted(rest: str, how: How) -> ScriptedModel:
    """The model of a script file."""
    return ScriptedModel.from_file(Path(rest))
