"""A WebSocket that several threads may send through."""

from __future__ import annotations

import threading
from typing import Any

from simple_websocket import Server

#: A client that takes no byte for so long is gone, seconds.
SEND_TIMEOUT_S = 30.0


class _Whole:
    """A socket whose ``send`` sends everything, one caller after the other.

    simple-websocket calls ``send`` from its own thread, too (for pongs), and does not look at how much was sent.
    """

    def __init__(self, sock: Any, lock: threading.RLock) -> None:
        self._sock, self._lock = sock, lock

    def send(self, data: bytes) -> int:
        with self._lock:
            self._sock.sendall(data)
        return len(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class Wire:
    """Sends and receives messages. All methods raise ConnectionClosed or OSError once the client is gone."""

    def __init__(self, ws: Server) -> None:
        self._ws = ws
        # Compressed messages must leave in the order in which they were made.
        self._lock = threading.RLock()
        ws.sock.settimeout(SEND_TIMEOUT_S)
        ws.sock = _Whole(ws.sock, self._lock)

    def send(self, text: str) -> None:
        with self._lock:
            self._ws.send(text)

    def receive(self) -> str | bytes:
        while True:
            data: str | bytes | None = self._ws.receive()
            if data is not None:
                return data

    def close(self, code: int, reason: str) -> None:
        with self._lock:
            self._ws.close(code, reason)
