"""Messages of a stream that are written to its connection by whoever has them, without waking the waiting request.

A thousand requests that are woken for each event cost ten times as much as the writes themselves. A message may be
written directly only while its request waits for events: then everything that the request yielded was sent.
"""

from __future__ import annotations

from typing import Any, Protocol

from flask import request

#: Other versions have no chunks, or frames of their own.
_CHUNKED = "HTTP/1.1"


class Connection(Protocol):
    """A connection of :mod:`app.server.connection`."""

    def send_now(self, data: bytes) -> int:
        """Send what fits at once; return the number of bytes."""

    def sendall(self, data: bytes) -> None:
        """Send everything, and wait for the client meanwhile."""


class DirectWriter:
    """Writes chunks of one response that has no length and whose first part was sent."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        #: The end of a chunk that did not fit at once.
        self._rest = b""

    def write(self, chunk: bytes) -> bool:
        """Write a chunk without waiting. False: the request must continue, after :meth:`flush` with other messages.

        Nothing, or a part, was written then; :attr:`has_begun` tells which.
        """
        sent = self._connection.send_now(chunk)
        self._rest = chunk[sent:] if sent else b""
        return sent == len(chunk)

    @property
    def has_begun(self) -> bool:
        """Whether a part of the last chunk was written, so that :meth:`flush` must write the rest."""
        return bool(self._rest)

    def flush(self) -> None:
        """Write the rest of the last chunk, waiting for the client. Raises: OSError: the client is gone or too slow."""
        rest, self._rest = self._rest, b""
        if rest:
            self._connection.sendall(rest)


def chunk_of(text: str) -> bytes:
    """Return a text as a chunk of a response (RFC 9112, section 7.1)."""
    data = text.encode()
    return b"%X\r\n%b\r\n" % (len(data), data)


def writer() -> DirectWriter | None:
    """Return the writer for the response to the current request; None where only the server can write it."""
    connection: Any = request.environ.get("gunicorn.socket")
    if not hasattr(connection, "send_now") or request.environ.get("SERVER_PROTOCOL") != _CHUNKED:
        return None
    return DirectWriter(connection)
