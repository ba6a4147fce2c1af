"""Futures that can be cancelled at any time and settled without asking.

A model's futures stay *pending* until they are settled, so `cancel()` always works; the answer to
a cancelled request is thrown away.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress

from steper.lm.base import Completion, lacking_logprobs
from steper.lm.thinking import limited, without_thoughts

_telling = threading.Lock()


class CompletionFuture(Future[Completion]):
    """A future whose `cancel` also releases those in `concurrent.futures.wait`."""

    _told = False

    def cancel(self) -> bool:
        """Cancel unless settled; true if the future is now cancelled."""
        if not super().cancel():
            return False
        with _telling:
            first, self._told = not self._told, True
        if first:
            self.set_running_or_notify_cancel()
        return True


def settle(future: Future[Completion], outcome: Completion | BaseException) -> None:
    """Give `future` its completion or its exception, unless it has been cancelled or settled."""
    with suppress(InvalidStateError):
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)


def outcome_of(
    done: Future[Completion], max_tokens: int, logprobs: tuple[str, ...] | None
) -> Completion | BaseException:
    """What any model gave, or why there is nothing to go on with.

    A text without thoughts, not far longer than was asked for, with the `logprobs` asked for.
    """
    if (error := done.exception()) is not None:
        return error
    completion = limited(without_thoughts(done.result()), max_tokens)
    return lacking_logprobs(logprobs, completion) or completion
