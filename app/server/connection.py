"""One client's connection, which does not wait for the client without end."""

from __future__ import annotations

import errno
import socket
import struct
import time
from contextlib import suppress
from typing import Any

from gevent.socket import socket as GeventSocket
from gunicorn.http.message import Request
from werkzeug.exceptions import RequestTimeout

from jobs.process.turns import take_turns

#: A client that keeps a message waiting for longer than the limit must have moved this many bytes a second on average.
LEAST_BYTES_PER_S = 1024
#: Largest part of a body that is received at once, bytes; others wait meanwhile.
PIECE_BYTES = 64 * 1024
#: Pieces of a message that are moved before others get a turn; they have one after each message in any case.
_PIECES_PER_TURN = 2
#: The end of the head of a response, and a field of it that says that the body follows.
_END_OF_HEAD, _LENGTH = b"\r\n\r\n", b"\r\nContent-Length: "


class Pace:
    """Bounds the time for which a client keeps one message waiting.

    Args:
        patience_s: longest silence; also the sum of all waiting, to which the bytes that were moved add.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = self._left_s = patience_s
        #: Number of pieces that were moved.
        self.pieces = 0

    def next_wait_s(self) -> float:
        """Return how long the client may be silent now, in seconds, more than 0."""
        return max(0.001, min(self._patience_s, self._left_s))

    def moved(self, byte_count: int, waited_s: float) -> None:
        """Count bytes that were sent or received after a wait."""
        self._left_s += byte_count / LEAST_BYTES_PER_S - waited_s
        self.pieces += 1


class Connection(GeventSocket):
    """A connection that is idle (waits for a request) or busy (a request is being answered).

    While it is idle, :class:`app.server.connections.Connections` closes it after too long a silence. While it is busy,
    writes keep to a :class:`Pace`, and :class:`BodySource` reads the body of the request; other reads are those of a
    WebSocket.

    Args:
        accepted: the socket of the server, which is not used any more.
        address: the client's address, '' if it has none.
        patience_s: longest wait for the client's first byte, for the rest of its header, and within messages.
        keepalive_s: longest wait for a further request.
    """

    timeout: float | None

    def __init__(self, accepted: GeventSocket, address: str, patience_s: float, keepalive_s: float) -> None:
        family, kind, protocol = accepted.family, accepted.type, accepted.proto
        super().__init__(family, kind, protocol, fileno=accepted.detach())
        self.address, self.patience_s, self._keepalive_s = address, patience_s, keepalive_s
        self.is_busy = False
        self._is_first = self._is_silent = True
        self._deadline = time.monotonic() + patience_s
        self._pace = Pace(patience_s)
        #: The head of a response, which is sent together with the beginning of its body: each packet wakes the client.
        self._head = b""
        self._is_unanswered = False

    def set_busy(self) -> None:
        """A request was received, up to its body."""
        self.is_busy, self._is_first, self._is_unanswered = True, False, True
        self._pace = Pace(self.patience_s)

    def set_idle(self) -> None:
        """The request was answered, and nothing of it is left to be read."""
        self.is_busy, self._is_silent = False, True
        self._deadline = time.monotonic() + self._keepalive_s

    def is_overdue(self) -> bool:
        """Return whether an idle connection has waited for its client for too long."""
        return time.monotonic() > self._deadline

    def has_unread_data(self) -> bool:
        """Return whether the client has sent something that was not read yet."""
        return bool(self._peek())

    def is_gone(self) -> bool:
        """Return whether the client has closed the connection."""
        return self._peek() == b""

    def _peek(self) -> bytes | None:
        """Return the next byte, b'' at the end, None if there is none yet."""
        try:
            peeked: bytes = self._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except OSError:
            return b""
        return peeked

    def hang_up(self) -> None:
        """Close the connection for whoever reads from it or writes to it."""
        with suppress(OSError):  # the client was faster
            self._sock.shutdown(socket.SHUT_RDWR)  # gevent's own method would raise an error in whoever waits

    def recv(self, *args: Any) -> bytes:
        received: bytes = super().recv(*args)
        if received and self._is_silent and not self.is_busy:
            self._is_silent = False
            self._deadline = time.monotonic() + self.patience_s
        return received

    def recv_body(self, size: int) -> bytes:
        """Receive a part of a request's body. Raises: TimeoutError."""
        pace, began_at = self._pace, time.monotonic()
        received = self._recv_within(pace.next_wait_s(), size)
        pace.moved(len(received), time.monotonic() - began_at)
        if pace.pieces > _PIECES_PER_TURN:
            take_turns()
        return received

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send the data; the head of a response with a body is held back until something follows, or :meth:`flush`."""
        if self._is_unanswered and data.endswith(_END_OF_HEAD) and _LENGTH in data:
            self._head, self._is_unanswered = data, False
            return
        if len(data) <= PIECE_BYTES and not flags:
            data, self._head, self._is_unanswered = self._head + data, b"", False
            sent = self.send_now(data)
            if self._pace.pieces > _PIECES_PER_TURN:
                take_turns()
            if sent == len(data):
                return
            data = memoryview(data)[sent:]
        super().sendall(data, flags)

    def flush(self) -> None:
        """Send the head of a response that has no body."""
        if self._head:
            with suppress(OSError):  # the client has hung up; whoever reads from it notices
                self._send_head()

    def _send_head(self) -> None:
        head, self._head = self._head, b""
        super().sendall(head)

    def send(self, data: Any, flags: int = 0, timeout: Any = None) -> int:
        """Send a part of the data, as sendall() and sendfile() do.

        Raises:
            BrokenPipeError: the client reads too slowly; servers take it for a client that has hung up.
        """
        self._is_unanswered = False
        if self._head:
            self._send_head()
        pace, began_at, before_s = self._pace, time.monotonic(), self.timeout
        self.timeout = pace.next_wait_s()
        try:
            sent: int = super().send(data, flags)
        except TimeoutError:
            # Without this, the system would go on offering the client what was written already.
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raise BrokenPipeError(errno.EPIPE, "the client reads too slowly") from None
        finally:
            self.timeout = before_s
        pace.moved(sent, time.monotonic() - began_at)
        if pace.pieces > _PIECES_PER_TURN:
            take_turns()
        return sent

    def send_now(self, data: bytes) -> int:
        """Send what the system takes without waiting; return the number of bytes, 0 also if the client is gone."""
        try:
            sent: int = self._sock.send(data, socket.MSG_DONTWAIT)
        except OSError:
            return 0
        self._pace.moved(sent, 0.0)
        return sent

    def _recv_within(self, wait_s: float, *args: Any) -> bytes:
        before_s = self.timeout
        self.timeout = wait_s
        try:
            received: bytes = super().recv(*args)
            return received
        finally:
            self.timeout = before_s


class BodySource:
    """The socket from which gunicorn's parser reads the body of one request."""

    def __init__(self, connection: Connection, request: Request) -> None:
        self._connection, self._request = connection, request

    def recv(self, size: int) -> bytes:
        """Raises: RequestTimeout."""
        try:
            return self._connection.recv_body(min(size, PIECE_BYTES))
        except TimeoutError:
            self._request.force_close()
            raise RequestTimeout("the body of the request comes too slowly") from None
