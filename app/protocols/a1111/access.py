"""Who calls, and what is the same for every answer: the shape of errors and ``X-Process-Time``."""

from __future__ import annotations

import base64
import binascii
import logging
import time

from flask import Flask, Response, g, jsonify, request
from flask_smorest import Blueprint
from werkzeug.exceptions import HTTPException

from app import auth
from app.errors import set_retry_after, status_of
from jobs.callers import Caller, Role
from jobs.errors import Forbidden, FramemillError, InvalidRequest, Problem, Unauthorized

logger = logging.getLogger(__name__)

#: The same routes again, for clients whose root must answer as the original's: see :func:`mount`.
MOUNT = "/a1111"
#: What is found there, too.
_MOUNTED = (f"{MOUNT}/sdapi/", f"{MOUNT}/internal/")


class Failed(FramemillError):
    """An error of this protocol, with its status and the short text clients know it by."""

    def __init__(self, status: int, detail: str, more: str = "") -> None:
        super().__init__(more or detail)
        self.status, self.detail = status, detail


def mount(app: Flask) -> None:
    """Serve everything below :data:`MOUNT` as well."""
    inner = app.wsgi_app

    def mounted(environ, start_response):
        path = environ.get("PATH_INFO", "")
        if path.startswith(_MOUNTED):
            environ["PATH_INFO"] = path[len(MOUNT) :]
            environ["SCRIPT_NAME"] = environ.get("SCRIPT_NAME", "") + MOUNT
        return inner(environ, start_response)

    app.wsgi_app = mounted  # type: ignore[method-assign]


def protect(blueprint: Blueprint) -> None:
    """Let only known callers use a blueprint's routes, and have its answers look as the original's."""

    @blueprint.before_request
    def _authenticate() -> None:
        g.began = time.perf_counter()
        g.caller = _identified()
        if g.caller.role is Role.WORKER:
            raise Forbidden("a worker's key cannot use the client API")
        if g.caller.endpoints and not request.path.startswith(g.caller.endpoints):
            raise Forbidden("this key may not use this endpoint")

    @blueprint.after_request
    def _time(response: Response) -> Response:
        response.headers["X-Process-Time"] = f"{time.perf_counter() - g.began:.4f}"
        return response

    blueprint.register_error_handler(FramemillError, _failed)
    blueprint.register_error_handler(HTTPException, _refused)
    blueprint.register_error_handler(Exception, _bug)


def _identified() -> Caller:
    """Whose key was sent. Raises: Unauthorized."""
    for secret in _secrets(request.headers.get("Authorization", "").strip()):
        try:
            return auth.identify(secret)
        except Unauthorized:
            continue
    return auth.identify(None)


def _secrets(header: str) -> list[str]:
    """What of the header may be a key: all of ``user:password`` (a service of ``SERVICES``), or the password alone."""
    scheme, _, rest = header.partition(" ")
    if scheme.lower() == "basic":
        try:
            pair = base64.b64decode(rest.strip(), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return []
        return [text for text in (pair, pair.partition(":")[2]) if text]
    return [text for text in (rest.strip() if scheme.lower() == "bearer" else header,) if text]


def shaped(name: str, status: int, detail: str, text: str) -> Response:
    """An error as AUTOMATIC1111 answers it."""
    response = jsonify({"error": name, "detail": detail, "body": "", "errors": text})
    response.status_code = status
    return response


def _failed(exc: FramemillError) -> Response:
    if isinstance(exc, InvalidRequest):
        return _invalid(exc.problems)
    if isinstance(exc, Failed):
        return shaped("HTTPException" if exc.status < 500 else "RuntimeError", exc.status, exc.detail, exc.message)
    status = status_of(exc)
    if status == 500:
        return _bug(exc)
    if isinstance(exc, Unauthorized):
        response = shaped("HTTPException", 401, "Incorrect username or password", "")
        response.headers["WWW-Authenticate"] = "Basic"
        return response
    response = shaped("HTTPException", status, exc.message, exc.message)
    set_retry_after(response, exc)
    return response


def _invalid(problems: tuple[Problem, ...]) -> Response:
    found = [{"loc": ["body", p.field], "msg": p.rule, "type": "value_error"} for p in problems]
    response = jsonify({"detail": found})
    response.status_code = 422
    return response


def _refused(exc: HTTPException) -> Response:
    return shaped("HTTPException", exc.code or 500, exc.name, exc.description or exc.name)


def _bug(exc: Exception) -> Response:
    logger.error("request failed", exc_info=exc)
    return shaped(type(exc).__name__, 500, "", "an internal error; the server's log has the details")
