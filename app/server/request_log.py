"""The log of requests: one line for each that matters, and an id for every request.

A line is written when the response has been sent, so streams have their whole length. It names the route's rule, never
the path or the query, which may contain secrets. What is read often (probes, polls, files) has its line at DEBUG, and a
line that is not shown costs a look at the status.
"""

from __future__ import annotations

import itertools
import logging
import re
import secrets
from datetime import timedelta
from typing import Any

from flask import Flask, Response, g, request
from gunicorn import glogging

from app.server import request_trace
from jobs.process.frequent_lines import FrequentLines

_lines = FrequentLines(logging.getLogger("app.requests"), "request")

#: Header of the id of a request, of the client or the proxy and of the response.
HEADER = "X-Request-Id"
#: Keys of the WSGI environment: id of the request, id of the caller's key, the route with its arguments, and the id of
#: the job that was submitted.
_ID, _KEY, _ROUTE, _JOB = "framemill.request_id", "framemill.key", "framemill.route", "framemill.job"
_SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:=+/@-]{0,127}")
_READS = frozenset({"GET", "HEAD", "OPTIONS"})
#: Last parts of the rules of requests that only ask, although their method is POST.
_POLLS = ("/progress", "/task_status", "/stream_progress", "/worker_job_request", "/worker_job_progress")
#: Arguments of rules that are ids of jobs.
_JOB_ARGUMENTS = ("job_id", "task_id", "prediction_id", "video_id")

#: Ids of this process: a random part and a number.
_numbers, _prefix = itertools.count(1), secrets.token_hex(6)


def register(app: Flask) -> None:
    """Return the id of each request, and keep what its line says."""

    @app.after_request
    def _complete(response: Response) -> Response:
        current = request._get_current_object()  # type: ignore[attr-defined]  # each use of the proxy looks it up
        environ = current.environ
        response.headers.add(HEADER, _id_in(environ))
        environ[_ROUTE] = current.url_rule, current.view_args
        if caller := g.get("caller"):
            environ[_KEY] = caller.key_id
        return response


def request_id() -> str:
    """Return the id of the current request: that of the client or proxy if it is short and plain, else a new one."""
    return _id_in(request.environ)


def _id_in(environ: dict[str, Any]) -> str:
    known: str | None = environ.get(_ID)
    if known is None:
        given = environ.get("HTTP_X_REQUEST_ID")
        known = environ[_ID] = given if given and _SANE.fullmatch(given) else f"{_prefix}-{next(_numbers):x}"
    return known


def set_request_id(request_id: str) -> None:
    """Replace the id of the current request."""
    request.environ[_ID] = request_id


def note_job(job_id: str) -> None:
    """Name the job that the current request has submitted in its line; of several, the first."""
    request.environ.setdefault(_JOB, job_id)


class Logger(glogging.Logger):
    """gunicorn's log in the form of all other lines, and the log of requests in place of its access log."""

    #: Which requests are logged at INFO, see ``LOG_REQUESTS``; '' before the app is loaded.
    shown = ""
    #: Whether requests have spans.
    traces = False

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for log, target in ((self.error_log, cfg.errorlog), (self.access_log, cfg.accesslog)):
            if target == "-":
                log.handlers.clear()
                log.propagate = True

    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: timedelta) -> None:
        super().access(resp, req, environ, request_time)
        if not self.shown:
            return
        status = int(resp.status[:3]) if isinstance(resp.status, str) else int(resp.status or 0)
        level = logging.INFO if self._is_shown(status, environ) else logging.DEBUG
        is_logged = _lines.is_shown(level)
        if not is_logged and not (self.traces and level == logging.INFO):
            return
        fields = _fields(status, resp.sent, environ, request_time)
        if self.traces:
            request_trace.end(environ, fields if level == logging.INFO else None)
        if is_logged:
            _lines.log(level, fields)

    def _is_shown(self, status: int, environ: dict[str, Any]) -> bool:
        if self.shown != "changes":
            return self.shown == "all"
        if status >= 400 or _JOB in environ:
            return True
        return environ["REQUEST_METHOD"] not in _READS and not (_rule(environ) or "").endswith(_POLLS)


def _fields(status: int, sent: int, environ: dict[str, Any], duration: timedelta) -> dict[str, Any]:
    return {
        "method": environ["REQUEST_METHOD"], "route": _rule(environ), "status": status, "bytes": sent,
        "duration_ms": round(duration.total_seconds() * 1000, 1), "key": environ.get(_KEY),
        "request_id": environ.get(_ID), "job_id": environ.get(_JOB) or _job_argument(environ),
    }  # fmt: skip


def _rule(environ: dict[str, Any]) -> str | None:
    """Return the rule of the route; None if there is none."""
    rule, _ = environ.get(_ROUTE, (None, None))
    return rule.rule if rule else None


def _job_argument(environ: dict[str, Any]) -> str | None:
    _, values = environ.get(_ROUTE, (None, None))
    return next((values[name] for name in _JOB_ARGUMENTS if name in values), None) if values else None
