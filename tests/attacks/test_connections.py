"""Connections that occupy a place without using it, on a private gunicorn of the module with small limits."""

from __future__ import annotations

import os
import random
import socket
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support import raw_http
from tests.support.harness import Stack, wait_for
from tests.support.tiny import BASE

BUSY, IDLE, IDLE_PER_ADDRESS = 8, 12, 6
MAX_REQUEST_BYTES = 1_000_000
HALF_HEADER = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Half:"
STREAM = b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n"
PROBE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST_PROBE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
#: A parser that gunicorn would use where it is installed, and that could parse nothing.
OTHER_PARSER = "LimitRequestLine = None"


@pytest.fixture(scope="module")
def web() -> Iterator[Stack]:
    with tempfile.TemporaryDirectory(prefix="fm-") as folder:
        models = Path(folder) / "models.toml"
        models.write_text(BASE)
        (Path(folder) / "gunicorn_h1c.py").write_text(OTHER_PARSER)
        python_path = os.pathsep.join([folder, os.environ.get("PYTHONPATH", "")])
        stack = Stack(
            Path(folder), models, REQUEST_TIMEOUT_S=1, MAX_CONNECTIONS=BUSY, MAX_IDLE_CONNECTIONS=IDLE,
            MAX_IDLE_PER_ADDRESS=IDLE_PER_ADDRESS, MAX_REQUEST_BYTES=MAX_REQUEST_BYTES, PYTHONPATH=python_path,
        )  # fmt: skip
        try:
            yield stack.up()
        finally:
            stack.close()


@pytest.fixture(autouse=True)
def _no_traceback(web: Stack) -> Iterator[None]:
    begun = len(web.log("web"))
    yield
    assert "Traceback" not in web.log("web")[begun:]


@pytest.mark.parametrize("sent", [b"", HALF_HEADER, b"GET"])
def test_a_connection_without_a_request_is_closed(web: Stack, sent: bytes) -> None:
    with raw_http.connect(web.port, sent) as connection:
        assert raw_http.read_all(connection) == b""


@pytest.mark.parametrize("sent", [b"", HALF_HEADER])
def test_newcomers_are_served_however_many_are_silent(web: Stack, sent: bytes) -> None:
    with raw_http.many(web.port, 5 * IDLE, sent) as connections:
        assert web.get("/healthz").status_code == 200
        # All but the newest ones of this address were closed before their time-out.
        assert sum(_is_open(one) for one in connections) <= IDLE_PER_ADDRESS


def _is_open(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) != b""
    except BlockingIOError:
        return True
    except ConnectionResetError:
        return False


def test_a_client_that_reuses_its_connection_is_not_closed_for_silence(web: Stack) -> None:
    with raw_http.connect(web.port, PROBE) as connection:
        assert raw_http.read_answer(connection)[0] == 200
        with raw_http.connect(web.port) as silent:
            assert raw_http.read_all(silent) == b""  # REQUEST_TIMEOUT_S has passed
        connection.sendall(LAST_PROBE)
        assert raw_http.status_of(raw_http.read_all(connection)) == 200


def test_probes_are_answered_while_everything_else_is_full(web: Stack) -> None:
    with raw_http.many(web.port, BUSY, STREAM) as streams:
        assert all(b"200 OK" in one.recv(65536) for one in streams)
        refused = web.get("/v1/jobs")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
        assert int(refused.headers["Retry-After"]) > 0
        assert web.get("/v1/loras").status_code == 503
        assert web.get("/healthz").status_code == 200
        assert web.get("/readyz").json()["status"] == "not ready"  # this stack has no workers
        assert all(_is_open(one) for one in streams)
    # The closed streams free their places at once, although the server writes to them only after seconds.
    wait_for(lambda: web.get("/v1/jobs").status_code == 200, "room for further requests")


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 1000000\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"]
)
def test_a_body_that_does_not_come_is_not_waited_for(web: Stack, framing: bytes) -> None:
    header = b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    answer = raw_http.exchange(web.port, header + framing)
    assert raw_http.status_of(answer) == 408
    assert b'"error"' in answer


def test_a_body_that_drips_is_not_waited_for(web: Stack) -> None:
    header = b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"
    with raw_http.connect(web.port, header) as connection:
        connection.settimeout(0.2)
        for _ in range(100):
            try:
                answer = connection.recv(65536)
                break
            except TimeoutError:
                connection.sendall(b" ")
        assert raw_http.status_of(answer) == 408


def test_a_refused_body_is_read_so_that_the_answer_arrives(web: Stack) -> None:
    header = f"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: {MAX_REQUEST_BYTES}\r\n\r\n".encode()
    with raw_http.connect(web.port, header + b" " * MAX_REQUEST_BYTES) as connection:
        assert raw_http.read_answer(connection)[0] == 404
        connection.sendall(LAST_PROBE)
        assert raw_http.status_of(raw_http.read_all(connection)) == 200


def test_an_endless_refused_body_is_not_read_to_its_end(web: Stack) -> None:
    header = b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    with raw_http.connect(web.port, header) as connection, pytest.raises((ConnectionResetError, BrokenPipeError)):
        while True:
            connection.sendall(b"10000\r\n" + bytes(0x10000) + b"\r\n")


