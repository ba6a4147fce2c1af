"""A client of Search-R1's retrieval server, the protocol that most search-agent code speaks.

    POST /retrieve  {"queries": ["…", …], "topk": 3, "return_scores": true}
    → {"result": [[{"document": {"id": "7", "contents": "\\"Title\\"\\nText"}, "score": 1.5}, …],
                  …]}

Servers differ: a document may come bare, without its score; its `id` may be a number or missing;
`title` and `text` may stand beside `contents` or in its place. All of these are read.

What a run is known by is the corpus that was searched, not where it was served. The protocol has no
word for it: a server may report it beside its results (`"corpus": "wiki-18"`, or a digest), and a
user may state it behind the address (`http://HOST:PORT#wiki-18`).
Source: PeterGriffinJin/Search-R1, search_r1/search/retrieval_server.py.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from steper.errors import InputError, RetrievalError
from steper.records import Passage, passage_id
from steper.redaction import each_string, hider, secrets_in, without_secrets
from steper.retrieve.base import Found, is_finite
from steper.retrieve.retriever_settings import HttpSettings
from steper.text import brief, seconds_to_wait, unquoted, without_surrogates

if TYPE_CHECKING:
    import httpx
    from tenacity import RetryCallState

log = logging.getLogger(__name__)

RETRY_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


class HttpRetriever:
    """Searches by asking a server; a `Retriever`. Thread-safe."""

    def __init__(
        self,
        url: str,
        settings: HttpSettings = HttpSettings(),  # noqa: B008 (frozen)
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`url` is the server's address; without a path, `/retrieve` is meant.

        What stands behind `#` is the corpus, as in the settings. Raises InputError for no address.
        """
        import httpx

        try:
            address = httpx.URL(url)
        except httpx.InvalidURL as error:
            # It repeats what it took for the port, which may be half a password.
            why = "" if "@" in url else f" ({error})"
            raise InputError(f"{without_secrets(url)!r} is not a web address{why}") from None
        if address.scheme not in ("http", "https") or not address.host:
            raise InputError(
                f"{without_secrets(url)!r} is not a web address: http://HOST:PORT is expected"
            )
        if address.path in ("", "/"):
            address = address.copy_with(path="/retrieve")
        address, stated = address.copy_with(fragment=None), address.fragment
        if stated and settings.corpus not in ("", stated):
            raise InputError(
                f"{without_secrets(url)}: the address says that the corpus is {stated!r}, the "
                f"settings that it is {settings.corpus!r}"
            )
        self._stated = stated or settings.corpus
        self._reported = ""
        self._empty = 0
        self.url = without_secrets(str(address))
        self._address = address
        self._hide = hider(secrets_in(str(address)))
        self.settings = settings
        self._sleep = sleep
        timeout = httpx.Timeout(settings.timeout_s, connect=settings.connect_timeout_s)
        self._client = httpx.Client(timeout=timeout, follow_redirects=True)

    def __repr__(self) -> str:
        return brief("HttpRetriever", repr(self.url))

    def search(self, queries: Sequence[str], k: int) -> list[list[Found]]:
        """For each query at most `k` passages, best first, as the server ranks them.

        Where the server gives no scores, a passage's score is 1 / rank. Passages without text are
        skipped, and `close` logs their number. Raises RetrievalError when
        the server can't be reached after all tries, refuses, or answers something else than the
        protocol's; InputError when k < 1.
        """
        if k < 1:
            raise InputError(f"k is {k}; at least 1 passage must be asked for")
        found: list[list[Found]] = []
        size = self.settings.batch_size
        for start in range(0, len(queries), size):
            batch = list(queries[start : start + size])
            for every in parse_reply(self._ask(batch, k), len(batch), k, self.url):
                found.append([one for one in every if one.passage.text.strip()])
                self._empty += len(every) - len(found[-1])
        return found

    def fingerprint(self) -> dict[str, Any]:
        """The corpus, as it was stated or as the server reports it, which it is asked for.

        Where nobody says it, the address without keys. Raises RetrievalError where a server that
        has to be asked does not answer.
        """
        if not self._stated and not self._reported:
            self._ask(["corpus"], 1)
        if corpus := self._stated or self._reported:
            return {"kind": "http", "corpus": corpus}
        log.warning(
            "%s: the server does not report which corpus it searches, so the run is known by its "
            "address; state a name behind it to move the server (%s#NAME)",
            self.url,
            self.url,
        )
        return {"kind": "http", "url": self.url}

    def close(self) -> None:
        """Close the connections, and say what was skipped."""
        self._client.close()
        if self._empty:
            log.warning("%s: %d passages without text were skipped", self.url, self._empty)
            self._empty = 0

    def _ask(self, queries: list[str], k: int) -> Any:
        """The JSON of the reply to one request, tried again where that may help."""
        import httpx
        import tenacity

        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self.settings.attempts),
            retry=tenacity.retry_if_exception(_may_pass),
            wait=self._wait,
            sleep=self._sleep,
            reraise=True,
        )
        try:
            reply = retrying(self._post, {"queries": queries, "topk": k, "return_scores": True})
            self._check_corpus(reply)
            return reply
        except httpx.HTTPStatusError as error:
            raise RetrievalError(f"{self.url}: {self._refusal(error.response)}") from None
        except httpx.HTTPError as error:
            reason = self._hide(str(error)) or type(error).__name__
            raise RetrievalError(
                f"{self.url}: no answer after {self.settings.attempts} tries ({reason}); "
                "is the retrieval server running, and is this its address?"
            ) from None

    def _check_corpus(self, reply: Any) -> None:
        """Raise RetrievalError where a server reports another corpus than was stated, or before."""
        said = reply.get("corpus") if isinstance(reply, dict) else None
        if not isinstance(said, str) or not said:
            return
        known = self._stated or self._reported or said
        if said != known:
            raise RetrievalError(
                f"{self.url}: the server searches the corpus {said[:80]!r}, but {known[:80]!r} was "
                f"{'stated' if self._stated else 'searched before'}; start the server with that "
                "one, or begin a new run"
            )
        self._reported = said

    def _post(self, body: dict[str, Any]) -> Any:
        response = self._whole_answer(body)
        response.raise_for_status()
        try:
            return self._hide(each_string(response.json(), without_surrogates))
        except (ValueError, RecursionError):
            raise RetrievalError(
                f"{self.url}: the reply is not JSON but {self._hide(response.text)[:60]!r}; "
                "is this a Search-R1 retrieval server?"
            ) from None

    def _whole_answer(self, body: dict[str, Any]) -> httpx.Response:
        """The answer, read to its end; httpx.ReadTimeout where that takes longer than timeout_s."""
        import httpx

        # httpx's own timeout is for each read: a server that drips would never run into it.
        limit = time.monotonic() + self.settings.timeout_s
        with self._client.stream("POST", self._address, json=body) as answer:
            parts: list[bytes] = []
            for part in answer.iter_raw():
                if parts and time.monotonic() > limit:
                    raise httpx.ReadTimeout(
                        f"timed out: its answer was not whole after {self.settings.timeout_s:g} s "
                        "(timeout_s)",
                        request=answer.request,
                    )
                parts.append(part)
            return httpx.Response(
                answer.status_code,
                headers=answer.headers,
                content=b"".join(parts),
                request=answer.request,
                extensions=answer.extensions,
            )

    def _refusal(self, response: httpx.Response) -> str:
        said = " ".join(self._hide(response.text).split())
        return f"the server answers {response.status_code} {response.reason_phrase}: {said[:200]!r}"

    def _wait(self, state: RetryCallState) -> float:
        """Seconds before the next try: what Retry-After asks for, or 1, 2, 4, … × backoff."""
        import httpx

        error = state.outcome.exception() if state.outcome else None
        asked = None
        if isinstance(error, httpx.HTTPStatusError):
            asked = seconds_to_wait(error.response.headers.get("retry-after", ""))
        if asked is None:
            backoff: float = self.settings.backoff_s * 2 ** (state.attempt_number - 1)
            return min(backoff, self.settings.max_wait_s)
        if asked > self.settings.max_wait_s:
            raise RetrievalError(
                f"{self.url}: the server asks to wait {asked:.0f} s, more than max_wait_s "
                f"({self.settings.max_wait_s:g}); try again later"
            )
        return asked


