"""Hostile clients: each function sends its requests and returns what came back."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from simple_websocket import Client, ConnectionClosed

from tests.support.hostile_bodies import Body

#: Longest wait for an answer, seconds.
PATIENCE_S = 120.0
#: How long connections are held, seconds.
HELD_S = 30.0
#: State of an open connection in ``tcp_info``.
_ESTABLISHED = 1


@dataclass(frozen=True)
class Outcome:
    """What came back, in words, and the bytes that were sent."""

    answers: str
    sent_bytes: int


def nothing(port: int) -> Outcome:
    """Send nothing: what the machine itself adds to a measurement."""
    time.sleep(3)
    return Outcome("", 0)


def bodies(port: int, path: str, body: Body, number: int) -> Outcome:
    """Send one body at the same time over several connections."""
    statuses = _together(number, lambda _: _request(port, "POST", path, body.content, body.headers))
    return Outcome(_counted(statuses), number * len(body.content))


def socket_message(port: int, content: bytes) -> Outcome:
    """Send one message over the WebSocket of Devoid Generator."""
    try:
        ws = Client.connect(f"ws://127.0.0.1:{port}/ws/bench")
        ws.send(content.decode())
        answer = ws.receive(timeout=PATIENCE_S)
        return Outcome("an answer" if answer else "no answer", len(content))
    except (ConnectionClosed, OSError) as exc:
        return Outcome(f"closed: {getattr(exc, 'reason', exc)}", len(content))


def held(port: int, number: int, data: bytes) -> Outcome:
    """Hold connections that have each sent ``data``."""
    with ExitStack() as stack:
        connections = _connect(stack, port, number, data)
        time.sleep(HELD_S)
        still_open = sum(_is_open(connection) for connection in connections)
    return Outcome(f"{still_open} of {number} open after {HELD_S:.0f} s", number * len(data))


def unread(port: int) -> Outcome:
    """Ask for more than the buffers of the connections hold, and read nothing."""
    return held(port, 400, 50 * b"GET /docs/static/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n")


def listeners(port: int, number: int, submits: int) -> Outcome:
    """Follow all events while jobs are submitted and cancelled."""
    request = b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with ExitStack() as stack:
        connections = _connect(stack, port, number, request)
        for connection in connections:
            connection.recv(65536)
        statuses = _together(submits, lambda n: _request(port, "POST", f"/v1/jobs?wait={n % 2}", _job(), _JSON))
        _request(port, "POST", "/v1/jobs/cancel", b'{"waiting":true}', _JSON)
        time.sleep(3)
        ends = sum(_received(connection).count(b"event: end") for connection in connections)
        broken = sum(not _is_open(connection) for connection in connections)
    return Outcome(f"submits: {_counted(statuses)}; {ends} end events, {broken} streams broken", number * len(request))


def long_polls(port: int, number: int) -> Outcome:
    """Wait for the end of one job over many connections."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    connection.request("POST", "/v1/jobs", _job(), _JSON)
    job_id = json.loads(connection.getresponse().read())["id"]
    timer = threading.Timer(5, _request, (port, "POST", f"/v1/jobs/{job_id}/cancel", b"", {}))
    timer.start()
    statuses = _together(number, lambda _: _request(port, "GET", f"/v1/jobs/{job_id}?wait=60", b"", {}))
    return Outcome(_counted(statuses), 0)


_JSON = {"Content-Type": "application/json"}


def _job() -> bytes:
    return json.dumps({"model": "noop", "prompt": "x"}).encode()


def _request(port: int, method: str, path: str, body: bytes, headers: dict[str, str]) -> str:
    """Return the status of the answer, or the name of an error."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        with suppress(BrokenPipeError, ConnectionResetError):  # refused before the end of the body, with an answer
            connection.request(method, path, body, headers)
        response = connection.getresponse()
        response.read()
        return str(response.status)
    except (OSError, http.client.HTTPException) as exc:
        return type(exc).__name__
    finally:
        connection.close()


def _together(number: int, call: Callable[[int], str]) -> list[str]:
    results: list[str] = []
    threads = [threading.Thread(target=lambda n=n: results.append(call(n))) for n in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def _counted(results: list[str]) -> str:
    return ", ".join(result if count == 1 else f"{count} × {result}" for result, count in Counter(results).items())


def _connect(stack: ExitStack, port: int, number: int, data: bytes) -> list[socket.socket]:
    connections = []
    for _ in range(number):
        connection = stack.enter_context(socket.socket())
        connection.settimeout(PATIENCE_S)
        connection.connect(("127.0.0.1", port))
        connection.sendall(data)
        connections.append(connection)
    return connections


def _received(connection: socket.socket) -> bytes:
    connection.setblocking(False)
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except OSError:
        pass
    return b"".join(parts)


def _is_open(connection: socket.socket) -> bool:
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _ESTABLISHED
