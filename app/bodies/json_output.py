"""Writes the JSON bodies of responses."""

from __future__ import annotations

from typing import Any

from flask import Response, json
from flask.json.provider import DefaultJSONProvider

from jobs import strict_json


def json_body(value: Any) -> bytes:
    """Return a value as the body of a response. It is the same as that of :func:`flask.jsonify`."""
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def json_response(body: bytes) -> Response:
    """Return a response with the body that :func:`json_body` made."""
    return Response(body, mimetype="application/json")


class FiniteJSONProvider(DefaultJSONProvider):
    """Writes JSON that every client can read, in the order of its members: numbers that are not finite become null."""

    sort_keys = False

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        try:
            return super().dumps(obj, allow_nan=False, **kwargs)
        except ValueError:
            return super().dumps(strict_json.finite(obj), allow_nan=False, **kwargs)
