"""Downloads of clients' links: what is taken, and that nothing leads into the private network."""

from __future__ import annotations

import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from jobs.errors import InvalidRequest
from jobs.fetch import fetch
from jobs.guard import may_connect

LOCAL = frozenset({"127.0.0.1"})
BODY = b"picture" * 1000


class _Site(BaseHTTPRequestHandler):
    """Answers by path; the server counts what it was asked."""

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers))  # type: ignore[attr-defined]
        name, _, rest = self.path.partition("?")[0].lstrip("/").partition("/")
        if name == "hops":
            self.redirect(f"/hops/{int(rest) - 1}" if int(rest) else "/ok")
        elif name == "loop":
            self.redirect("/loop")
        elif name == "to":
            self.redirect(rest)
        elif name == "nowhere":
            self.send_response(302)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif name == "ok":
            self.body(200)
        else:
            self.body(int(name))

    def redirect(self, where: str) -> None:
        self.send_response(302)
        self.send_header("Location", where)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def body(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def site(tls: ssl.SSLContext | None = None) -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Site)
    server.asked = []  # type: ignore[attr-defined]
    server.handle_error = lambda *args: None  # type: ignore[method-assign]  # clients that hang up are the point
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def script(play: Callable[[socket.socket], None], *, read_request: bool = True) -> Iterator[int]:
    """A server that follows a script on each connection; gives its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    stopped = threading.Event()

    def serve() -> None:
        while True:
            sock, _ = listener.accept()
            with sock:
                if stopped.is_set():
                    return
                sock.settimeout(10)
                try:
                    if read_request:
                        sock.recv(65536)
                    play(sock)
                except OSError:
                    pass

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        stopped.set()
        socket.create_connection(listener.getsockname()).close()
        thread.join()
        listener.close()


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    with site() as server:
        yield f"http://127.0.0.1:{server.server_port}"


def get(url: str, **options: object) -> bytes:
    return fetch(url, **{"max_bytes": 100_000, "timeout_s": 5, "allow_hosts": LOCAL, **options})  # type: ignore[arg-type]


def refused(url: str, **options: object) -> str:
    with pytest.raises(InvalidRequest) as caught:
        get(url, **options)
    (problem,) = caught.value.problems
    assert problem.field == "image"
    assert not re.search(r"127\.|10\.0|::|Errno", problem.rule)
    return problem.rule


# --- What works -------------------------------------------------------------------------------------------------------


def test_downloads_an_allowed_link(web: str) -> None:
    assert get(f"{web}/ok") == BODY
    assert get(f"{web}/ok?name=ö b".replace(" ", "%20") + "#part") == BODY


def test_follows_three_redirects_and_no_more(web: str) -> None:
    assert get(f"{web}/hops/2") == BODY
    assert "more than 3" in refused(f"{web}/hops/3")
    assert "more than 3" in refused(f"{web}/hops/10")
    assert "more than 3" in refused(f"{web}/loop")


def test_sends_the_host_of_the_link_and_nothing_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with site() as server:
        url = f"http://Pictures.example:{server.server_port}/ok?sig=a%2Fb"
        hosts = frozenset({"pictures.example"})
        assert get(url, allow_hosts=hosts, resolve=lambda host, port: ["127.0.0.1"]) == BODY
        ((path, headers),) = server.asked  # type: ignore[attr-defined]
        url = f"http://pictures.example.:{server.server_port}/ok"  # the dot says: no search list of the resolver
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
        # The limit of one try (a third of the time) is not the limit of the answer.
        assert get(f"http://127.0.0.1:{port}/", timeout_s=1.5, resolve=lambda host, port: addresses) == b"abc"


# --- Addresses --------------------------------------------------------------------------------------------------------

PUBLIC = ["93.184.216.34", "8.8.8.8", "2606:2800:220:1:248:1893:25c8:1946", "64:ff9b::808:808", "::ffff:8.8.8.8"]
LINK_LOCAL_AND_METADATA = [
    "169.254.169.254", "169.254.1.1", "fe80::1", "fe80::1%eth0", "2606:4700::1111%eth0",
    "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254",
    "224.0.0.1", "239.1.2.3", "ff02::1", "0.0.0.0", "::", "no address", "",
]  # fmt: skip
PRIVATE = [
    "127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "::1", "fc00::1", "fec0::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1",
]  # fmt: skip
SPECIAL = [
    "2002:7f00:1::", "2002:808:808::1", "2001:0:7f00:1::1", "2001:db8::1", "3fff::1", "::127.0.0.1", "64:ff9b:1::a00:1",
    "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "192.88.99.1", "240.0.0.1", "255.255.255.255", "100::1",
    "4000::1", "5f00::1",
]  # fmt: skip


def test_only_public_addresses_may_be_reached() -> None:
    assert [a for a in PUBLIC if not may_connect(a)] == []
    assert [a for a in PRIVATE + SPECIAL + LINK_LOCAL_AND_METADATA if may_connect(a)] == []


def test_an_allowed_host_may_be_private_but_never_link_local_or_metadata() -> None:
    assert [a for a in PUBLIC + PRIVATE if not may_connect(a, private=True)] == []
    assert [a for a in LINK_LOCAL_AND_METADATA if may_connect(a, private=True)] == []


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost.", "LOCALHOST", "2130706433", "0x7f.1", "0x7f000001", "017700000001", "127.1", "0",
     "0.0.0.0", "127.0.0.1", "127.0.0.1.", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
     "[64:ff9b::7f00:1]", "[0:0:0:0:0:0:0:1]", "[fe80::1%25lo]", "１２７.0.0.1", "①②⑦.0.0.1", "127。0。0。1",
     "169.254.169.254"],
)  # fmt: skip
def test_no_spelling_of_a_local_address_is_reached(host: str) -> None:
    with site() as server:
        refused(f"http://{host}:{server.server_port}/ok", allow_hosts=frozenset())
        assert server.asked == []  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "url",
    ["http://user@127.0.0.1:{}/ok", "http://user:secret@127.0.0.1:{}/ok", "http://example.com@127.0.0.1:{}/ok",
     "http://127.0.0.1:{}\\@example.com/ok", "http://127.0.0.1:{}/o\tk", " http://127.0.0.1:{}/ok",
     "http://127.0.0.1:{}/ok\r\nX-Header: 1", "http://127.0.0.1:{}:80/ok", "http://127.0.0.1:0/ok", "http://:{}/ok",
     "http:///ok", "http:127.0.0.1:{}/ok", "http://127.0.0.1:99999/ok", "http://[::1/ok", "http://[127.0.0.1]:{}/ok",
     "http://a%2eb:{}/ok", "http://127.0.0.1:{}/" + "x" * 9000, "file:///etc/passwd", "file://127.0.0.1/etc/passwd",
     "gopher://127.0.0.1:{}/_x", "ftp://127.0.0.1:{}/ok", "//127.0.0.1:{}/ok", "javascript:alert(1)", "http://", ""],
)  # fmt: skip
def test_refuses_other_schemes_and_doubtful_links(url: str) -> None:
    with site() as server:
        assert refused(url.format(server.server_port)).startswith("a link must")
        assert server.asked == []  # type: ignore[attr-defined]


def test_a_password_in_the_link_is_not_repeated() -> None:
    with pytest.raises(InvalidRequest) as caught:
        get("http://user:secret@example.com/")
    assert "secret" not in str(caught.value.problems)


@pytest.mark.parametrize(
    "where",
    ["http://localhost:{}/ok", "http://[::1]:{}/ok", "http://169.254.169.254/latest", "//localhost:{}/ok",
     "file:///etc/passwd", "http://user@127.0.0.1:{}/ok"],
)  # fmt: skip
def test_a_redirect_is_checked_like_the_link(where: str) -> None:
    with site() as server:
        refused(f"http://127.0.0.1:{server.server_port}/to/{where.format(server.server_port)}")
        assert len(server.asked) == 1  # type: ignore[attr-defined]


def test_a_redirect_without_location_ends(web: str) -> None:
    refused(f"{web}/nowhere")


def test_one_private_address_among_public_ones_is_enough_to_refuse() -> None:
    with site() as server:
        url = f"http://pictures.example:{server.server_port}/ok"
        refused(url, resolve=lambda host, port: ["93.184.216.34", "127.0.0.1"])
        refused(url, resolve=lambda host, port: [])
        assert server.asked == []  # type: ignore[attr-defined]


def test_a_private_name_is_refused_in_the_words_of_an_unknown_one() -> None:
    assert refused("http://nothing.invalid/") == refused("http://localhost/")


def test_connects_to_the_checked_address_though_dns_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: public at the check, loopback at any later question."""
    answers = [["93.184.216.34", "8.8.8.8"], ["127.0.0.1"], ["127.0.0.1"]]
    asked: list[str] = []
    connected: list[object] = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return answers[len(asked) - 1]

    def connect(address: object, timeout: float) -> socket.socket:
        connected.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kw: pytest.fail("the name was asked for again"))
    refused("http://rebinding.example:8080/", resolve=resolve)
    assert asked == ["rebinding.example"]
    assert connected == [("93.184.216.34", 8080), ("8.8.8.8", 8080)]


