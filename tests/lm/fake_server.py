"""A server that answers as the test says: status, headers and body per request."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Reply:
    """What to send; `raw` are the bytes of the whole body.

    `reset` drops the connection instead, `sleep` waits first, `drip` before each byte (seconds).
    """

    text: str = "an answer"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None
    finish: str = "stop"
    sleep: float = 0.0
    reset: bool = False
    raw: bytes | None = None
    drip: float = 0.0
    usage: Any = field(default_factory=lambda: {"prompt_tokens": 7, "completion_tokens": 3})


@dataclass
class Fake:
    """`calls` are (path, body, arrival time) in order; `busiest` the most at once."""

    url: str
    calls: list[tuple[str, dict[str, Any], float]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    under_way: int = 0
    busiest: int = 0


@contextmanager
def fake_server(
    answer: Callable[[int, dict[str, Any]], Reply], models: Any = ("m",)
) -> Iterator[Fake]:
    """Serve `answer(number of the call from 0, body)` on a free port until the block ends.

    `models` are the names listed at /models, or all that is sent there.
    """
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            listed = {"data": [{"id": m} for m in models]} if type(models) is tuple else models
            self.reply(Reply(body=listed) if self.path == "/v1/models" else Reply(status=404))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with lock:
                number = len(fake.calls)
                fake.calls.append((self.path, body, time.monotonic()))
                fake.headers.append({k.lower(): v for k, v in self.headers.items()})
                fake.under_way += 1
                fake.busiest = max(fake.busiest, fake.under_way)
            said = answer(number, body)
            time.sleep(said.sleep)
            with lock:
                fake.under_way -= 1
            try:
                self.reply(said)
            except OSError:  # the client went away
                self.close_connection = True

        def reply(self, reply: Reply) -> None:
            if reply.reset:
                self.close_connection = True
                return
            chat = self.path.partition("?")[0].endswith("/chat/completions")
            said = {"message": {"role": "assistant", "content": reply.text}}
            choice = {"index": 0, "finish_reason": reply.finish}
            body = {
                "id": "x",
                "object": "chat.completion" if chat else "text_completion",
                "created": 0,
                "model": "m",
                "choices": [choice | (said if chat else {"text": reply.text})],
                "usage": reply.usage,
            }
            data = reply.raw
            if data is None:
                data = json.dumps(body if reply.body is None else reply.body).encode()
            self.send_response(reply.status)
            for name, value in {"content-type": "application/json", **reply.headers}.items():
                self.send_header(name, value)
            if reply.status != 204:
                self.send_header("content-length", str(len(data)))
            self.end_headers()
            if not reply.drip:
                self.wfile.write(data)
                return
            for at in range(len(data)):
                time.sleep(reply.drip)
                self.wfile.write(data[at : at + 1])

        def log_message(self, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 256

        def handle_error(self, request: object, client_address: object) -> None:
            pass

    with Server(("127.0.0.1", 0), Handler) as server:
        fake = Fake(f"http://127.0.0.1:{server.server_address[1]}/v1")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield fake
        finally:
            server.shutdown()
            thread.join()
