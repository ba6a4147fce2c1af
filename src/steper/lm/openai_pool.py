"""The servers of one model: whom a question is asked of, who rests, and what is tried again.

One server is a pool of one. Of several the least busy gets a new question, which stays there: the
prompts of its steps begin alike, and the server has that beginning in its cache. A server that
fails rests, longer each time, and is then tried with one request; its questions go on elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Container
from dataclasses import dataclass
from typing import Any

from steper.lm.base import FatalModelError
from steper.lm.model_settings import OpenAISettings
from steper.lm.openai_address import (
    CONNECT_SECONDS,
    check_reachable,
    find_urls,
    key_of,
    query_of,
    without_password,
    without_query,
)
from steper.lm.openai_answers import Answer, BadAnswerError, read_answer
from steper.lm.openai_continuation import RefusedError
from steper.lm.openai_errors import (
    LONGEST_WAIT,
    explain,
    in_short,
    is_of_the_server,
    is_passing,
    wait_before_retry,
)
from steper.lm.openai_models import check_same_model
from steper.redaction import hider, secrets_in

log = logging.getLogger(__name__)

REMEMBERED = 100_000
"""Questions whose server is remembered: far more than are under way at once."""

LOOK_AGAIN = 0.05
"""Seconds between looks at the servers, while none of them may be asked."""


@dataclass(eq=False)
class Server:
    """One server: its address without keys, the SDK's client, how busy it is, since when it rests.

    `failures` in a row, requests that began before the rest did not counted; `rests_until` and
    `rested_at` by the loop's clock.
    """

    address: str
    client: Any
    busy: int = 0
    questions: int = 0
    failures: int = 0
    rested_at: float = 0.0
    rests_until: float = 0.0


class Servers:
    """All servers of a model. `answer` is for the event loop; the rest for any thread."""

    def __init__(self, name: str, model: str, settings: OpenAISettings) -> None:
        """Look whether each server answers and, of several, whether all serve the same model.

        Raises FatalModelError (no key, server down, another model).
        """
        import openai

        self._name = name
        self._settings = settings
        self._chat = settings.api == "chat"
        urls = find_urls(name, settings.base_url)
        keys = [key_of(name, url, settings.api_key_env) for url in urls]
        self._hide = hider([*keys, *(secret for url in urls for secret in secrets_in(url))])
        for url in urls:
            check_reachable(name, url)
        if len(urls) > 1:
            check_same_model(name, model, urls, keys, self._hide)
        self.servers = [
            Server(
                without_password(url),
                openai.AsyncOpenAI(
                    api_key=key,
                    base_url=without_query(url),
                    default_query=query_of(url),
                    max_retries=0,
                    timeout=openai.Timeout(settings.timeout, connect=CONNECT_SECONDS),
                ),
            )
            for url, key in zip(urls, keys, strict=True)
        ]
        self._retried = (
            openai.APIConnectionError,
            openai.APIStatusError,
            BadAnswerError,
            asyncio.TimeoutError,
        )
        self._homes: OrderedDict[str, Server] = OrderedDict()

    async def close(self) -> None:
        """Close the connections."""
        for server in self.servers:
            await server.client.close()

    async def answer(self, body: dict[str, Any], question: str) -> Answer:
        """The answer to a request of a question. Raises ModelError where no server gives one."""
        if len(self.servers) == 1:
            return await self.answer_of(self.servers[0], body)
        return await self._answer_of_any(body, question)

    async def answer_of(
        self, server: Server, body: dict[str, Any], probing: bool = False
    ) -> Answer:
        """One server's answer, tried as often as the settings allow. Raises ModelError.

        In probing, RefusedError for what is the request's own fault; an error of the server may be
        its way to refuse, and gets a second try alone.
        """
        clock, settings = asyncio.get_running_loop().time, self._settings
        for attempt in range(settings.max_retries + 1):
            while (wait := server.rests_until - clock()) > 0:
                await asyncio.sleep(wait)
            try:
                return await self._call(server, body)
            except self._retried as caught:
                error: Exception = caught
            pause = wait_before_retry(error, attempt, settings.max_retry_after)
            refused = probing and attempt > 0 and not is_passing(error)
            if pause is None or refused or attempt == settings.max_retries:
                break
            said = in_short(error, self._hide)
            log.warning("%s: %s; next try in %.1f s", self._name, said, pause)
            if getattr(error, "status_code", None) == 429:
                server.rests_until = max(server.rests_until, clock() + pause)
            await asyncio.sleep(pause)
        # Outside of `except`: the SDK's error, with the key in it, does not hang on ours.
        failure = explain(error, self._name, server.address, attempt + 1, self._hide)
        if probing and not is_passing(error) and not isinstance(failure, FatalModelError):
            raise RefusedError(str(failure))
        raise failure

    async def _answer_of_any(self, body: dict[str, Any], question: str) -> Answer:
        """The answer of whichever server gives one, each tried as often as the settings allow.

        Fatal is what is so at every server. Raises ModelError.
        """
        clock = asyncio.get_running_loop().time
        errors: dict[Server, Exception] = {}
        hopeless: set[Server] = set()
        tries, most = 0, (self._settings.max_retries + 1) * len(self.servers)
        while tries < most and len(hopeless) < len(self.servers):
            tries += 1
            server = await self._choose(question, errors)
            server.busy += 1
            began = clock()
            try:
                answer = await self._call(server, body)
                server.failures = 0
                return answer
            except self._retried as caught:
                errors[server] = caught
            finally:
                server.busy -= 1
            if not is_of_the_server(errors[server]):
                errors = {server: errors[server]}
                break
            if not self._rest(server, errors[server], began):
                hopeless.add(server)
        failures = [
            explain(error, self._name, at.address, tries, self._hide)
            for at, error in errors.items()
        ]
        raise min(failures, key=lambda failure: isinstance(failure, FatalModelError))

    async def _choose(self, question: str, tried: Container[Server]) -> Server:
        """The server to ask; waits while all of them rest.

        It is the question's own, where that is not at rest; else one that has rested and is to be
        tried, else the least busy. One that failed is tried with one request at a time, and this
        request goes to one that has not failed it yet, if any.
        """
        clock = asyncio.get_running_loop().time
        while True:
            now = clock()
            ready = [
                s for s in self.servers if s.rests_until <= now and not (s.failures and s.busy)
            ]
            ready = [s for s in ready if s not in tried] or ready
            if ready:
                break
            await asyncio.sleep(LOOK_AGAIN)
        home = self._homes.get(question)
        if home not in ready:
            home = min(ready, key=lambda s: (not s.failures, s.busy, s.questions))
            home.questions += 1
            self._homes[question] = home
            if len(self._homes) > REMEMBERED:
                self._homes.popitem(last=False)
        assert home is not None
        return home

    def _rest(self, server: Server, error: Exception, began: float) -> bool:
        """Let a server that failed rest; whether trying it again may help.

        It rests for as long as it asks to, else twice as long each time. Requests that were under
        way when it began to rest, and failed with it, change nothing.
        """
        now = asyncio.get_running_loop().time()
        pause = wait_before_retry(error, server.failures, float("inf"))
        if server.failures and began < server.rested_at:
            return pause is not None
        rest = LONGEST_WAIT if pause is None else pause
        server.failures += 1
        server.rested_at, server.rests_until = now, now + rest
        said = in_short(error, self._hide)
        log.warning("%s: %s rests for %.1f s: %s", self._name, server.address, rest, said)
        return pause is not None

    async def _call(self, server: Server, body: dict[str, Any]) -> Answer:
        api = server.client.chat.completions if self._chat else server.client.completions
        # The SDK's own time-out is for each read: a server that drips would never end.
        response = await asyncio.wait_for(
            api.with_raw_response.create(**body), self._settings.timeout
        )
        raw = response.http_response
        return read_answer(raw.status_code, raw.text, self._chat, self._hide)
