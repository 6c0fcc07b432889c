"""A server in place of a bucket that answers 200 to everything, as captive portals and wrong proxies do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAGE = b"<html><body>Please log in</body></html>"


class Portal(ThreadingHTTPServer):
    """``kept``: the part of an upload that it stores, which may be nothing."""

    allow_reuse_address = True

    def __init__(self, port: int, kept: slice | None) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.kept = kept
        self.stored: dict[str, bytes] = {}
        #: Method and path of each request.
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Portal

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.server.kept is not None:
            self.server.stored[self._name] = body[self.server.kept].ljust(len(body), b"\0")
        self._answer(b"")

    def do_HEAD(self) -> None:
        self._answer(self.server.stored.get(self._name, PAGE))

    def do_GET(self) -> None:
        self._answer(self.server.stored.get(self._name, PAGE))

    do_POST = do_DELETE = do_GET

    @property
    def _name(self) -> str:
        return self.path.partition("?")[0]

    def _answer(self, body: bytes) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def portal(port: int = 0, kept: slice | None = None) -> Iterator[Portal]:
    """Run a portal for one ``with`` block."""
    with Portal(port, kept) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
