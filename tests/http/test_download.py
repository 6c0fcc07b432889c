"""Downloads of clients' links: what is accepted, how much, and for how long."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.support.web import BODY, get, refused, script, site


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    with site() as server:
        yield f"http://127.0.0.1:{server.server_port}"


# --- What works -------------------------------------------------------------------------------------------------------


def test_downloads_an_allowed_link(web: str) -> None:
    assert get(f"{web}/ok") == BODY
    assert get(f"{web}/ok?name=ö b".replace(" ", "%20") + "#part") == BODY


def test_follows_three_redirects_and_no_more(web: str) -> None:
    assert get(f"{web}/hops/2") == BODY
    assert "more than 3" in refused(f"{web}/hops/3")
    assert "more than 3" in refused(f"{web}/hops/10")
    assert "more than 3" in refused(f"{web}/loop")


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("/ok?name=Köln".encode(), "/ok?name=K%C3%B6ln"),
        (b"/ok?name=a picture.png ", "/ok?name=a%20picture.png"),
        ("/ok?name=Köln".encode("latin-1"), "/ok?name=K%F6ln"),
        (b"/ok?name=K%C3%B6ln%20b", "/ok?name=K%C3%B6ln%20b"),
    ],
)
def test_follows_redirects_to_what_headers_must_not_contain(location: bytes, path: str) -> None:
    with site() as server:
        redirect = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: http://127.0.0.1:%d" % server.server_port
        with script(lambda sock: sock.sendall(redirect + location + b"\r\n\r\n")) as port:
            assert get(f"http://127.0.0.1:{port}/") == BODY
        ((asked, _),) = server.asked  # type: ignore[attr-defined]
    assert asked == path


def test_sends_the_host_of_the_link_and_nothing_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with site() as server:
        url = f"http://Pictures.example:{server.server_port}/ok?sig=a%2Fb"
        hosts = frozenset({"pictures.example"})
        assert get(url, allow_hosts=hosts, resolve=lambda host, port: ["127.0.0.1"]) == BODY
        ((path, headers),) = server.asked  # type: ignore[attr-defined]
        url = f"http://pictures.example.:{server.server_port}/ok"  # the dot means: no search list of the resolver
        assert get(url, allow_hosts=hosts, resolve=lambda host, port: ["127.0.0.1"]) == BODY
    assert path == "/ok?sig=a%2Fb"
    assert headers["Host"] == f"Pictures.example:{server.server_port}"
    assert not {"authorization", "cookie", "referer"} & {name.lower() for name in headers}


def test_reads_chunked_and_unlimited_answers() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    with script(lambda sock: sock.sendall(chunked)) as port:
        assert get(f"http://127.0.0.1:{port}/") == b"abcde"
    with script(lambda sock: sock.sendall(b"HTTP/1.0 200 OK\r\n\r\nabc")) as port:
        assert get(f"http://127.0.0.1:{port}/") == b"abc"


def test_tries_the_next_address_when_the_first_is_dead() -> None:
    def play(sock: socket.socket) -> None:
        time.sleep(0.7)
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\nabc")

    with script(play) as port:
        addresses = ["127.9.9.9", "127.9.9.8", "127.0.0.1"]
        # The limit of one try (a third of the time) does not limit the response.
        assert get(f"http://127.0.0.1:{port}/", timeout_s=1.5, resolve=lambda host, port: addresses) == b"abc"


# --- Answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [204, 206, 400, 401, 404, 500, 304])
def test_refuses_other_status_codes(web: str, status: int) -> None:
    assert str(status) in refused(f"{web}/{status}")


def test_the_limit_holds_for_announced_and_for_endless_bodies(web: str) -> None:
    assert get(f"{web}/ok", max_bytes=len(BODY)) == BODY
    assert "exceed 6999 bytes" in refused(f"{web}/ok", max_bytes=len(BODY) - 1)
    with script(lambda sock: sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")) as port:
        assert "exceed" in refused(f"http://127.0.0.1:{port}/")  # at once, not only when the bytes do not arrive

    sent = 0

    def endless(sock: socket.socket, head: bytes, piece: bytes) -> None:
        nonlocal sent
        sent = 0
        sock.sendall(head)
        while True:
            sock.sendall(piece)
            sent += len(piece)

    piece = b"x" * 65536
    for head, part, rule in (
        (b"HTTP/1.1 200 OK\r\n\r\n", piece, "must not exceed 1000000 bytes"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"10000\r\n" + piece + b"\r\n",
            "must not exceed 1000000 bytes",
        ),
        # A negative chunk size is not HTTP: nothing after it is read.
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", piece, "must send the complete file"),
    ):
        with script(lambda sock, head=head, part=part: endless(sock, head, part)) as port:  # type: ignore[misc]
            assert rule in refused(f"http://127.0.0.1:{port}/", max_bytes=1_000_000)
        assert sent < 30_000_000  # as much as the buffers of the system hold


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nshort",
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab",
     b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
     b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\nabc",
     b"HTTP/1.1 200 OK\r\nA: " + b"b" * 100_000 + b"\r\n\r\nabc",
     b"HTTP/1.1 302 Found\r\nLocation: http://\xff\xfe/\r\n\r\n",
     b"HTTP/1.1 302 Found\r\nLocation: http://[/\r\n\r\n",
     b"SSH-2.0-OpenSSH_9.2\r\n", b"", b"\x00" * 1000],
)  # fmt: skip
def test_refuses_incomplete_and_wrong_answers(answer: bytes) -> None:
    with script(lambda sock: sock.sendall(answer)) as port:
        refused(f"http://127.0.0.1:{port}/")


def test_a_content_length_that_is_too_small_ends_the_body_there() -> None:
    with script(lambda sock: sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef")) as port:
        assert get(f"http://127.0.0.1:{port}/") == b"abc"


def test_a_closed_port_is_refused_without_its_reason() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert refused(f"http://127.0.0.1:{port}/") == (
        "could not be downloaded: the link's server does not answer correctly"
    )


# --- Time -------------------------------------------------------------------------------------------------------------


def drip(start: bytes, piece: bytes) -> Callable[[socket.socket], None]:
    def play(sock: socket.socket) -> None:
        sock.sendall(start)
        while True:
            time.sleep(0.05)
            sock.sendall(piece)

    return play


@pytest.mark.parametrize(
    ("scheme", "play"),
    [("http", drip(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"x")),
     ("http", drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n")),
     ("http", drip(b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x")),
     ("http", drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n")),
     ("http", lambda sock: time.sleep(1.2)),
     ("https", drip(b"\x16\x03\x03\x3f\xff\x02\x00\x3f\xfb\x03\x03", b"x"))],
    ids=["body", "chunks", "header", "continue", "silence", "handshake"],
)  # fmt: skip
def test_a_slow_server_holds_it_no_longer_than_the_limit(scheme: str, play: Callable[[socket.socket], None]) -> None:
    with script(play) as port:
        assert "within 0.4 seconds" in refused(f"{scheme}://127.0.0.1:{port}/", timeout_s=0.4)
        left = [thread for thread in threading.enumerate() if thread.name == "guarded call"]
        for thread in left:
            thread.join(1)  # long before the script ends, because its connection was shut down
            assert not thread.is_alive()


def test_a_slow_name_server_counts_too() -> None:
    released = threading.Event()

    def resolve(host: str, port: int) -> list[str]:
        released.wait(5)
        return []

    assert "within 0.3 seconds" in refused("http://slow.example/", timeout_s=0.3, resolve=resolve)
    released.set()


# --- TLS --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Return the certificate and key of ``pictures.example``, self-signed."""
    openssl = shutil.which("openssl")
    if openssl is None:
        assert not os.environ.get("CI"), "openssl is missing"
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    cert, key = str(folder / "cert.pem"), str(folder / "key.pem")
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=pictures.example", "-addext", "subjectAltName=DNS:pictures.example",
         "-keyout", key, "-out", cert],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


