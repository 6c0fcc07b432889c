"""What the routes of clients and workers have in common."""

from __future__ import annotations

import json
from typing import Any

from flask import Response, request

from app import extensions
from app.protocols.aime.endpoints.spec import Endpoints

#: Name of the endpoints among the adapters of the app.
ENDPOINTS = "aime.endpoints"


def endpoints() -> Endpoints:
    """The endpoints of this app."""
    served: Endpoints = extensions.current().adapters[ENDPOINTS]
    return served


def json_body(*, several: bool = False) -> Any:
    """The object in a request's body; an empty one for none, or for what is no JSON. ``several``: or a list."""
    try:
        body = json.loads(request.get_data(cache=True) or b"{}")
    except (ValueError, RecursionError):
        body = {}
    return body if isinstance(body, dict) or (several and isinstance(body, list)) else {}


def allow_origins(response: Response) -> Response:
    """Let pages of other sites call, as the browser asks for it."""
    response.headers["Access-Control-Allow-Origin"] = "*"
    if request.method == "OPTIONS":
        response.status_code = 204
        response.set_data(b"")
        asked = request.headers.get("Access-Control-Request-Headers")
        response.headers["Access-Control-Allow-Headers"] = asked or "Authorization, Content-Type"
        response.headers["Access-Control-Allow-Methods"] = "GET, POST, OPTIONS"
        response.headers["Access-Control-Max-Age"] = "86400"
        response.headers.remove("Content-Type")
    return response
