"""Errors in this protocol's shape: the problem details of RFC 7807."""

from __future__ import annotations

import logging
from http import HTTPStatus

from flask import Response, jsonify
from flask_smorest import Blueprint
from werkzeug.exceptions import HTTPException

from app.errors import set_retry_after, status_of
from jobs.errors import FramemillError, InvalidRequest, Unauthorized

logger = logging.getLogger(__name__)


def register(blueprint: Blueprint) -> None:
    """Render the errors of a blueprint."""
    blueprint.register_error_handler(FramemillError, _framemill_error)
    blueprint.register_error_handler(HTTPException, _http_error)
    blueprint.register_error_handler(Exception, _internal_error)


def _render(status: int, detail: str, title: str = "", **more: object) -> Response:
    response = jsonify({"title": title or HTTPStatus(status).phrase, "detail": detail, "status": status, **more})
    response.status_code = status
    return response


def _framemill_error(exc: FramemillError) -> Response:
    status = status_of(exc)
    if status == 500:
        return _internal_error(exc)
    if isinstance(exc, Unauthorized):
        response = _render(status, exc.message, "Unauthenticated")
        response.headers["WWW-Authenticate"] = "Bearer"
        return response
    if isinstance(exc, InvalidRequest) and status == 422:
        fields = [{"field": one.field, "description": one.rule, "type": "invalid"} for one in exc.problems]
        detail = "".join(f"- {one.message}\n" for one in exc.problems)
        return _render(status, detail, "Input validation failed", invalid_fields=fields)
    response = _render(status, exc.message)
    set_retry_after(response, exc)
    return response


def _http_error(exc: HTTPException) -> Response:
    return _render(exc.code or 500, exc.description or exc.name)


def _internal_error(exc: Exception) -> Response:
    logger.error("request failed", exc_info=exc)
    return _render(500, "an internal error; the server's log has the details")
