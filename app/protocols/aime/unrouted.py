"""What is no route among the paths of this protocol is refused as the original's framework does."""

from __future__ import annotations

from http import HTTPStatus

from flask import Response, jsonify, make_response, request

from app.access.unrouted import Owner
from app.protocols.aime.endpoints.own_paths import SHARED
from app.protocols.aime.endpoints.spec import Endpoints


def owner_of(served: Endpoints) -> Owner:
    """Return the owner of the paths of these endpoints, and of those that all endpoints share."""
    first_parts = {path.partition("/")[0] for path in SHARED} | {*served.by_name, *served.broken} - {""}

    def refuse(status: int, message: str) -> Response:
        if status == 404 and _first_part(request.path) in served.broken:
            message = "this endpoint is not served: its file has an error, which the log names"
        return refusal(status, message)

    return Owner(lambda path: _first_part(path) in first_parts, refuse)


def refusal(status: int, message: str) -> Response:
    """Return an error in the form of the original's framework."""
    body = {"description": HTTPStatus(status).phrase, "status": status, "message": message}
    return make_response(jsonify(body), status)


def _first_part(path: str) -> str:
    return path.lstrip("/").partition("/")[0]
