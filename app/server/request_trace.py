"""The span of a request, with which the trace of a job begins.

It is begun when the request submits a job, or else when the request ends; only requests that have a line in the log at
INFO have a span, so polls are no traces.
"""

from __future__ import annotations

import time
from typing import Any

from flask import request

from jobs.process import tracing

#: Keys of the WSGI environment: when the request began, nanoseconds since 1970; its span.
_BEGAN, _SPAN = "framemill.began_ns", "framemill.span"


def begin(environ: dict[str, Any]) -> None:
    """Note when a request begins."""
    environ[_BEGAN] = time.time_ns()


def trace_of_request() -> str:
    """Return the ``traceparent`` for a job that the current request submits."""
    environ, rule = request.environ, request.url_rule
    if environ.get("HTTP_UPGRADE", "").lower() == "websocket":  # it lasts for hours: each of its jobs has a trace
        span = _begun(environ, f"message {rule}", time.time_ns())
        span.end({"http.route": str(rule)})
        return span.context
    if _SPAN not in environ:
        environ[_SPAN] = _begun(environ, f"{request.method} {rule}", environ.get(_BEGAN))
    return str(environ[_SPAN].context)


def end(environ: dict[str, Any], fields: dict[str, Any] | None) -> None:
    """End the span of a request whose response has been sent.

    Args:
        environ: of the request.
        fields: what its line in the log says; None: it has none, and no span either unless it has submitted a job.
    """
    span: tracing.Span | None = environ.get(_SPAN)
    if fields is None or (span is None and _BEGAN not in environ):
        return
    if span is None:
        span = _begun(environ, f"{fields['method']} {fields['route'] or '(no route)'}", environ[_BEGAN])
    status = fields["status"]
    span.end(
        {
            "http.request.method": fields["method"], "http.route": fields["route"],
            "http.response.status_code": status, "http.response.body.size": fields["bytes"],
            "framemill.key": fields["key"], "framemill.request_id": fields["request_id"],
            "framemill.job_id": fields["job_id"],
        },
        error=f"status {status}" if status >= 500 else "",
    )  # fmt: skip


def _begun(environ: dict[str, Any], name: str, start_ns: int | None) -> tracing.Span:
    return tracing.begin(name, environ.get("HTTP_TRACEPARENT", ""), kind="SERVER", start_ns=start_ns)
