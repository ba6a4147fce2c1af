"""What models that run in this process share: requests in, futures out, one worker thread between.

A subclass loads its model, then calls `_begin`; its `_run` takes what stands in `_inbox`.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future

from steper.errors import ModelError
from steper.lm.base import Completion, Request
from steper.lm.futures import CompletionFuture, settle
from steper.lm.hf_batch import BatchRow
from steper.lm.local_text import LocalText
from steper.lm.model_settings import GenerationSettings

CLOSE_SECONDS = 10.0
"""How long `close` waits for the step under way."""


class WorkerModel:
    """A local model with its worker thread; `_changed` guards `_inbox` and `_closed`."""

    name: str
    _generation: GenerationSettings
    _text: LocalText

    def _begin(self, thread: str) -> None:
        """Start the worker; all that it reads is set by now, but for the inbox."""
        self._changed = threading.Condition()
        self._inbox: list[tuple[Request, Future[Completion]]] = []
        self._closed = False
        self._worker = threading.Thread(target=self._run, name=thread, daemon=True)
        self._worker.start()
        atexit.register(self.close)  # a thread inside torch at interpreter exit aborts the process

    def _run(self) -> None:
        """The worker thread; whatever ends it is told to all futures."""
        raise NotImplementedError

    def _rows_under_way(self) -> Iterable[BatchRow]:
        """What the worker has taken in and not ended."""
        raise NotImplementedError

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is taken each time."""
        return not self._generation.temperature

    def count_tokens(self, text: str) -> int:
        """Tokens of `text` without special tokens, exactly."""
        return self._text.count(text)

    def continues_turns(self) -> bool:
        """Whether a begun assistant's turn can be gone on with; where not, one line says why."""
        return self._text.continues_turns()

    def submit(self, requests: Sequence[Request]) -> list[Future[Completion]]:
        """Queue all requests for the worker."""
        futures: list[Future[Completion]] = [CompletionFuture() for _ in requests]
        with self._changed:
            if self._closed:
                raise ModelError(f"{self.name} is closed")
            self._inbox.extend(zip(requests, futures, strict=True))
            self._changed.notify()
        return futures

    def close(self) -> None:
        """Cancel what is pending, and end the worker after the step under way."""
        self._shut()
        atexit.unregister(self.close)
        if self._worker is not threading.current_thread():
            self._worker.join(CLOSE_SECONDS)

    def _shut(self, error: BaseException | None = None) -> None:
        """Take no more requests, and cancel those that are open or fail them with `error`."""
        with self._changed:
            self._closed = True
            futures = [f for _, f in self._inbox] + [r.future for r in self._rows_under_way()]
            self._inbox.clear()
            self._changed.notify_all()
        for future in futures:
            if error is None:
                future.cancel()
            else:
                settle(future, error)
