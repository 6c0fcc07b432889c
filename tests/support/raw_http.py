"""Clients on bare sockets, for connections that no HTTP library would make."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

#: Longest wait for the server, seconds; a test that waits longer fails.
PATIENCE_S = 60.0


def connect(port: int, data: bytes = b"") -> socket.socket:
    """Open a connection and send ``data``."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
    if data:
        connection.sendall(data)
    return connection


@contextmanager
def many(port: int, number: int, data: bytes = b"") -> Iterator[list[socket.socket]]:
    """Keep connections open that have each sent ``data``."""
    with ExitStack() as stack:
        yield [stack.enter_context(connect(port, data)) for _ in range(number)]


def read_all(connection: socket.socket) -> bytes:
    """Return what the server sends until it closes the connection."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass  # the server closed the connection before it had read all data
    return b"".join(parts)


def read_answer(connection: socket.socket) -> tuple[int, bytes]:
    """Return the status and the body of one response with a length; the connection stays open."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response.status, response.read()


def status_of(answer: bytes) -> int:
    """Return the status of a response; 0 if there is none."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.") else 0


def exchange(port: int, data: bytes) -> bytes:
    """Return the response to ``data``; the server must close the connection after it."""
    with connect(port, data) as connection:
        return read_all(connection)
