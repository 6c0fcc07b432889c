"""A small server that implements the API, for tests of the client and the command."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

PNG = b"\x89PNG pretended " + bytes(range(256)) * 1000
STATES = ("queued", "running", "delivering", "succeeded")


class FakeServer(ThreadingHTTPServer):
    """One job that advances with every request for it, unless ``hold`` keeps it running."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.calls: list[tuple[str, str, Any]] = []
        self.queries: list[dict[str, list[str]]] = []
        self.headers: list[dict[str, str]] = []
        #: Responses given before the regular ones: (status, body, headers), or None to cut the connection.
        self.first: list[tuple[int, Any, dict[str, str]] | None] = []
        self.steps = 0
        self.hold = False
        self.end: str | None = None
        #: Response to a request for the job's events.
        self.events: tuple[int, Any, dict[str, str]] = (404, {"detail": "no such route"}, {})
        self.fleet: dict[str, Any] = {"slots": [], "delivery": ["here"], "version": "0.2.0"}
        #: Silence before a connection is cut, seconds.
        self.stall_s = 0.0

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # connections are cut on purpose

    def job(self) -> dict[str, Any]:
        state = self.end or ("running" if self.hold else STATES[min(self.steps, 3)])
        self.steps += 1
        done = state == "succeeded"
        error = {"code": "out_of_memory", "message": "too large"} if state == "failed" else None
        started = state != "queued"
        progress = {"stage": None, "stage_percent": None, "step": 10 * started, "steps": 20 * started, "percent": 50}
        return {
            "id": "a1", "state": state, "progress": progress, "eta_s": 3.2, "error": error,
            "position": 0 if started else 2, "warnings": [], "created_at": "2026-01-01T00:00:00Z",
            "outputs": [{"index": 0, "url": "/v1/jobs/a1/result?index=0", "media_type": "image/png"}] if done else [],
        }  # fmt: skip

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any, dict[str, str]]:
        if (method, path) == ("POST", "/v1/jobs"):
            if body.get("steps", 1) > 100:
                problem = {"field": "steps", "rule": "must be 1 to 100", "value": body["steps"]}
                error = {"code": "invalid_request", "message": "steps: must be 1 to 100", "fields": [problem]}
                return 422, {"detail": error["message"], "error": error}, {}
            return 201, {
                "id": "a1", "state": "queued", "position": 2, "eta_s": 3.2, "links": {},
                "warnings": ["width 63 was rounded to 64"], "request": {"seed": 7},
            }, {}  # fmt: skip
        if (method, path) == ("GET", "/v1/jobs/a1"):
            return 200, self.job(), {}
        if path == "/v1/jobs/a1/events":
            return self.events
        if path == "/v1/jobs/a1/result":
            return 200, PNG, {"Content-Type": "image/png"}
        if (method, path) == ("GET", "/v1/jobs"):
            return 200, {"jobs": [self.job()], "total": 2, "next": "a1"}, {}
        if (method, path) == ("POST", "/v1/jobs/a1/cancel"):
            self.end = "cancelled"
            return 200, {"id": "a1", "state": "cancelled", "cancelled": True}, {}
        if (method, path) == ("POST", "/v1/jobs/cancel"):
            return 200, {"cancelled": ["a1"]}, {}
        if path == "/v1/models":
            return 200, {"models": [{"name": "demo-image", "kinds": ["text2img"], "description": "Shapes."}]}, {}
        if path == "/v1/fleet":
            return 200, self.fleet, {}
        if path == "/v1/queue":
            return 200, {"idle": True, "counts": {"queued": 2}}, {}
        return 404, {"detail": "no such job", "error": {"code": "job_not_found", "message": "no such job"}}, {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeServer

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        parts = urlsplit(self.path)
        self.server.calls.append((self.command, parts.path, body if body is not None else parse_qs(parts.query)))
        self.server.queries.append(parse_qs(parts.query))
        self.server.headers.append(dict(self.headers))
        planned = self.server.first.pop(0) if self.server.first else self.server.answer(self.command, parts.path, body)
        if planned is None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        status, answer, headers = planned
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
        if int(headers.get("Content-Length", 0)) > len(content):
            threading.Event().wait(self.server.stall_s)

    do_POST = do_DELETE = do_GET

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def serving() -> Iterator[FakeServer]:
    with FakeServer() as fake:
        thread = threading.Thread(target=lambda: fake.serve_forever(0.01))
        thread.start()
        yield fake
        fake.shutdown()
        thread.join()


def refusal(status: int, code: str, headers: dict[str, str] | None = None) -> tuple[int, Any, dict[str, str]]:
    return status, {"detail": code, "error": {"code": code, "message": code}}, headers or {}
