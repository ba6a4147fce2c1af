"""Whether, and how, a chat server continues an assistant's turn that the prompt begins.

vLLM and SGLang do so where two fields ask for it; llama.cpp and Ollama continue a last message that
is the assistant's; others close the turn and begin a new one, or refuse. Nothing in an answer says
which: a model may go on with a closed turn as if it were open. But servers count the tokens of a
prompt, and an open turn lacks the tokens that close it. So a few tiny requests tell.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

Dialect = Literal["continue_final_message", "last_message", "none"]
Messages = list[dict[str, str]]
Count = Callable[[Messages, dict[str, Any]], Awaitable[int | None]]
"""Prompt tokens that the server counts for messages and further fields of the body; None where it
sends no count. Raises RefusedError where it refuses them."""

NO_PROMPT: dict[str, Any] = {"add_generation_prompt": False}
FIELDS: dict[Dialect, dict[str, Any]] = {
    "continue_final_message": {"continue_final_message": True, **NO_PROMPT},
    "last_message": {},
}
"""What a request has to say, beside its messages, for its last one to be continued."""

QUESTION = {"role": "user", "content": "Which one?"}
WORDS = "a cat and a dog"
"""Its first word is one token in front of a text and after a blank, in small vocabularies too."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The dialect of a server, and for `none` why it is so, in words that follow its name."""

    dialect: Dialect
    why: str = ""


class RefusedError(Exception):
    """The server answered, and would not serve this prompt; the text says why."""


class _UncountedError(Exception):
    """The server sends no counts of tokens."""


async def find_dialect(count: Count) -> Finding:
    """Ask the server, with three to six tiny requests.

    With t(x) for the tokens counted where the turn begins with x: a turn that begins with the words
    w is open if t(w) - t(nothing) is the length of w, which t(w w) - t(w) gives. The fields open it
    if t(w) is smaller with them than without, and than with `add_generation_prompt: false` alone,
    which leaves the turn closed.
    """
    server = _Server(count)
    try:
        nothing = await server.tokens(0)
        assert nothing is not None
        plain = await server.tokens(1)
        if _is_open(nothing, plain, await server.tokens(2)):
            return Finding("last_message")
        fields = FIELDS["continue_final_message"]
        opened = await server.tokens(1, fields)
        closed = [n for n in (plain, await server.tokens(1, NO_PROMPT)) if n is not None]
        if opened is not None and closed:
            found = nothing < opened < min(closed)
        else:  # a server that refuses closed turns at the end may take open ones
            found = _is_open(nothing, opened, await server.tokens(2, fields))
    except _UncountedError:
        return Finding("none", "it sends no counts of prompt tokens that would tell")
    except RefusedError as error:
        return Finding("none", str(error))
    if found:
        return Finding("continue_final_message")
    if plain is None:
        return Finding("none", server.refusal)
    return Finding("none", "it closes the turn and begins a new one")


class _Server:
    """Counts the tokens of a prompt; keeps the words with which it refused the first."""

    def __init__(self, count: Count) -> None:
        self._count = count
        self.refusal = ""

    async def tokens(self, times: int, fields: dict[str, Any] | None = None) -> int | None:
        """Tokens of a prompt whose assistant's turn begins with WORDS so often; None: refused."""
        turn = [{"role": "assistant", "content": " ".join([WORDS] * times)}] if times else []
        try:
            counted = await self._count([QUESTION, *turn], fields or {})
        except RefusedError as error:
            if not times:
                raise
            self.refusal = self.refusal or str(error)
            return None
        if counted is None:
            raise _UncountedError
        return counted


def _is_open(nothing: int, once: int | None, twice: int | None) -> bool:
    """Whether the words of a turn, and nothing else, were added to the prompt."""
    if once is None or twice is None or not nothing < once < twice:
        return False
    return once - nothing <= twice - once
