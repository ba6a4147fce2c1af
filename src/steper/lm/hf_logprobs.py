"""Log-probabilities of what a local model writes, for the rows of a batch that ask for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

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
