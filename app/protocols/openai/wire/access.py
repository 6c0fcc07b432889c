"""Authenticate callers, and give all errors OpenAI's shape: ``{"error": {"message", "type", "param", "code"}}``.

The clients try again after 408, 409, 429 and 5xx. So a conflict is 400 here, and a job that has failed says that trying
again does not help.
"""

from __future__ import annotations

import logging
from typing import Any

from flask import Response, jsonify
from flask_smorest import Blueprint
from werkzeug.exceptions import HTTPException

from app.access import auth
from app.errors import HTTP_CODES, set_retry_after, status_of
from jobs import errors
from jobs.errors import FramemillError, InvalidRequest, Problem

logger = logging.getLogger(__name__)

_INVALID, _SERVER = "invalid_request_error", "server_error"
#: Error class → type and code where they differ from the usual ones.
_NAMES: dict[type[FramemillError], tuple[str, str]] = {
    errors.Unauthorized: (_INVALID, "invalid_api_key"),
    errors.ModelNotFound: (_INVALID, "model_not_found"),
    errors.ModerationRefused: ("image_generation_user_error", "moderation_blocked"),
    errors.QueueFull: ("requests", "rate_limit_exceeded"),
}
#: Beginning of a rule → code of the problem.
_CODES = {"is required": "missing_required_parameter", "is unknown": "unknown_parameter"}
#: Headers of an HTTP error that are kept.
_KEPT_HEADERS = ("allow", "retry-after", "content-range")


class OpenAIError(FramemillError):
    """An error of this protocol: a job without an output, or what no model here can do.

    Attributes:
        code: name of the error, such as that of the job.
        status: the HTTP status.
    """

    def __init__(self, code: str, message: str, status: int) -> None:
        super().__init__(message)
        self.code, self.status = code, status


def protect(blueprint: Blueprint) -> None:
    """Restrict a blueprint to known callers, and render its errors as OpenAI does."""
    auth.protect(blueprint)
    blueprint.register_error_handler(FramemillError, _framemill_error)
    blueprint.register_error_handler(HTTPException, _http_error)
    blueprint.register_error_handler(Exception, _internal_error)


def details(message: str, type_: str, code: str | None, param: str | None = None) -> dict[str, Any]:
    """Return the body of an error."""
    return {"error": {"message": message, "type": type_, "param": param, "code": code}}


def details_of(exc: FramemillError) -> dict[str, Any]:
    """Return the body of an error that is no server's bug."""
    if isinstance(exc, OpenAIError):
        return details(exc.message, _SERVER if exc.status >= 500 else _INVALID, exc.code)
    type_, code = next(
        (_NAMES[base] for base in type(exc).__mro__ if base in _NAMES),
        (_SERVER if status_of(exc) >= 500 else _INVALID, exc.code),
    )
    param = "model" if isinstance(exc, errors.ModelNotFound) else None
    if isinstance(exc, InvalidRequest) and exc.problems:
        param = exc.problems[0].field
        code = _code_of(exc.problems[0]) if type(exc) is InvalidRequest else code
    return details(exc.message, type_, code, param)


def _code_of(problem: Problem) -> str:
    return next((code for start, code in _CODES.items() if problem.rule.startswith(start)), "invalid_value")


def _framemill_error(exc: FramemillError) -> Response:
    status = exc.status if isinstance(exc, OpenAIError) else status_of(exc)
    if status == 500 and not isinstance(exc, OpenAIError):
        return _internal_error(exc)
    is_refusal = isinstance(exc, InvalidRequest | errors.Conflict) and not isinstance(exc, errors.TooLarge)
    response = jsonify(details_of(exc))
    response.status_code = 400 if is_refusal else status
    if isinstance(exc, errors.Unauthorized):
        response.headers["WWW-Authenticate"] = "Bearer"
    if isinstance(exc, OpenAIError):
        response.headers["X-Should-Retry"] = "false"
    set_retry_after(response, exc)
    return response


def _http_error(exc: HTTPException) -> Response:
    status = exc.code or 500
    code = HTTP_CODES.get(status, f"http_{status}")
    response = jsonify(details(exc.description or exc.name, _SERVER if status >= 500 else _INVALID, code))
    response.status_code = status
    for name, value in exc.get_headers():
        if name.lower() in _KEPT_HEADERS:
            response.headers[name] = value
    return response


def _internal_error(exc: Exception) -> Response:
    logger.error("request failed", exc_info=exc)
    response = jsonify(details("an internal error; the server's log has the details", _SERVER, "internal_error"))
    response.status_code = 500
    return response
