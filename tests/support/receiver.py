"""A receiver of webhooks: a real HTTP server that records requests and sends configured responses."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()


@dataclass(frozen=True)
class Message:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes
    method: str = "POST"

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.body))

    def signatures(self, secret: str) -> tuple[str, list[str]]:
        """Return the signature that the specification requires for this secret, and the one that was sent."""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        signed = b".".join([self.id.encode(), self.headers["webhook-timestamp"].encode(), self.body])
        expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        return f"v1,{expected}", self.headers["webhook-signature"].split(" ")


class Receiver(ThreadingHTTPServer):
    """Uses the next of ``answers`` for each request: a status, or a function of the handler; then 204."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/hook"
        self.messages: list[Message] = []
        self.answers: list[Any] = []
        #: When set, hanging requests end.
        self.released = threading.Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # senders hang up in some tests, on purpose

    def of(self, job_id: str) -> list[Message]:
        return [message for message in list(self.messages) if message.json["data"]["id"] == job_id]

    def types(self, job_id: str) -> list[str]:
        return [message.json["type"] for message in self.of(job_id)]

    def hang(self, handler: BaseHTTPRequestHandler) -> None:
        self.released.wait(60)


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_PUT(self) -> None:
        self.do_POST()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.messages.append(Message(self.path, headers, body, self.command))
        answer = self.server.answers.pop(0) if self.server.answers else 204
        if callable(answer):
            answer(self)
            return
        status, more = answer if isinstance(answer, tuple) else (answer, {})
        self.send_response(status)
        for name, value in more.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Yield a receiver for one ``with`` block."""
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        thread.join()
        server.server_close()
