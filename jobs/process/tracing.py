"""Traces: spans that are sent to a collector with OpenTelemetry's protocol, OTLP over HTTP.

They are on if one of the standard variables names an endpoint; without it nothing of OpenTelemetry is imported. Each
process that makes spans has a tracer of its own, made at its first span: threads and connections do not survive a fork.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

logger = logging.getLogger(__name__)

#: The standard variables that turn traces on.
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
#: Longest wait for the last spans of a process that ends, seconds.
FLUSH_S = 1.0

#: Moment of an event in nanoseconds since 1970, its name and its attributes.
Event = tuple[int, str, Mapping[str, Any]]


@cache
def is_on() -> bool:
    """Return whether this process sends spans. The environment must be complete, with what ``.env`` sets."""
    return _is_wanted() and is_installed()


def is_missing() -> bool:
    """Return whether an endpoint is set, but the packages of the extra ``tracing`` are not installed."""
    return _is_wanted() and not is_installed()


def is_installed() -> bool:
    """Return whether the packages of the extra ``tracing`` are installed."""
    try:
        return find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:
        return False


def _is_wanted() -> bool:
    is_disabled = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    is_disabled = is_disabled or os.environ.get("OTEL_TRACES_EXPORTER", "otlp").strip() not in ("", "otlp")
    return not is_disabled and any(os.environ.get(name, "").strip() for name in ENDPOINTS)


@dataclass(frozen=True)
class Span:
    """A span that has begun."""

    _span: Any

    @property
    def context(self) -> str:
        """The ``traceparent`` for what follows from this span (W3C Trace Context)."""
        context = self._span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"

    def end(
        self, attributes: Mapping[str, Any] | None = None, *, error: str = "", end_ns: int | None = None
    ) -> None:  # fmt: skip
        """End the span.

        Args:
            attributes: more attributes; None is left out.
            error: what failed, '' if nothing did.
            end_ns: when it ended, nanoseconds since 1970; None: now.
        """
        self._span.set_attributes(_present(attributes or {}))
        if error:
            from opentelemetry.trace import Status, StatusCode

            self._span.set_status(Status(StatusCode.ERROR, error))
        self._span.end(end_ns)


def begin(
    name: str, parent: str = "", *, kind: str = "INTERNAL", start_ns: int | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> Span:  # fmt: skip
    """Begin a span. Traces must be on.

    Args:
        name: its name, one of few.
        parent: ``traceparent`` of the span that it belongs to; '' or a malformed one: it begins a trace.
        kind: ``INTERNAL``, ``SERVER`` or ``CONSUMER``.
        start_ns: when it began, nanoseconds since 1970; None: now.
        attributes: its attributes; None is left out.
    """
    from opentelemetry.context import Context
    from opentelemetry.trace import SpanKind
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    context = TraceContextTextMapPropagator().extract({"traceparent": parent}, Context())
    span = _tracer_of(os.getpid()).tracer.start_span(
        name, context, SpanKind[kind], _present(attributes or {}), start_time=start_ns
    )
    return Span(span)


def record(
    name: str, parent: str, start_ms: int, end_ms: int, attributes: Mapping[str, Any], *, kind: str = "INTERNAL",
    error: str = "", events: Iterable[Event] = (),
) -> None:  # fmt: skip
    """Make a span of something that is over; times in milliseconds since 1970, otherwise as :func:`begin`."""
    span = begin(name, parent, kind=kind, start_ns=start_ms * 1_000_000, attributes=attributes)
    for at_ns, event, details in events:
        span._span.add_event(event, details, at_ns)
    span.end(error=error, end_ns=max(start_ms, end_ms) * 1_000_000)


def flush() -> None:
    """Send what has not been sent yet, for a process that ends. It does not wait longer than :data:`FLUSH_S`."""
    tracer = _tracers.get(os.getpid())
    if tracer is not None:
        sending = threading.Thread(target=tracer.provider.force_flush, daemon=True)
        sending.start()
        sending.join(FLUSH_S)


@dataclass(frozen=True)
class _Tracer:
    provider: Any
    tracer: Any


#: The tracer of this process, by its id.
_tracers: dict[int, _Tracer] = {}
_lock = threading.Lock()


def _tracer_of(pid: int) -> _Tracer:
    if pid not in _tracers:
        with _lock:
            if pid not in _tracers:
                _tracers[pid] = _create()
    return _tracers[pid]


def _create() -> _Tracer:
    """Return a tracer. The standard variables decide about endpoint, headers, sampling, limits and resource."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    # They would log every failed attempt, and every span that finds the queue full.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)

    class Exporter(SpanExporter):
        """Says once that spans cannot be sent, and once that they are sent again."""

        _inner, _works = OTLPSpanExporter(), True

        def export(self, spans: Any) -> SpanExportResult:
            result = self._inner.export(spans)
            works = result is SpanExportResult.SUCCESS
            if works != self._works:
                self._works = works
                logger.log(
                    logging.INFO if works else logging.WARNING,
                    "traces are sent again" if works else "traces cannot be sent, spans are dropped",
                )
            return result

        def shutdown(self) -> None:
            self._inner.shutdown()  # type: ignore[no-untyped-call]

    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "framemill"}
    # Not at exit: that waits for an endpoint that does not answer. flush() is bounded.
    provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(Exporter()))
    return _Tracer(provider, provider.get_tracer("framemill"))


def _present(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value is not None}
