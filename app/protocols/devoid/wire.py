"""A WebSocket through which several threads can send. Its messages are read while they arrive."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from simple_websocket import Server
from wsproto.events import Message

from jobs.errors import InvalidRequest, Problem
from jobs.strict_json import JsonReader, Limits

#: A client that reads nothing for this long is considered lost, seconds.
SEND_TIMEOUT_S = 30.0
#: Limit of simple-websocket, bytes. Messages reach it without content, unless the socket must be closed for their size.
_MAX_CONTENT_BYTES = 1


@dataclass(frozen=True)
class Incoming:
    """A message: the value of its JSON, or why it has none."""

    value: Any = None
    error: InvalidRequest | None = None


class _MessageReader:
    """The events of a connection. Reads the JSON of each message as it arrives, so that its text is never complete."""

    def __init__(self, connection: Any, limits: Limits) -> None:
        self._connection, self._limits = connection, limits
        self.messages: deque[Incoming] = deque()
        #: Set while no message waits to be taken: only then is more received.
        self.is_drained = threading.Event()
        self.is_drained.set()
        self._reader = self._new_reader()
        self._error: InvalidRequest | None = None
        self._length_bytes = 0

    def events(self) -> Iterator[Any]:
        for event in self._connection.events():
            yield self._without_content(event) if isinstance(event, Message) else event

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def _without_content(self, event: Any) -> Any:
        data = event.data.encode() if isinstance(event.data, str) else bytes(event.data)
        self._length_bytes += len(data)
        if self._length_bytes > self._limits.total_bytes:
            return event
        try:
            if self._error is None:
                self._reader.feed(data)
            if event.message_finished:
                self._finish()
        except InvalidRequest as exc:
            self._error = exc
            if event.message_finished:
                self._finish()
        return replace(event, data=event.data[:0])

    def _finish(self) -> None:
        error, value = self._error, None
        if error is None:
            value = self._reader.finish()
        self.messages.append(Incoming(value, error and _renamed(error)))
        self.is_drained.clear()
        self._reader, self._error, self._length_bytes = self._new_reader(), None, 0

    def _new_reader(self) -> JsonReader:
        # Services cut names within an emoji, and get them back as they are. The fields of requests are checked later.
        return JsonReader(self._limits, keep_texts=True)


class _Socket:
    """A socket whose ``send`` sends all data, for one thread at a time, and that receives while it is wanted.

    simple-websocket also calls ``send`` from its own thread (for pongs), ignores how much was sent, and receives
    without an end, whether or not anybody takes the messages.
    """

    def __init__(self, ws: ReadingServer, sock: Any) -> None:
        self._ws, self._sock = ws, sock

    def send(self, data: bytes) -> int:
        with self._ws.lock:
            self._sock.sendall(data)
        return len(data)

    def recv(self, size: int) -> bytes:
        while not self._ws.reader.is_drained.wait(1.0) and self._ws.connected:
            pass
        data: bytes = self._sock.recv(size)
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class ReadingServer(Server):
    """A socket whose messages are read as JSON while they arrive.

    Args:
        environ: of the request.
        limits: of each message; the socket is closed if one exceeds them as a whole.
        options: of simple-websocket.
    """

    def __init__(self, environ: dict[str, Any], limits: Limits, **options: Any) -> None:
        self._limits = limits
        self.ws: Any
        self.sock: Any
        # Compressed messages must be sent in the order in which they were compressed.
        self.lock = threading.RLock()
        super().__init__(environ, max_message_size=_MAX_CONTENT_BYTES, **options)

    def handshake(self) -> None:
        """Answer the handshake; messages can arrive only afterwards."""
        super().handshake()
        sock: Any = self.sock
        sock.settimeout(SEND_TIMEOUT_S)
        self.reader = _MessageReader(self.ws, self._limits)
        self.ws, self.sock = self.reader, _Socket(self, sock)


class Wire:
    """Sends and receives messages. All methods raise ConnectionClosed or OSError when the connection is lost."""

    def __init__(self, ws: ReadingServer) -> None:
        self._ws = ws

    def send(self, text: str) -> None:
        with self._ws.lock:
            self._ws.send(text)

    def receive(self) -> Incoming:
        reader = self._ws.reader
        while not reader.messages:
            self._ws.receive()
        message = reader.messages.popleft()
        if not reader.messages:
            reader.is_drained.set()
        return message

    def close(self, code: int, reason: str) -> None:
        with self._ws.lock:
            self._ws.close(code, reason)


def _renamed(error: InvalidRequest) -> InvalidRequest:
    """Return the error about a message, which other protocols call a body."""
    return type(error)(*(Problem("message" if p.field == "body" else p.field, p.rule) for p in error.problems))