# --- Answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [204, 206, 400, 401, 404, 500, 304])
def test_refuses_other_status_codes(web: str, status: int) -> None:
    assert str(status) in refused(f"{web}/{status}")


def test_the_limit_holds_for_announced_and_for_endless_bodies(web: str) -> None:
    assert get(f"{web}/ok", max_bytes=len(BODY)) == BODY
    assert "exceed 6999 bytes" in refused(f"{web}/ok", max_bytes=len(BODY) - 1)
    with script(lambda sock: sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")) as port:
        assert "exceed" in refused(f"http://127.0.0.1:{port}/")  # at once, not when the bytes do not come

    sent = 0

    def endless(sock: socket.socket, head: bytes, piece: bytes) -> None:
        nonlocal sent
        sent = 0
        sock.sendall(head)
        while True:
            sock.sendall(piece)
            sent += len(piece)

    piece = b"x" * 65536
    for head, part in (
        (b"HTTP/1.1 200 OK\r\n\r\n", piece),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + piece + b"\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", piece),
    ):
        with script(lambda sock, head=head, part=part: endless(sock, head, part)) as port:  # type: ignore[misc]
            assert "exceed" in refused(f"http://127.0.0.1:{port}/", max_bytes=1_000_000)
        assert sent < 30_000_000  # what the buffers of the system take


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
    assert refused(f"http://127.0.0.1:{port}/") == "the link's server does not answer correctly"


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
        started = time.monotonic()
        assert "within 0.4 seconds" in refused(f"{scheme}://127.0.0.1:{port}/", timeout_s=0.4)
        assert time.monotonic() - started < 1
        left = [thread for thread in threading.enumerate() if thread.name == "fetch"]
        for thread in left:
            thread.join(1)  # long before the script ends: its connection was shut
            assert not thread.is_alive()


