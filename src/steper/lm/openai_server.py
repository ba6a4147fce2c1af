"""Any OpenAI-compatible server, through one background thread that runs an event loop."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any

from steper.errors import ModelError, missing_extra
from steper.lm.base import Completion, Request, WithheldError
from steper.lm.futures import CompletionFuture, settle
from steper.lm.local_text import IN_THE_USERS_TURN
from steper.lm.model_settings import GenerationSettings, OpenAISettings
from steper.lm.open import How
from steper.lm.openai_answers import Answer
from steper.lm.openai_continuation import FIELDS, Finding, Messages, find_dialect
from steper.lm.openai_errors import NO_THINKING
from steper.lm.openai_logprobs import fields_to_ask, with_logprobs
from steper.lm.openai_pool import Server, Servers
from steper.lm.openai_rendering import renderer_of
from steper.lm.openai_usage import UsageReader
from steper.lm.thinking import StopGuard, opens_thoughts, spoken
from steper.prompt.segments import Form
from steper.records import Finish
from steper.text import brief

log = logging.getLogger(__name__)

MOST_STOP_STRINGS = 4
"""OpenAI refuses more than four; the rest only cut the text here."""

CLOSE_SECONDS = 5.0
BYTES_PER_TOKEN = 3
"""For estimates; English has about 4 bytes a token, so this counts too many rather than too few."""

PROBE_TOKENS = 16


class OpenAIModel:
    """Completions of `model` on a server that speaks OpenAI's chat or completions protocol.

    There may be several servers (see `openai_pool`).
    At most `concurrency` requests are under way. Failures worth it are tried again (see
    `openai_errors`); a Retry-After holds back all requests, not only the one that got it. What
    remains failed is a ModelError in its future, a FatalModelError where no request can succeed
    (key refused, unknown model, quota exhausted, server gone). The key, where a server repeats it,
    is taken out of its answers before anything else sees them.

    Stop strings are sent unless the model thinks (see `thinking.StopGuard`), and the text is cut at
    them here too. What the server calls reasoning is the completion's thoughts. The seed goes to
    the server with each sampled request; whether the server heeds it is the server's affair.

    Before the first chat prompt that ends in the assistant's turn, the server is asked how it
    continues one, if at all (see `openai_continuation`).
    """

    def __init__(
        self,
        model: str,
        *,
        generation: GenerationSettings | None = None,
        settings: OpenAISettings | None = None,
    ) -> None:
        """Look whether the server answers, and start the thread.

        Raises FatalModelError (no key, server down, servers of different models), MissingExtraError
        without the extra `openai`.
        """
        try:
            import openai  # noqa: F401
        except ImportError as error:
            raise missing_extra("openai", "openai", error) from None
        self.name = f"openai:{model}"
        self._model = model
        self._generation = generation or GenerationSettings()
        self._settings = settings or OpenAISettings()
        prices = self._settings.prices
        if prices and model not in prices:
            log.warning("no price is set for %s (only for %s): no cost", model, ", ".join(prices))
        self._renderer = renderer_of(self._settings)
        self._chat = self._settings.api == "chat"
        self.form: Form = "chat" if self._chat or self._renderer else "plain"
        self.context_window = self._settings.context_window
        self._servers = Servers(self.name, model, self._settings)
        self._lock = threading.Lock()
        self._open: set[Future[Completion]] = set()
        self._closed = False
        self._stops = StopGuard()
        self._loop = asyncio.new_event_loop()
        self._slots = asyncio.Semaphore(self._settings.concurrency)
        price = self._settings.prices.get(model)
        exact = self._renderer is not None
        self._usage = UsageReader(self.count_tokens, exact, price, self._warn_once)
        self._finding: Finding | None = None
        self._in_users_turn = False  # by our own template, asked once a prompt wants it
        self._probing = asyncio.Lock()
        self._warned: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="steper-openai", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return brief("OpenAIModel", repr(self.name), self.form)

    @property
    def greedy(self) -> bool:
        """Whether the server is told to take the likeliest token each time."""
        return self._settings.send_temperature and not self._generation.temperature

    def fingerprint(self) -> dict[str, Any]:
        """Model, protocol, sampling and extra fields; not the address: a run may change servers.

        How turns are continued is part of it once a prompt has wanted that.
        """
        generation = self._generation.model_dump(mode="json")
        if not self._settings.send_temperature:
            generation = {}
        elif not self._generation.temperature:
            generation = {"temperature": 0.0}
        more: dict[str, Any] = {}
        if self._renderer:
            more["chat_template"] = self._renderer.digest
        if self._in_users_turn:
            more["continuation"] = "none"
        if self._finding:
            more["continuation"] = self._finding.dialect
        return {
            "kind": "openai",
            "model": self._model,
            "api": self._settings.api,
            "generation": generation,
            "extra_body": self._settings.extra_body,
            **more,
        }

    def count_tokens(self, text: str) -> int:
        """Exact with a `tokenizer`; else a cautious estimate: a token for every 3 bytes begun."""
        if self._renderer:
            return self._renderer.count(text)
        return -(-len(text.encode()) // BYTES_PER_TOKEN)

    def continues_turns(self) -> bool:
        """Whether the server goes on with an assistant's turn; the first call may ask it.

        Where it does not, one line says why. Raises ModelError where the server cannot be asked.
        """
        if self._renderer:
            why = self._renderer.refuses_turns
            if why is not None and not self._in_users_turn:
                log.warning(IN_THE_USERS_TURN, self.name, why)
            self._in_users_turn = why is not None
            return why is None
        if not self._chat or self._declared():
            return True
        with self._lock:
            if self._closed:
                raise ModelError(f"{self.name} is closed")
            finding = asyncio.run_coroutine_threadsafe(self._find(), self._loop)
        return finding.result().dialect != "none"

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
            first, self._closed = not self._closed, True
            pending = list(self._open)
        for future in pending:  # before the thread ends, and tells them that it did
            future.cancel()
        if first:
            with suppress(RuntimeError):  # the thread ended by itself meanwhile
                self._loop.call_soon_threadsafe(self._loop.stop)
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
        await self._servers.close()
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
        prompt = request.prompt
        if prompt.form != self.form:
            raise ModelError(
                f"{self.name}: the prompt is {prompt.form}, but api is {self._settings.api!r}"
            )
        body = self._body(request.max_tokens, request.seed(self._generation.seed))
        body |= fields_to_ask(request, self._chat, self._settings.top_logprobs, self.name)
        if not self._chat:
            body["prompt"] = self._renderer.render(prompt) if self._renderer else prompt.text()
        else:
            body["messages"] = prompt.messages()
            if prompt.begun:
                body["extra_body"] = {**body["extra_body"], **await self._fields_to_continue()}
        begun = opens_thoughts(body.get("prompt", ""))
        return self._completion(request, await self._said(body, request, begun), begun)

    async def _said(self, body: dict[str, Any], request: Request, begun: bool) -> Answer:
        """The answer, asked for again without stop strings where they cut it off too early."""
        speaks = self.form == "plain" or self._stops.may_send
        send = self._settings.send_stop and speaks
        sent = list(request.stop[:MOST_STOP_STRINGS]) if send else []
        asked = {**body, "stop": sent} if sent else body
        answer = await self._servers.answer(asked, request.question_id)
        found, ended = spoken(answer.text or "", begun=begun), answer.finish == "stop"
        if self._stops.cut_off(found, answer.reasoning, ended, sent, request.may_lead_up):
            answer = await self._servers.answer(body, request.question_id)
        return answer

    def _body(self, max_tokens: int, seed: int = 0) -> dict[str, Any]:
        """The request body, without what is asked and where it stops."""
        settings, generation = self._settings, self._generation
        limit = settings.max_tokens_field if self._chat else "max_tokens"
        body: dict[str, Any] = {"model": self._model, limit: max_tokens}
        if settings.send_temperature:
            body["temperature"] = generation.temperature
            if generation.temperature:
                body |= {"top_p": generation.top_p, "seed": seed}
        return {**body, "extra_body": settings.extra_body}

    def _declared(self) -> bool:
        """Whether the settings' own fields have every last turn continued."""
        return bool(self._settings.extra_body.get("continue_final_message"))

    async def _fields_to_continue(self) -> dict[str, Any]:
        """What a request has to say for its last turn to be continued. Raises ModelError."""
        if self._declared():
            return {}
        finding = await self._find()
        if finding.dialect == "none":
            raise ModelError(
                f"{self.name}: the prompt ends in the assistant's turn, which the server does not "
                f"continue: {finding.why}"
            )
        return FIELDS[finding.dialect]

    async def _find(self) -> Finding:
        """How the server continues turns: as the settings say, or asked once."""
        async with self._probing:
            if self._finding is None:
                wanted = self._settings.continuation
                if wanted == "auto":
                    self._finding = await self._find_of_all()
                else:
                    self._finding = Finding(wanted, f"continuation is {wanted}")
                if self._finding.dialect == "none":
                    log.warning(
                        "%s: the server does not continue an assistant's turn (%s), so prompts "
                        "show the reasoning in the user's turn (reasoning: user)",
                        self.name,
                        self._finding.why.removeprefix(f"{self.name}: "),
                    )
        return self._finding

    async def _find_of_all(self) -> Finding:
        """What all servers do. Raises ModelError where they differ: a question may change them."""
        servers = self._servers.servers
        found = [await find_dialect(partial(self._count, server)) for server in servers]
        for server, other in zip(servers, found, strict=True):
            if other.dialect != found[0].dialect:
                raise ModelError(
                    f"{self.name}: {servers[0].address} and {server.address} do not continue an "
                    f"assistant's turn alike ({found[0].dialect}, {other.dialect}); ask servers "
                    "that do, or set continuation: none"
                )
        return found[0]

    async def _count(
        self, server: Server, messages: Messages, fields: dict[str, Any]
    ) -> int | None:
        """A server's count of a prompt's tokens."""
        body = {**self._body(PROBE_TOKENS, self._generation.seed), "messages": messages}
        body["extra_body"] = {**body["extra_body"], **fields}
        return (await self._servers.answer_of(server, body, probing=True)).prompt_tokens

    def _completion(self, request: Request, answer: Answer, begun: bool) -> Completion:
        """What the server's answer says of the request; `begun`: the prompt opened thoughts.

        Raises ModelError where it has no text.
        """
        text, reason = answer.text or "", answer.finish
        whole = spoken(text, begun=begun)
        thought = answer.reasoning or whole.thoughts or whole.unfinished
        if whole.unfinished:
            reason = "length"
        if thought and not whole.text.strip():
            advice = f"raise max_tokens ({request.max_tokens}), or switch thinking off: "
            advice = f"the model reasoned and answered nothing; {advice}{NO_THINKING}"
            if reason != "length":
                raise ModelError(f"{self.name}: {advice}")
            self._warn_once(advice)
        elif reason == "content_filter" or (answer.refusal and answer.text is None):
            why = answer.refusal or f"finish_reason {reason}"
            raise WithheldError(f"{self.name}: the server withheld the text: {why}")
        elif answer.text is None and reason != "length":
            raise ModelError(
                f"{self.name}: the server's answer has no text (finish_reason {reason})"
            )
        if request.prompt.begun and self._chat:
            # Some servers (llama.cpp since 2026) answer with the whole turn.
            text = text.removeprefix(request.prompt.messages()[-1]["content"])
        usage = self._usage.of(request.prompt, answer.reasoning + text, answer)
        found = spoken(text, request.stop, begun, request.may_lead_up)
        finish: Finish = "length" if reason == "length" else "stop"
        completion = found.completion(usage, finish, answer.reasoning)
        return with_logprobs(completion, request.logprobs, answer.logprobs, self.name)

    def _warn_once(self, what: str) -> None:
        kind = what[:40]  # numbers in it may differ
        if kind not in self._warned:
            self._warned.add(kind)
            log.warning("%s: %s", self.name, what)


def open_openai(rest: str, how: How) -> OpenAIModel:
    """The model of that name on an OpenAI-compatible server."""
    return OpenAIModel(rest, generation=how.generation, settings=how.openai)