def test_tls_asks_for_and_checks_the_name_of_the_link(
    certificate: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str | None] = []
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*certificate)
    tls.sni_callback = lambda sock, name, context: names.append(name)
    options = {"allow_hosts": frozenset({"pictures.example", "other.example"}), "resolve": lambda h, p: ["127.0.0.1"]}
    with site(tls) as server:
        url = "https://{}:" + str(server.server_port) + "/ok"
        refused(url.format("pictures.example"), **options)  # not signed by a known authority
        assert server.asked == []  # type: ignore[attr-defined]
        monkeypatch.setenv("SSL_CERT_FILE", certificate[0])
        assert get(url.format("pictures.example"), **options) == BODY
        refused(url.format("other.example"), **options)  # the certificate is for another name
        assert len(server.asked) == 1  # type: ignore[attr-defined]
    assert names == ["pictures.example", "pictures.example", "other.example"]


# --- Under gevent -----------------------------------------------------------------------------------------------------

UNDER_GEVENT = """
from gevent import monkey; monkey.patch_all()
import gevent, socket, sys
from jobs.errors import InvalidRequest
from jobs.outbound.download import download
from gevent.server import StreamServer

now = most = 0
def serve(sock, address):
    global now, most
    now += 1; most = max(most, now)
    try: answer(sock)
    except OSError: pass
    finally: now -= 1
def answer(sock):
    words = sock.recv(65536).split()
    if not words[1:] or not words[1].startswith(b"/"):  # the beginning of TLS, or somebody who gave up
        while True: gevent.sleep(0.02); sock.sendall(b"x")
    path = words[1]
    sock.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 5\\r\\n\\r\\n")
    for _ in range(5): gevent.sleep(0.02 if path == b"/ok" else 100); sock.sendall(b"x")
server = StreamServer(("127.0.0.1", 0), serve); server.start()

def get(scheme, path, timeout_s):
    try:
        return download(f"{scheme}://127.0.0.1:{server.server_port}{path}", max_bytes=99, timeout_s=timeout_s,
                     allow_hosts=frozenset({"127.0.0.1"}))
    except InvalidRequest as exc:
        return exc.message
found = [g.get() for g in [gevent.spawn(get, *a) for a in
         [("http", "/ok", 50)] * 20 + [("http", "/slow", 0.5)] * 20 + [("https", "/", 0.5)] * 5]]
assert found[:20] == [b"xxxxx"] * 20, found
assert all("must answer completely" in f for f in found[20:40]), found
assert all(isinstance(f, str) for f in found[40:]), found
assert most > 5, most  # they do not wait for each other
print("fine")
"""


def test_works_and_keeps_its_time_under_gevent() -> None:
    command = [sys.executable, "-c", UNDER_GEVENT]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.stdout == "fine\n", done.stderr


def test_imports_neither_flask_nor_celery_nor_redis() -> None:
    heavy = ("requests", "urllib3", "flask", "celery", "redis")
    code = f"import sys, jobs.outbound.download; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.fixture(autouse=True, scope="module")
def nothing_left() -> Iterator[None]:
    yield
    time.sleep(0.05)
    assert [thread.name for thread in threading.enumerate() if thread.name == "guarded call"] == []
