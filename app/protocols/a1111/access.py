"""Authenticate callers, and give all responses the original's shape of errors and ``X-Process-Time``."""

from __future__ import annotations

import base64
import logging
import time

from flask import Flask, Response, g, jsonify, request
from flask_smorest import Blueprint
from werkzeug.exceptions import HTTPException

from app.access import auth
from app.errors import set_retry_after, status_of
from jobs.callers import Caller
from jobs.errors import FramemillError, InvalidRequest, Problem, TooLarge, Unauthorized

logger = logging.getLogger(__name__)

#: Path prefix where all routes are served again, for clients that need the original's response at the root.
MOUNT = "/a1111"
#: Paths that are served there.
_MOUNTED = (f"{MOUNT}/sdapi/", f"{MOUNT}/internal/", f"{MOUNT}/controlnet/")


class A1111Error(FramemillError):
    """An error of this protocol.

    Attributes:
        status: the HTTP status.
        detail: the short text that clients compare.
    """

    def __init__(self, status: int, detail: str, more: str = "") -> None:
        super().__init__(more or detail)
        self.status, self.detail = status, detail


def mount(app: Flask) -> None:
    """Serve all routes below :data:`MOUNT` as well."""
    inner = app.wsgi_app

    def mounted(environ, start_response):
        path = environ.get("PATH_INFO", "")
        if path.startswith(_MOUNTED):
            environ[auth.CALLED_PATH] = path
            environ["PATH_INFO"] = path[len(MOUNT) :]
            environ["SCRIPT_NAME"] = environ.get("SCRIPT_NAME", "") + MOUNT
        return inner(environ, start_response)

    app.wsgi_app = mounted  # type: ignore[method-assign]


def protect(blueprint: Blueprint) -> None:
    """Restrict a blueprint to known callers, and render its errors as the original does."""

    @blueprint.before_request
    def _authenticate() -> None:
        g.started = time.perf_counter()
        g.caller = _authenticated_caller()
        auth.check_client(g.caller)
        auth.check_path(g.caller)

    @blueprint.after_request
    def _add_process_time(response: Response) -> Response:
        # A refused page has not come as far as the first check here.
        response.headers["X-Process-Time"] = f"{time.perf_counter() - g.get('started', time.perf_counter()):.4f}"
        return response

    blueprint.register_error_handler(FramemillError, _framemill_error)
    blueprint.register_error_handler(HTTPException, _http_error)
    blueprint.register_error_handler(Exception, _internal_error)


def _authenticated_caller() -> Caller:
    """Return the owner of the key. Raises: Unauthorized."""
    for secret in _secrets(request.headers.get("Authorization", "").strip()):
        try:
            return auth.identify(secret)
        except Unauthorized:
            continue
    return auth.identify(None)


def _secrets(header: str) -> list[str]:
    """Return the possible keys in the header: ``user:password`` (a service of ``SERVICES``) and the password alone."""
    scheme, _, rest = header.partition(" ")
    if scheme.lower() == "basic":
        try:
            pair = base64.b64decode(rest.strip(), validate=True).decode()
        except ValueError:  # not base64, not ASCII, or not UTF-8 inside
            return []
        return [text for text in (pair, pair.partition(":")[2]) if text]
    return [text for text in (rest.strip() if scheme.lower() == "bearer" else header,) if text]


def error_response(name: str, status: int, detail: str, text: str) -> Response:
    """Return an error in the shape of AUTOMATIC1111."""
    response = jsonify({"error": name, "detail": detail, "body": "", "errors": text})
    response.status_code = status
    return response


def _framemill_error(exc: FramemillError) -> Response:
    if isinstance(exc, InvalidRequest) and not isinstance(exc, TooLarge):
        return _validation_error(exc.problems)
    if isinstance(exc, A1111Error):
        name = "HTTPException" if exc.status < 500 else "RuntimeError"
        return error_response(name, exc.status, exc.detail, exc.message)
    status = status_of(exc)
    if status == 500:
        return _internal_error(exc)
    if isinstance(exc, Unauthorized):
        response = error_response("HTTPException", 401, "Incorrect username or password", "")
        response.headers["WWW-Authenticate"] = "Basic"
        return response
    response = error_response("HTTPException", status, exc.message, exc.message)
    set_retry_after(response, exc)
    return response


def _validation_error(problems: tuple[Problem, ...]) -> Response:
    details = [{"loc": ["body", p.field], "msg": p.rule, "type": "value_error"} for p in problems]
    response = jsonify({"detail": details})
    response.status_code = 422
    return response


def _http_error(exc: HTTPException) -> Response:
    return error_response("HTTPException", exc.code or 500, exc.name, exc.description or exc.name)


def _internal_error(exc: Exception) -> Response:
    logger.error("request failed", exc_info=exc)
    return error_response(type(exc).__name__, 500, "", "an internal error; the server's log has the details")
