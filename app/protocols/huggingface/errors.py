"""Errors in this protocol's shape: ``{"error": text, "error_type": code}``."""

from __future__ import annotations

import logging

from flask import Response, jsonify
from flask_smorest import Blueprint
from werkzeug.exceptions import HTTPException

from app.errors import HTTP_CODES, set_retry_after, status_of
from jobs.errors import Forbidden, FramemillError, Unauthorized

logger = logging.getLogger(__name__)

#: What a client is told about the time until a slot runs the model, seconds. Nobody knows when a worker is started.
ESTIMATED_S = 20.0


class ModelLoading(FramemillError):
    """No slot can run the model now."""

    code = "model_loading"
    retryable = True


class GenerationEnded(FramemillError):
    """The job of a request has ended without an output."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


def register(blueprint: Blueprint) -> None:
    """Render the errors of a blueprint."""
    blueprint.register_error_handler(FramemillError, _framemill_error)
    blueprint.register_error_handler(HTTPException, _http_error)
    blueprint.register_error_handler(Exception, _internal_error)


def _render(status: int, code: str, message: str, **more: object) -> Response:
    response = jsonify({"error": message, "error_type": code, **more})
    response.status_code = status
    return response


def _framemill_error(exc: FramemillError) -> Response:
    if isinstance(exc, ModelLoading):
        response = _render(503, exc.code, exc.message, estimated_time=ESTIMATED_S)
        response.headers["Retry-After"] = str(int(ESTIMATED_S))
        return response
    status = exc.status if isinstance(exc, GenerationEnded) else status_of(exc)
    if status == 500 and not isinstance(exc, GenerationEnded):
        return _internal_error(exc)
    response = _render(status, exc.code, exc.message)
    if isinstance(exc, Unauthorized):
        response.headers["WWW-Authenticate"] = "Bearer"
    if isinstance(exc, Forbidden):  # the Python client reads the reason here
        response.headers["X-Error-Message"] = exc.message.encode("ascii", "replace").decode()
    set_retry_after(response, exc)
    return response


def _http_error(exc: HTTPException) -> Response:
    status = exc.code or 500
    return _render(status, HTTP_CODES.get(status, f"http_{status}"), exc.description or exc.name)


def _internal_error(exc: Exception) -> Response:
    logger.error("request failed", exc_info=exc)
    return _render(500, "internal_error", "an internal error; the server's log has the details")
