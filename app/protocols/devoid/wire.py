"""A WebSocket through which several threads can send."""

from __future__ import annotations

import threading
from typing import Any

from simple_websocket import Server

#: A client that reads nothing for this long is considered lost, seconds.
SEND_TIMEOUT_S = 30.0


class _SerializedSocket:
    """A socket whose ``send`` sends all data, for one thread at a time.

    simple-websocket also calls ``send`` from its own thread (for pongs), and ignores how much was sent.
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
    """Sends and receives messages. All methods raise ConnectionClosed or OSError when the connection is lost."""

    def __init__(self, ws: Server) -> None:
        self._ws = ws
        # Compressed messages must be sent in the order in which they were compressed.
        self._lock = threading.RLock()
        ws.sock.settimeout(SEND_TIMEOUT_S)
        ws.sock = _SerializedSocket(ws.sock, self._lock)

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
