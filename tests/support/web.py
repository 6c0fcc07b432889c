"""Web sites for tests of downloads."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from jobs.errors import InvalidRequest
from jobs.outbound.download import download

LOCAL = frozenset({"127.0.0.1"})
BODY = b"picture" * 1000


class _Site(BaseHTTPRequestHandler):
    """Responds by path; the server counts the requests."""

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
    """Run a server that follows a script on each connection; yield its port."""
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


def get(url: str, **options: object) -> bytes:
    return download(url, **{"max_bytes": 100_000, "timeout_s": 5, "allow_hosts": LOCAL, **options})  # type: ignore[arg-type]


def refused(url: str, **options: object) -> str:
    with pytest.raises(InvalidRequest) as caught:
        get(url, **options)
    (problem,) = caught.value.problems
    assert problem.field == "image"
    assert not re.search(r"127\.|10\.0|::|Errno", problem.rule)
    return problem.rule
