"""A language model asked by recipes and filters that need a judgement, each in mid-work.

A verdict is asked for once: what was said before, in this build or in an interrupted one, is known
by a digest of the prompt, the model's settings and the room for its answer. Many pieces of work
wait for a verdict at once (`side_by_side`), and none of them has to know.
"""

from __future__ import annotations

import hashlib
import logging
import re
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict

from steper.doors import fingerprint_of
from steper.errors import ModelError, QuestionDropped
from steper.lm.base import Completion, LanguageModel, Request, TooLongError, WithheldError
from steper.lm.futures import outcome_of
from steper.prompt.segments import Prompt, Segment
from steper.records import Usage

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_TOKENS = 256
"""Room for a verdict, where none is set."""

AHEAD = 4
"""Pieces of work begun for each request under way: the others go on while the first one waits."""


def read_word(text: str, words: Iterable[str]) -> str:
    """The one of `words` that a text begins with, in lower case; "" where it begins otherwise.

    Marks and a label may stand before it: "**Answer:** Yes, as …".
    """
    found = re.match(rf"\W*(?:(?:answer|verdict)\W+)?({'|'.join(words)})\b", text, re.IGNORECASE)
    return found[1].lower() if found else ""


def warn_of_own_work(lm: LanguageModel, made_with: Mapping[str, Any], run: object) -> None:
    """A line where a judge is the model that made the run; its fingerprint is in `made_with`."""
    made, judge = made_with.get("model"), fingerprint_of(lm)
    known = "digest" if "digest" in judge else "model"
    if isinstance(made, dict) and judge.get(known) and made.get(known) == judge[known]:
        log.warning(
            "%s is to judge %s, which it made itself: models tend to find their own text right; "
            "another judge would be better",
            lm.name,
            run,
        )


class VerdictRow(BaseModel):
    """A line of a journal of verdicts: what a judge wrote at the prompt of that digest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    text: str
    usage: Usage


@dataclass
class LMJudge:
    """A judge that remembers; `ask` is what the model writes, without outer white space.

    At most `in_flight` requests are at the model at once. `known` are all verdicts so far, by their
    digest; `record` is told a new one before anything depends on it; `used` are the digests of
    those that were asked for since it was cleared.
    """

    lm: LanguageModel
    max_tokens: int = MAX_TOKENS
    in_flight: int = 64
    known: dict[str, VerdictRow] = field(default_factory=dict, repr=False)
    record: Callable[[VerdictRow], None] | None = None
    used: set[str] = field(default_factory=set, repr=False)
    _under_way: dict[str, Future[Completion]] = field(default_factory=dict, init=False, repr=False)
    _end: Exception | None = field(default=None, init=False, repr=False)
    """Why nothing more is asked."""
    _turn: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    """Whoever has it works; all else of a judge is touched by him alone."""
    _mine: threading.local = field(default_factory=threading.local, init=False, repr=False)

    def ask(self, prompt: str, question_id: str) -> str:
        """Ask, where it is not known yet, and wait.

        A text that the server withholds is "", for good. Raises ModelError where the model gives no
        answer, QuestionDropped where it refuses one or has no room for the prompt.
        """
        key = hashlib.sha256(self._settings + prompt.encode()).hexdigest()
        if key not in self.known:
            said = self._answer(key, prompt, question_id)
            if key not in self.known:  # else another piece of work had asked the same
                row = VerdictRow(key=key, text=said.text.strip(), usage=said.usage)
                if self.record is not None:
                    self.record(row)
                self.known[key] = row
        self.used.add(key)
        return self.known[key].text

    def _answer(self, key: str, prompt: str, question_id: str) -> Completion:
        """What the model says; asked the same meanwhile, it is asked once."""
        if self._end is not None:
            raise self._end
        future = self._under_way.get(key)
        if future is None:
            asked = Prompt(self.lm.form, (Segment("user", prompt),))
            request = Request(question_id, "judge", 1, "read", asked, max_tokens=self.max_tokens)
            future = self._under_way[key] = self.lm.submit([request])[0]
        try:
            with self._others_turn():
                said = outcome_of(future, self.max_tokens, None)
        except CancelledError:
            raise ModelError(f"{self.lm.name}: the request was cancelled") from None
        finally:
            self._under_way.pop(key, None)
        if isinstance(said, WithheldError):  # asked again it would be as well, at each attempt
            log.warning("%s", said)
            return Completion(text="")
        if isinstance(said, TooLongError):  # nothing was paid, and a larger window may have room
            log.warning("%s", said)
            raise QuestionDropped("judge_has_no_room", str(said))
        if isinstance(said, BaseException):
            raise said
        return said

    def side_by_side(self, works: Iterable[Callable[[], T]]) -> Generator[T, None, None]:
        """What each piece of work returns, in their order, while many of them wait for a verdict.

        Each has a thread, but one alone runs at a time, until it ends or asks: so they may share
        what is not made for threads, and what they do is what they do one by one. Where one fails
        nothing more is asked, and what was under way is still waited for and kept, as it is paid
        for; not so where the iteration is left early. Close it then.
        """
        self._end = None
        begun: deque[Future[T]] = deque()
        pool = ThreadPoolExecutor(self.in_flight, "steper-judge")
        try:
            for work in works:
                begun.append(pool.submit(self._in_turn, work))
                if len(begun) >= AHEAD * self.in_flight:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        except Exception as error:
            self._end = self._end or error
            wait([each for each in begun if not each.cancel()])
            raise
        finally:
            with self._turn:
                self._end = self._end or ModelError(f"{self.lm.name} is not asked any more")
                for future in self._under_way.values():
                    future.cancel()
            pool.shutdown(cancel_futures=True)
            self._end = None

    def _in_turn(self, work: Callable[[], T]) -> T:
        with self._turn:
            self._mine.turn = True
            try:
                return work()
            except Exception as error:
                self._end = self._end or error
                raise

    @contextmanager
    def _others_turn(self) -> Iterator[None]:
        """Let others work meanwhile, where there are any."""
        if not getattr(self._mine, "turn", False):
            yield
            return
        self._turn.release()
        try:
            yield
        finally:
            self._turn.acquire()

    def of(self, question_id: str) -> Callable[[str], str]:
        """The judge as one question's recipe asks it."""
        return lambda prompt: self.ask(prompt, question_id)

    def cost(self) -> dict[str, Any]:
        """What the verdicts used took, those of interrupted builds included."""
        usage = sum((self.known[key].usage for key in sorted(self.used)), Usage())
        return {"calls": len(self.used), **usage.model_dump()}

    def fingerprint(self) -> dict[str, Any]:
        """The model's, and the room for a verdict where it is not the usual."""
        room = {} if self.max_tokens == MAX_TOKENS else {"max_tokens": self.max_tokens}
        return {**fingerprint_of(self.lm), **room}

    @cached_property
    def _settings(self) -> bytes:
        # A local model's path says nothing: its digest is there, too.
        model = fingerprint_of(self.lm)
        if "digest" in model:
            model = {name: value for name, value in model.items() if name != "model"}
        settings = {"model": model, "form": self.lm.form, "max_tokens": self.max_tokens}
        return orjson.dumps(settings, option=orjson.OPT_SORT_KEYS)