def _may_pass(error: BaseException) -> bool:
    """Whether trying again may help: the network's faults, 429 and the server's own errors."""
    import httpx

    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in RETRY_STATUS
    return isinstance(error, httpx.TransportError) and not isinstance(
        error, httpx.UnsupportedProtocol
    )


def parse_reply(reply: Any, n_queries: int, k: int, url: str) -> list[list[Found]]:
    """The passages of a reply, at most `k` a query.

    Raises RetrievalError, naming the place, where the reply has another shape.
    """
    result = reply.get("result") if isinstance(reply, dict) else None
    if not isinstance(result, list):
        raise _odd(url, "", 'an object with a list "result"', reply)
    if len(result) != n_queries:
        raise _odd(url, ".result", f"{n_queries} lists, one a query", f"{len(result)} of them")
    found = []
    for number, row in enumerate(result):
        place = f".result[{number}]"
        if not isinstance(row, list):
            raise _odd(url, place, "a list", row)
        ranked = enumerate(row[:k], 1)
        found.append([_found(item, rank, url, f"{place}[{rank - 1}]") for rank, item in ranked])
    return found


def _found(item: Any, rank: int, url: str, place: str) -> Found:
    """One passage with its score, from `{"document": …, "score": …}` or a bare document."""
    document, score = item, 1 / rank
    if isinstance(item, dict) and "document" in item:
        document = item["document"]
        score = item.get("score", score)
        if not is_finite(score):
            raise _odd(url, f"{place}.score", "a finite number", score)
    if not isinstance(document, dict):
        raise _odd(url, place, "a document", document)
    title, text = document.get("title"), document.get("text")
    contents = document.get("contents")
    if isinstance(contents, str) and not (isinstance(text, str) and text.strip()):
        head, text = _split(contents)
        title = head or title
    if not isinstance(text, str):
        raise _odd(url, place, 'a document with "contents", or "title" and "text"', document)
    title = title if isinstance(title, str) else ""
    key = document.get("id")
    if key is None or key == "":
        key = passage_id(title, text)
    if isinstance(key, bool) or not isinstance(key, (str, int)):
        raise _odd(url, f"{place}.id", "a string or a whole number", key)
    return Found(Passage(id=str(key), title=title, text=text), float(score))


def _split(contents: str) -> tuple[str, str]:
    """Title and text of `contents`: its first line without outer quotes, and the rest."""
    head, newline, text = contents.partition("\n")
    return (unquoted(head.strip()), text) if newline else ("", contents)


def _odd(url: str, place: str, expected: str, value: Any) -> RetrievalError:
    shown = value if isinstance(value, str) else repr(value)
    return RetrievalError(
        f"{url}: reply{place} is {shown[:80]}, {expected} was expected; "
        "is this a Search-R1 retrieval server?"
    )
