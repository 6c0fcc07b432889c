"""The head of a response and its body leave the server in one packet, because each packet wakes the client."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from gevent import socket

from app.server.connection import PIECE_BYTES, Connection

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

Pair = tuple[Connection, "socket.socket"]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Return a connection whose request is being answered, and its client."""
    accepted, client = socket.socketpair()
    connection = Connection(accepted, "", 60.0, 60.0)
    connection.set_busy()
    client.setblocking(False)
    yield connection, client
    connection.close()
    client.close()


def received(client: socket.socket) -> bytes:
    """Return what has arrived."""
    try:
        return bytes(client.recv(2**20))
    except BlockingIOError:
        return b""


def test_the_head_waits_for_the_body(pair: Pair) -> None:
    connection, client = pair
    connection.sendall(HEAD % 2)
    assert received(client) == b""
    connection.sendall(b"{}")
    assert received(client) == HEAD % 2 + b"{}"


def test_a_head_without_a_body_is_sent_at_the_end(pair: Pair) -> None:
    connection, client = pair
    connection.sendall(HEAD % 2)  # of a response to HEAD
    connection.flush()
    assert received(client) == HEAD % 2
    connection.flush()
    assert received(client) == b""


def test_the_head_of_a_stream_does_not_wait(pair: Pair) -> None:
    connection, client = pair
    connection.sendall(STREAM)
    assert received(client) == STREAM


def test_a_long_body_follows_its_head(pair: Pair) -> None:
    connection, client = pair
    body = b"x" * (PIECE_BYTES + 1)
    connection.sendall(HEAD % len(body))
    connection.sendall(body)
    assert received(client) + received(client) == HEAD % len(body) + body


def test_a_file_follows_its_head(pair: Pair) -> None:
    connection, client = pair
    connection.sendall(HEAD % 4)
    assert connection.send(b"file") == 4  # as sendfile() does
    assert received(client) == HEAD % 4 + b"file"


def test_a_body_that_looks_like_a_head_does_not_wait(pair: Pair) -> None:
    connection, client = pair
    body = b"--x\r\nContent-Length: 2\r\n\r\n"
    connection.sendall(HEAD % len(body))
    connection.sendall(body)
    assert received(client) == HEAD % len(body) + body
    connection.sendall(body)
    assert received(client) == body


def test_each_response_of_a_connection_is_one_packet(pair: Pair) -> None:
    connection, client = pair
    for _ in range(3):
        connection.set_busy()
        connection.sendall(HEAD % 2)
        connection.sendall(b"{}")
        connection.flush()
        connection.set_idle()
        assert received(client) == HEAD % 2 + b"{}"