def test_a_slow_name_server_counts_too() -> None:
    released = threading.Event()

    def resolve(host: str, port: int) -> list[str]:
        released.wait(5)
        return []

    started = time.monotonic()
    assert "within 0.3 seconds" in refused("http://slow.example/", timeout_s=0.3, resolve=resolve)
    released.set()
    assert time.monotonic() - started < 1


# --- TLS --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Certificate and key of ``pictures.example``, signed by itself."""
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
        refused(url.format("pictures.example"), **options)  # not signed by anyone we know
        assert server.asked == []  # type: ignore[attr-defined]
        monkeypatch.setenv("SSL_CERT_FILE", certificate[0])
        assert get(url.format("pictures.example"), **options) == BODY
        refused(url.format("other.example"), **options)  # the certificate is for another name
        assert len(server.asked) == 1  # type: ignore[attr-defined]
    assert names == ["pictures.example", "pictures.example", "other.example"]


# --- Under gevent -----------------------------------------------------------------------------------------------------

UNDER_GEVENT = """
from gevent import monkey; monkey.patch_all()
import gevent, socket, sys, time
from jobs.errors import InvalidRequest
from jobs.fetch import fetch
from gevent.server import StreamServer

def serve(sock, address):
    path = sock.recv(65536).split()[1]
    if path == b"/tls" or not path.startswith(b"/"):
        while True: gevent.sleep(0.02); sock.sendall(b"x")
    sock.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 5\\r\\n\\r\\n")
    for _ in range(5): gevent.sleep(0.02 if path == b"/ok" else 1); sock.sendall(b"x")
server = StreamServer(("127.0.0.1", 0), serve); server.start()

def get(scheme, path):
    try:
        return fetch(f"{scheme}://127.0.0.1:{server.server_port}{path}", max_bytes=99, timeout_s=0.5,
                     allow_hosts=frozenset({"127.0.0.1"}))
    except InvalidRequest as exc:
        return exc.message
started = time.monotonic()
found = [g.get() for g in [gevent.spawn(get, *a) for a in
         [("http", "/ok")] * 20 + [("http", "/slow")] * 20 + [("https", "/")] * 5]]
took = time.monotonic() - started
assert found[:20] == [b"xxxxx"] * 20, found
assert all("must answer completely" in f for f in found[20:40]), found
assert all(isinstance(f, str) for f in found[40:]), found
assert took < 1.5, took
print("fine")
"""


def test_works_and_keeps_its_time_under_gevent() -> None:
    command = [sys.executable, "-c", UNDER_GEVENT]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.stdout == "fine\n", done.stderr


def test_imports_the_standard_library_only() -> None:
    code = "import sys, jobs.fetch; print([m for m in ('requests', 'urllib3', 'flask', 'celery') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.fixture(autouse=True, scope="module")
def nothing_left() -> Iterator[None]:
    yield
    time.sleep(0.05)
    assert [thread.name for thread in threading.enumerate() if thread.name == "fetch"] == []