def test_a_client_that_reads_nothing_loses_its_connection(web: Stack) -> None:
    requests = 20 * b"GET /docs/static/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(raw_http.PATIENCE_S)
        connection.connect(("127.0.0.1", web.port))
        connection.sendall(requests)
        wait_for(lambda: not _is_established(connection), "the server to reset the connection")


def _is_established(connection: socket.socket) -> bool:
    """Return whether a connection is open, without reading from it."""
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == 1


# ---- requests that are none

REQUEST = (
    b"POST /v1/jobs?wait=0 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nX-Other: b\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
)
MALFORMED = (
    b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET http://[/ HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET //[:: HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: [\r\n\r\n", b"CONNECT x:1 HTTP/1.1\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET /\xff HTTP/1.1\r\n\r\n", b"A" * 20_000,
    b"GET /%ff%fe/%00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nContent-Length: 9999999999999999999999\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 2000 + b"\r\n",
    b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nExpect: x\r\n\r\n",
)  # fmt: skip


def _changed(request: bytes, chance: random.Random) -> bytes:
    """Return a request with a few bytes replaced, removed or inserted."""
    content = bytearray(request)
    for _ in range(chance.randint(1, 6)):
        place = chance.randrange(len(content))
        removed, inserted = chance.choice(((1, 1), (8, 0), (0, 4)))
        content[place : place + chance.randint(min(1, removed), removed)] = chance.randbytes(inserted)
    return bytes(content)


def test_a_malformed_request_is_refused_without_a_traceback(web: Stack) -> None:
    chance = random.Random(5)
    statuses = set()
    for request in (*MALFORMED, *(_changed(REQUEST, chance) for _ in range(200))):
        with raw_http.connect(web.port, request) as connection:
            with suppress(OSError):  # the server has refused it already and closed the connection
                connection.shutdown(socket.SHUT_WR)
            statuses.add(raw_http.status_of(raw_http.read_all(connection)))
    assert {400, 414, 431} < statuses
    assert 500 not in statuses


# ---- WebSockets

HANDSHAKE = {
    "Host": "localhost", "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}  # fmt: skip


def _upgrade(**changes: str | None) -> bytes:
    fields = {**HANDSHAKE, **{name.replace("_", "-"): value for name, value in changes.items()}}
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join(["GET /ws/telegram HTTP/1.1", *lines, "", ""]).encode("latin-1")


@pytest.mark.parametrize(
    "version", [None, "", "12", "8", "013", "13, 13", "13;", "-13", "1e1", "\xb9\xb3", "\xff", "9" * 5000]
)
def test_another_version_of_websockets_is_refused(web: Stack, version: str | None) -> None:
    with raw_http.connect(web.port, _upgrade(Sec_WebSocket_Version=version)) as connection:
        answer = connection.recv(65536)
    assert raw_http.status_of(answer) == 426
    assert b"Sec-WebSocket-Version: 13" in answer


@pytest.mark.parametrize(
    "changes",
    [
        *({"Sec_WebSocket_Key": key} for key in (None, "", "short", "A" * 24, "\xe9" * 22 + "==", "a" * 22 + "==, x")),
        *({"Sec_WebSocket_Protocol": name} for name in ("", "\xff", ",", "a b", "a,,b")),
        {"Sec_WebSocket_Extensions": "permessage-deflate; \xe9"},
        {"Upgrade": "\xff"}, {"Upgrade": "h2c"}, {"Upgrade": None}, {"Connection": "close"}, {"Connection": "\xff"},
    ],
)  # fmt: skip
def test_a_malformed_handshake_is_refused(web: Stack, changes: dict[str, str | None]) -> None:
    with raw_http.connect(web.port, _upgrade(**changes)) as connection:
        assert raw_http.status_of(connection.recv(65536)) == 400


@pytest.mark.parametrize(
    "offer",
    ["", "unknown", "permessage-deflate; client_max_window_bits=x", "permessage-deflate; server_max_window_bits=8",
     "permessage-deflate; server_max_window_bits=99", "permessage-deflate=1", ",,", "permessage-deflate; x"],
)  # fmt: skip
def test_an_offer_of_an_extension_that_does_not_exist_is_declined(web: Stack, offer: str) -> None:
    with raw_http.connect(web.port, _upgrade(Sec_WebSocket_Extensions=offer, X_Other="\xff\xfe")) as connection:
        answer = connection.recv(65536)
    assert raw_http.status_of(answer) == 101
    assert b"Sec-WebSocket-Extensions" not in answer


@pytest.mark.parametrize(
    "frames",
    [b"\xff" * 14, b"\x81\x05hello", b"\x81\x80\0\0\0\0" * 3, b"\x81\x82\0\0\0\0\xff\xff", b"\x88\x81\0\0\0\0x",
     b"\x89\xfe\x10\x00" + bytes(4100), b"\x80\x80\0\0\0\0", b"\x88\x82\0\0\0\0\x00\x01", b"\x01\x80\0\0\0\0" * 2,
     b"\xc1\x84\0\0\0\0\xff\xff\xff\xff", b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0"],
)  # fmt: skip
def test_malformed_frames_end_the_socket_or_are_answered(web: Stack, frames: bytes) -> None:
    with raw_http.connect(web.port, _upgrade(Sec_WebSocket_Extensions="permessage-deflate")) as connection:
        assert raw_http.status_of(connection.recv(65536)) == 101
        connection.sendall(frames + b"\x88\x82\0\0\0\0\x03\xe8")  # then a close frame
        assert raw_http.read_all(connection)
