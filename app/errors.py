"""Renders every error as JSON: ``{"detail": text, "error": {"code", "message", "fields"}}``, unknown routes included.

``detail`` repeats the message, because clients of other servers' protocols read it there.
"""

from __future__ import annotations

import logging
from typing import Any

from flask import Flask, Response, jsonify
from werkzeug.exceptions import HTTPException

from app.access import unrouted
from app.server import request_log
from jobs import errors

logger = logging.getLogger(__name__)

#: The HTTP status of each error class, or of its nearest base class in this table.
STATUS: dict[type[errors.FramemillError], int] = {
    errors.FramemillError: 500,
    errors.InvalidRequest: 422,
    errors.MalformedBody: 400,
    errors.TooLarge: 413,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.HostRefused: 421,
    errors.NotFound: 404,
    errors.ResultExpired: 410,
    errors.Conflict: 409,
    errors.QueueFull: 429,
    errors.Unavailable: 503,
}

#: Codes of the errors that Flask raises, by HTTP status.
HTTP_CODES = {
    400: "bad_request", 404: "unknown_route", 405: "method_not_allowed", 408: "request_timeout",
    413: "too_large", 415: "unsupported_media_type", 416: "range_not_satisfiable", 426: "upgrade_required",
}  # fmt: skip

#: ``Retry-After`` of 503, seconds.
UNAVAILABLE_RETRY_AFTER_S = 2


def render(code: str, message: str, status: int, problems: tuple[errors.Problem, ...] = ()) -> Response:
    """Return the response to an error."""
    body: dict[str, Any] = {"code": code, "message": message, "fields": [problem.to_dict() for problem in problems]}
    response = jsonify({"detail": message, "error": body})
    response.status_code = status
    return response


def register(app: Flask) -> None:
    """Handle every exception of a request."""
    app.register_error_handler(errors.FramemillError, _framemill_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _bug)


def _framemill_error(exc: errors.FramemillError) -> Response:
    status = status_of(exc)
    if status == 500:
        return _bug(exc)
    if owner := unrouted.owner_of_request():
        return owner.refuse(status, exc.message)
    response = render(exc.code, exc.message, status, getattr(exc, "problems", ()))
    if isinstance(exc, errors.Unauthorized):
        response.headers["WWW-Authenticate"] = "Bearer"
    set_retry_after(response, exc)
    return response


def status_of(exc: errors.FramemillError) -> int:
    """Return the HTTP status of an error."""
    return next(STATUS[base] for base in type(exc).__mro__ if base in STATUS)


def set_retry_after(response: Response, exc: errors.FramemillError) -> None:
    """Set ``Retry-After`` if the error is temporary."""
    if isinstance(exc, errors.QueueFull):
        response.headers["Retry-After"] = str(exc.retry_after_s)
    if isinstance(exc, errors.Unavailable):
        response.headers["Retry-After"] = str(UNAVAILABLE_RETRY_AFTER_S)


def _http_error(exc: HTTPException) -> Response:
    status = exc.code or 500
    message, owner = exc.description or exc.name, unrouted.owner_of_request()
    response = (
        owner.refuse(status, message) if owner else render(HTTP_CODES.get(status, f"http_{status}"), message, status)
    )
    for name, value in exc.get_headers():
        if name.lower() in ("allow", "retry-after", "content-range", "sec-websocket-version"):
            response.headers[name] = value
    return response


def _bug(exc: Exception) -> Response:
    logger.error("request failed", exc_info=exc, extra={"request_id": request_log.request_id()})
    return render("internal_error", "an internal error; the server's log has the details", 500)
