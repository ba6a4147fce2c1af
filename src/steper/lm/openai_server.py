"""Any OpenAI-compatible server, through one background thread that runs an event loop."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from steper.errors import ModelError, missing_extra
from steper.lm.base import Completion, FatalModelError, Request
from steper.lm.futures import CompletionFuture, settle
from steper.lm.model_settings import GenerationSettings, OpenAISettings
from steper.lm.open import How
from steper.lm.openai_errors import explain, unreachable, wait_before_retry
from steper.lm.thinking import StopGuard, spoken
from steper.prompt.segments import Form
from steper.records import Usage
from steper.text import brief

log = logging.getLogger(__name__)

OPENAI_URL = "https://api.openai.com/v1"
MOST_STOP_STRINGS = 4
"""OpenAI refuses more than four; the rest only cut the text here."""

CONNECT_SECONDS = 10.0
CLOSE_SECONDS = 5.0
BYTES_PER_TOKEN = 3
"""For estimates; English has about 4 bytes a token, so this counts too many rather than too few."""


class OpenAIModel:
    """Completions of `model` on a server that speaks OpenAI's chat or completions protocol.

    At most `concurrency` requests are under way. Failures worth it are tried again (see
    `openai_errors`); a Retry-After holds back all requests, not only the one that got it. What
    remains failed is a ModelError in its future, a FatalModelError where no request can succeed
    (key refused, unknown model, quota exhausted, server gone).

    Stop strings are sent unless the model thinks (see `thinking.StopGuard`), and the text is cut at
    them here too. What the server calls reasoning is the completion's thoughts. The seed goes to
    the server with each sampled request; whether the server heeds it is the server's affair.
    """

    def __init__(
        self,
        model: str,
        *,
        generation: GenerationSettings | None = None,
        settings: OpenAISettings | None = None,
    ) -> None:
        """Look whether the server answers, and start the thread.

        Raises FatalModelError (no key, server down), MissingExtraError without the extra `openai`.
        """
        try:
            import openai
        except ImportError:
            raise missing_extra("openai", "openai") from None
        self.name = f"openai:{model}"
        self._model = model
        self._generation = generation or GenerationSettings()
        self._settings = settings or OpenAISettings()
        prices = self._settings.prices
        if prices and model not in prices:
            log.warning("no price is set for %s (only for %s): no cost", model, ", ".join(prices))
        self.form: Form = "chat" if self._settings.api == "chat" else "plain"
        self.context_window = self._settings.context_window
        url = self._settings.base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL
        _check_url(self.name, url)
        self._address = _address(url)
        key = _key(self.name, url, self._settings.api_key_env)
        _check_reachable(self.name, url)
        self._client = openai.AsyncOpenAI(
            api_key=key,
            base_url=url,
            max_retries=0,
            timeout=openai.Timeout(self._settings.timeout, connect=CONNECT_SECONDS),
        )
        self._retried = (openai.APIConnectionError, openai.APIStatusError)
        self._lock = threading.Lock()
        self._open: set[Future[Completion]] = set()
        self._closed = False
        self._not_before = 0.0
        self._stops = StopGuard()
        self._loop = asyncio.new_event_loop()
        self._slots = asyncio.Semaphore(self._settings.concurrency)
        self._thread = threading.Thread(target=self._run, name="steper-openai", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return brief("OpenAIModel", repr(self.name), self.form)

    def fingerprint(self) -> dict[str, Any]:
        """Model, protocol, sampling and extra fields; not the address: a run may change servers."""
        generation = self._generation.model_dump(mode="json")
        return {
            "kind": "openai",
            "model": self._model,
            "api": self._settings.api,
            "generation": generation if self._generation.temperature else {"temperature": 0.0},
            "extra_body": self._settings.extra_body,
        }

    def count_tokens(self, text: str) -> int:
        """A cautious estimate: a token for every 3 bytes begun."""
        return -(-len(text.encode()) // BYTES_PER_TOKEN)

    def submit(self, requests: Sequence[Request]) -> list[Future[Completion]]:
        """Queue all requests; they start in order as slots come free."""
        futures: list[Future[Completion]] = [CompletionFuture() for _ in requests]
        pairs = list(zip(requests, futures, strict=True))
        with self._lock:
            if self._closed:
                raise ModelError(f"{self.name} is closed")
            self._open.update(futures)
            self._loop.call_soon_threadsafe(self._start, pairs)
        return futures

    def close(self) -> None:
        """Cancel what is pending, close the connections, end the thread."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._loop.call_soon_threadsafe(self._loop.stop)
            pending = list(self._open)
        for future in pending:
            future.cancel()
        if self._thread is not threading.current_thread():
            self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        """The thread: run the loop until `close`; whatever ends it is told to all futures."""
        asyncio.set_event_loop(self._loop)
        failure: BaseException = ModelError(f"{self.name} is closed")
        try:
            self._loop.run_forever()
            self._loop.run_until_complete(self._wind_up())
        except BaseException as error:
            failure = error
            log.exception("%s: its thread ended", self.name)
        with self._lock:
            self._closed = True
            pending = list(self._open)
        for future in pending:
            settle(future, failure)
        self._loop.close()

    async def _wind_up(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.close()
        await self._loop.shutdown_asyncgens()

    def _start(self, pairs: Sequence[tuple[Request, Future[Completion]]]) -> None:
        for request, future in pairs:
            task = self._loop.create_task(self._fulfil(request, future))
            future.add_done_callback(partial(self._ended, task))

    def _ended(self, task: asyncio.Task[None], future: Future[Completion]) -> None:
        """Forget a settled future; stop the work of a cancelled one."""
        with self._lock:
            self._open.discard(future)
            if future.cancelled() and not self._closed:
                self._loop.call_soon_threadsafe(task.cancel)

    async def _fulfil(self, request: Request, future: Future[Completion]) -> None:
        try:
            async with self._slots:
                outcome: Completion | BaseException = await self._complete(request)
        except Exception as error:  # noqa: BLE001 - it belongs to the request's future
            outcome = error
        settle(future, outcome)

    async def _complete(self, request: Request) -> Completion:
        """The completion, tried as often as the settings allow. Raises ModelError."""
        _check_form(self.name, request, self.form, self._settings)
        for attempt in range(self._settings.max_retries + 1):
            while (wait := self._not_before - self._loop.time()) > 0:
                await asyncio.sleep(wait)
            try:
                return await self._ask(request)
            except self._retried as error:
                pause = wait_before_retry(error, attempt, self._settings.max_retry_after)
                if pause is None or attempt == self._settings.max_retries:
                    raise explain(error, self.name, self._address, attempt + 1) from error
                log.warning("%s: %s; next try in %.1f s", self.name, error, pause)
                if getattr(error, "status_code", None) == 429:
                    self._not_before = max(self._not_before, self._loop.time() + pause)
                await asyncio.sleep(pause)
        raise AssertionError("the last try returns or raises")

    async def _ask(self, request: Request) -> Completion:
        """The completion, asked again without stop strings where they cut thoughts off."""
        send = bool(request.stop) and (self.form == "plain" or self._stops.may_send)
        answer = await self._call(request, request.stop if send else ())
        if self._stops.cut_off(*_parts(answer), send):
            answer = await self._call(request, ())
        return self._completion(request, answer)

    async def _call(self, request: Request, stop: Sequence[str]) -> Any:
        settings, generation = self._settings, self._generation
        body: dict[str, Any] = {"model": self._model, "temperature": generation.temperature}
        if generation.temperature:
            body |= {"top_p": generation.top_p, "seed": generation.seed}
        if stop:
            body["stop"] = list(stop[:MOST_STOP_STRINGS])
        if settings.extra_body:
            body["extra_body"] = settings.extra_body
        if settings.api == "chat":
            body[settings.max_tokens_field] = request.max_tokens
            messages: Any = request.prompt.messages()
            return await self._client.chat.completions.create(messages=messages, **body)
        body["max_tokens"] = request.max_tokens
        return await self._client.completions.create(prompt=request.prompt.text(), **body)

    def _completion(self, request: Request, answer: Any) -> Completion:
        """The server's answer, checked. Raises ModelError where it holds no text."""
        choices = getattr(answer, "choices", None)
        choice = choices[0] if isinstance(choices, list) and choices else None
        said = getattr(choice, "message", None) if self._settings.api == "chat" else choice
        text = getattr(said, "content" if self._settings.api == "chat" else "text", None)
        if said is None or not isinstance(text, str | None):
            raise ModelError(
                f"{self.name}: {self._address} did not answer with a completion; is base_url right "
                f"(it usually ends in /v1)? It sent: {str(answer)[:100]!r}"
            )
        reason = getattr(choice, "finish_reason", None)
        _, reasoning, _ = _parts(answer)
        if reason == "content_filter" or (text is None and reason != "length"):
            why = getattr(said, "refusal", None) or f"finish_reason {reason}"
            raise ModelError(f"{self.name}: the server withheld the text: {why}")
        usage = self._usage(request, reasoning + (text or ""), answer)
        found = spoken(text or "", request.stop)
        return found.completion(usage, "length" if reason == "length" else "stop", reasoning)

    def _usage(self, request: Request, text: str, answer: Any) -> Usage:
        """The server's count, or an estimate where it sends none; dollars where a price is set."""
        counted = getattr(answer, "usage", None)
        prompt = getattr(counted, "prompt_tokens", None)
        completion = getattr(counted, "completion_tokens", None)
        if not isinstance(prompt, int):
            prompt = self.count_tokens(request.prompt.text())
        if not isinstance(completion, int):
            completion = self.count_tokens(text)
        price = self._settings.prices.get(self._model)
        dollars = price and (prompt * price.prompt + completion * price.completion) / 1e6
        return Usage(prompt_tokens=prompt, completion_tokens=completion, dollars=dollars)


def _parts(answer: Any) -> tuple[str, str, bool]:
    """(text, reasoning that the server took apart, whether it ended before the token limit)."""
    choices = getattr(answer, "choices", None)
    choice = choices[0] if isinstance(choices, list) and choices else None
    said = getattr(choice, "message", None) or choice
    texts = [getattr(said, name, None) for name in ("content", "text")]
    thoughts = [getattr(said, name, None) for name in ("reasoning_content", "reasoning")]
    text, reasoning = (next((t for t in ts if isinstance(t, str)), "") for ts in (texts, thoughts))
    return text, reasoning, getattr(choice, "finish_reason", None) == "stop"


def _check_form(name: str, request: Request, form: Form, settings: OpenAISettings) -> None:
    """Refuse prompts that this protocol would misread. Raises ModelError."""
    if request.prompt.form != form:
        raise ModelError(
            f"{name}: the prompt is {request.prompt.form}, but api is {settings.api!r}"
        )
    resumed = form == "chat" and request.prompt.segments[-1].role == "assistant"
    if resumed and not settings.extra_body.get("continue_final_message"):
        raise ModelError(
            f"{name}: the prompt ends in the assistant's turn, which chat servers do not continue; "
            'vLLM does with extra_body {"continue_final_message": true, '
            '"add_generation_prompt": false}'
        )


def _check_url(name: str, url: str) -> None:
    """Raises FatalModelError for what is no web address."""
    try:
        if urlsplit(url).scheme in ("http", "https"):
            return
    except ValueError:
        pass
    raise FatalModelError(
        f"{name}: base_url (or OPENAI_BASE_URL) is {url!r}; http://HOST:PORT/v1 was expected"
    )


def _address(url: str) -> str:
    """The URL without user name and password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _key(name: str, url: str, variable: str) -> str:
    """The key in the environment; servers at http:// need none. Raises FatalModelError."""
    key = os.environ.get(variable, "").strip()
    if not key and url.startswith("https://"):
        raise FatalModelError(
            f"{name}: the environment variable {variable} is not set, and {_address(url)} needs a "
            f"key; set {variable}, or api_key_env to the variable that holds it"
        )
    return key or "none"


def _check_reachable(name: str, url: str) -> None:
    """Open and close one connection, unless a proxy stands between. Raises FatalModelError."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme in getproxies() and not proxy_bypass(host):
        return
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        raise unreachable(name, _address(url), str(error)) from None


def open_openai(rest: str, how: How) -> OpenAIModel:
    """The model of that name on an OpenAI-compatible server."""
    return OpenAIModel(rest, generation=how.generation, settings=how.openai)
