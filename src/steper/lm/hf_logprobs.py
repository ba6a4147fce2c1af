"""Log-probabilities of what a local model writes, for the rows of a batch that ask for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from steper.errors import ModelError
from steper.lm.base import LOWEST_LOGPROB, TokenLogprob


class RowLogprobs:
    """Follows one row: `see` the scores before each token, then `take` the token chosen.

    The distribution is the softmax of the model's raw scores: sampling settings change which token
    is chosen, not what is reported of it.
    """

    def __init__(self, asked: Mapping[str, int], text_of: Callable[[int], str]) -> None:
        """`asked`: id of each token asked for; `text_of(id)`: any token's text."""
        self._asked = asked
        self._names = {token: text for text, token in asked.items()}
        self._text_of = text_of
        self._next: Any = None
        self.written: list[TokenLogprob] = []

    def restart(self) -> None:
        """Forget what was written: the row begins anew."""
        self.written = []

    def see(self, scores: Any) -> None:
        """Scores (V,) of the row's next token."""
        self._next = scores.float().log_softmax(-1)

    def take(self, token: int) -> None:
        """Note the token that was chosen."""
        ids = [token, *self._asked.values()]
        own, *others = (max(value, LOWEST_LOGPROB) for value in self._next[ids].tolist())
        text = self._names.get(token) or self._text_of(token)
        of = dict(zip(self._asked, others, strict=True))
        self.written.append(TokenLogprob(text=text, logprob=own, of=of))


class ToldLogprobs(RowLogprobs):
    """The same where an engine tells only of some tokens: the likeliest, and the one it wrote."""

    def see(self, scores: Mapping[int, Any] | None) -> None:
        """What is told of the row's next token: by id, objects with a `logprob`."""
        self._next = {
            token: min(max(float(told.logprob), LOWEST_LOGPROB), 0.0)
            for token, told in (scores or {}).items()
        }

    def take(self, token: int) -> None:
        """Note the token that was chosen. Raises ModelError where nothing was told of it."""
        if token not in self._next:
            raise ModelError("no log-probability came with a token that the model wrote")
        of = {text: self._next[n] for text, n in self._asked.items() if n in self._next}
        text = self._names.get(token) or self._text_of(token)
        self.written.append(TokenLogprob(text=text, logprob=self._next[token], of=of))
