"""Settling futures that their owner may have cancelled meanwhile.

A model's futures stay *pending* until they are settled, so that `cancel()` works at any time; the
answer to a cancelled request is thrown away.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future, InvalidStateError

from steper.lm.base import Completion


def settle(future: Future[Completion], outcome: Completion | BaseException) -> None:
    """Give `future` its completion or its exception, unless it has been cancelled or settled."""
    try:
        if not future.set_running_or_notify_cancel():
            return
    except (InvalidStateError, RuntimeError):  # settled, or cancelled and its waiters told
        return
    if isinstance(outcome, BaseException):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


def cancel_all(futures: Iterable[Future[Completion]]) -> None:
    """Cancel whatever is still pending; callbacks and waiters are told."""
    for future in futures:
        if future.cancel():
            try:
                future.set_running_or_notify_cancel()
            except (InvalidStateError, RuntimeError):
                continue
