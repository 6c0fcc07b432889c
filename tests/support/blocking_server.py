"""Common parts of the fake blocking back ends: a threaded HTTP server whose process can die and start again."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from werkzeug.formparser import parse_form_data


class Died(Exception):
    """The process died in the middle of a call."""


class BlockingServer:
    """Runs one job at a time, in the order of arrival; the POST of a job is answered when the job is done.

    Tests change its attributes while it runs to make it fail.
    """

    def __init__(self, step_s: float = 0.02) -> None:
        self.step_s = step_s
        #: Jobs run until they are stopped; status and body instead of a result; a body sent with status 200.
        self.endless = False
        self.failure: tuple[int, Any] | None = None
        self.result: bytes | None = None
        #: Bodies to send with status 200 for the next jobs; several servers may share the list.
        self.mishaps: list[bytes] = []
        #: Bodies of jobs in the order of arrival; every call.
        self.bodies: list[dict[str, Any]] = []
        self.calls: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.lock = threading.Lock()
        self.generation = 0
        self.port = 0
        self._turn = threading.Condition()
        self._line: list[object] = []
        self._server: ThreadingHTTPServer | None = None
        self._connections: set[socket.socket] = set()

    # ---- the process

    def start(self) -> Any:
        owner = self
        self.generation += 1

        class Bound(Handler):
            fake = owner

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Bound)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Kill the process: connections end without a response, and its state is lost."""
        assert self._server is not None
        self.generation += 1
        self._server.shutdown()
        self._server.server_close()
        with self.lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self._connections.clear()
        with self._turn:
            self._line.clear()
            self._turn.notify_all()
        self.forget()

    def forget(self) -> None:
        """Clear what a new process does not know."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    # ---- its behaviour

    @contextlib.contextmanager
    def turn(self) -> Iterator[int]:
        """Wait for the turn of a job, first come first served. Yields the generation of the process."""
        ticket, generation = object(), self.generation
        with self._turn:
            self._line.append(ticket)
            self._turn.wait_for(lambda: self.generation != generation or self._line[0] is ticket)
        try:
            self.check(generation)
            yield generation
        finally:
            with self._turn:
                if ticket in self._line:
                    self._line.remove(ticket)
                self._turn.notify_all()

    def check(self, generation: int) -> None:
        """Raises: Died: the process of this generation has died."""
        if self.generation != generation:
            raise Died

    def steps(self, number: int, generation: int) -> Iterator[int]:
        """Yield the steps of a job at their pace; the last one repeats while jobs are endless."""
        step = 0
        while step < number or self.endless:
            time.sleep(self.step_s)
            self.check(generation)
            step = min(step + 1, number)
            yield step

    def answer(self, method: str, path: str, body: Any, headers: dict[str, str]) -> tuple[int, bytes, str]:
        """Return status, content and media type of a response."""
        raise NotImplementedError


class Handler(BaseHTTPRequestHandler):
    fake: BlockingServer
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        with self.fake.lock:
            self.fake._connections.add(self.connection)

    def finish(self) -> None:
        with self.fake.lock:
            self.fake._connections.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, *_: Any) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError, ValueError):
            super().handle()

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def do_DELETE(self) -> None:
        self._serve("DELETE")

    def _body(self, content: bytes) -> dict[str, Any]:
        """Return the fields of a body: JSON, or a form, whose files are bytes; of ``name[]``, lists."""
        if not (self.headers.get("Content-Type") or "").startswith("multipart/"):
            return dict(json.loads(content)) if content else {}
        environ = {
            "wsgi.input": io.BytesIO(content), "CONTENT_TYPE": self.headers["Content-Type"],
            "CONTENT_LENGTH": str(len(content)), "REQUEST_METHOD": "POST",
        }  # fmt: skip
        _, texts, files = parse_form_data(environ)
        body: dict[str, Any] = texts.to_dict()
        for name, file in files.items(multi=True):
            with contextlib.closing(file):
                content = file.read()
            if name.endswith("[]"):
                body.setdefault(name, []).append(content)
            else:
                body[name] = content
        return body

    def _serve(self, method: str) -> None:
        fake = self.fake
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, _, query = self.path.partition("?")
        with fake.lock:
            fake.calls.append(f"{method} {path}")
            fake.headers.append({name.lower(): value for name, value in self.headers.items()})
        body = self._body(content)
        try:
            status, answer, media_type = fake.answer(method, path, body | ({"query": query} if query else {}),
                                                     fake.headers[-1])  # fmt: skip
        except Died:
            self.close_connection = True
            return
        with contextlib.suppress(OSError):
            self.send_response(status)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)


def as_json(status: int, body: Any) -> tuple[int, bytes, str]:
    return status, json.dumps(body, separators=(",", ":")).encode(), "application/json"
