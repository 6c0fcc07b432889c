"""A client of Devoid Generator's socket, written from the protocol: one job per user at a time, frames of 1 MiB."""

from __future__ import annotations

import json
import queue
import socket
import threading
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import websocket

from tests.support.api import PATIENCE_S, Api

#: Most bytes of a message that the official client accepts.
MAX_FRAME_BYTES = 1024 * 1024


#: A models file with one model that draws.
MODELS = """
[drawn]
executor = "drawing"
kinds = ["text2img", "img2img", "mix2img"]
limits = { steps = [1, 100000], width = [16, 512], height = [16, 512] }
"""


class Refused(Exception):
    """The handshake was refused with this status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Client:
    """One socket; it checks received messages as the official client does."""

    def __init__(
        self, server: Api, service: str = "telegram", key: str | None = "service_key", path: str = "",
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        sent = {"service": service} | ({"authorization": key} if key is not None else {})
        browser = {name.lower(): value for name, value in headers.items()}
        sent |= {name: value for name, value in headers.items() if name not in ("Origin", "Host")}
        url = server.url(path or f"/ws/{service}").replace("http:", "ws:")
        sock = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S)
        try:
            self.ws = websocket.create_connection(
                url, header=sent, timeout=PATIENCE_S, socket=sock, origin=browser.get("origin"),
                host=browser.get("host"),
            )  # fmt: skip
        except BaseException as exc:
            sock.close()
            if isinstance(exc, websocket.WebSocketBadStatusException):
                raise Refused(exc.status_code) from None
            raise
        self.messages: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.seen: list[dict[str, Any]] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            while text := self.ws.recv():
                assert isinstance(text, str)
                assert len(text.encode()) <= MAX_FRAME_BYTES
                self.messages.put(json.loads(text))
        except (OSError, websocket.WebSocketException):
            pass
        self.ws.shutdown()
        self.messages.put(None)

    def send(self, message: Any) -> None:
        self.ws.send(message if isinstance(message, str) else json.dumps(message))

    def ask(self, payload: Any = None, **fields: Any) -> None:
        self.send(request(payload, **fields))

    def next(self) -> dict[str, Any]:
        """Return the next message. Raises: AssertionError: the socket was closed."""
        message = self.messages.get(timeout=PATIENCE_S)
        assert message is not None, "the server closed the socket"
        self.seen.append(message)
        return message

    def until_over(self, number: int = 1) -> list[dict[str, Any]]:
        """Return the messages up to the end of this many requests."""
        found = []
        while sum(message.get("gen_status") in ("ok", "error") for message in found) < number:
            found.append(self.next())
        return found

    def is_silent(self, for_s: float = 0.5) -> bool:
        try:
            return self.messages.get(timeout=for_s) is None
        except queue.Empty:
            return True

    def close(self) -> None:
        """Close the socket; messages that were on their way are still in ``messages``, followed by None."""
        if self.ws.connected:
            self.ws.send_close()


def request(payload: Any = None, **fields: Any) -> dict[str, Any]:
    return {
        "message_type": "request",
        "executor": "automatic1111",
        "gen_type": "text2img",
        "settings": {"premium": 0, "moderate": 0, "sync_with_s3": 1},
        "service_info": {"user_id": 123, "chat_id": 7, "message_id": 9},
        "payload": {"prompt": "a red circle", "steps": 3, "width": 32, "height": 32} if payload is None else payload,
        **fields,
    }


def connect_again(server: Api, **options: Any) -> Client:
    """Reconnect like the official client: try every two seconds until the server is there."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return Client(server, **options)
        except (OSError, Refused):
            assert time.monotonic() < deadline
            time.sleep(2)
