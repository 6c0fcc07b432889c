"""A collector of traces: a real OTLP/HTTP server that keeps the spans that it is sent."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Received:
    """One span."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    start_ns: int
    end_ns: int
    is_error: bool
    message: str
    attributes: dict[str, Any]
    #: Names of its events, in their order.
    events: list[str]
    service: str


class Collector(ThreadingHTTPServer):
    """Keeps spans. While ``hangs`` is set, requests are not answered."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.spans: list[Received] = []
        self.requests = 0
        self.goes_on = threading.Event()
        self.goes_on.set()

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # senders hang up in some tests, on purpose

    def of(self, trace_id: str) -> list[Received]:
        """Return the spans of a trace in the order of their starts."""
        return sorted((span for span in self.spans if span.trace_id == trace_id), key=lambda span: span.start_ns)

    def of_job(self, job_id: str) -> list[Received]:
        """Return the spans about a job in the order of their starts."""
        found = [span for span in self.spans if span.attributes.get("framemill.job_id") == job_id]
        return sorted(found, key=lambda span: (span.start_ns, span.end_ns))


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests += 1
        self.server.goes_on.wait()
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = _values(resource.resource.attributes).get("service.name", "")
            for scope in resource.scope_spans:
                self.server.spans += [_received(span, service) for span in scope.spans]
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


def _received(span: Any, service: str) -> Received:
    return Received(
        name=span.name, trace_id=span.trace_id.hex(), span_id=span.span_id.hex(), parent_id=span.parent_span_id.hex(),
        start_ns=span.start_time_unix_nano, end_ns=span.end_time_unix_nano, is_error=span.status.code == 2,
        message=span.status.message, attributes=_values(span.attributes), events=[event.name for event in span.events],
        service=service,
    )  # fmt: skip


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


@contextmanager
def collecting() -> Iterator[Collector]:
    """Yield a collector that runs for the length of the block."""
    collector = Collector()
    thread = threading.Thread(target=collector.serve_forever, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        collector.goes_on.set()
        collector.shutdown()
        collector.server_close()
