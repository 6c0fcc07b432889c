"""``GET /openapi.json``: the OpenAPI document of this server, written at the first request for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import flask_smorest
from flask import Blueprint, Flask, Response, json, request

from app.access import auth
from app.fields import Flag, Number, TextSchema, Whole
from jobs.errors import Unavailable

PATH = "/openapi.json"
#: Extension of an operation that needs a key also on a server without keys.
NEEDS_KEY = "x-needs-key"

#: Field → its types in JSON besides text.
_TEXT_TYPES: dict[type[Any], tuple[str, ...]] = {
    Whole: ("integer",), Number: ("number",), Flag: ("boolean", "integer")
}  # fmt: skip
_DESCRIPTION = (
    "Framemill generates images and video. Its own operations are marked as Framemill's; the others are those of the "
    "servers whose clients it serves, with their errors. A server without keys needs none from its own machine."
)
_SECURITY_SCHEMES: dict[str, dict[str, Any]] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key: `Authorization: Bearer <key>`."},
    "signedLink": {
        "type": "apiKey",
        "in": "query",
        "name": "signature",
        "description": "A link from a response, as it is: valid for a time, without a key.",
    },
    "basic": {
        "type": "http",
        "scheme": "basic",
        "description": "AUTOMATIC1111: a service and its key, or any name and an API key.",
    },
    "aimeKey": {"type": "apiKey", "in": "query", "name": "key", "description": "AIME: a key, also in the body."},
    "aimeSession": {
        "type": "apiKey",
        "in": "query",
        "name": "client_session_auth_key",
        "description": "AIME: the key of a session, which a login has returned; also in the body.",
    },
}


class Api(flask_smorest.Api):
    """Registers blueprints, and describes their operations when the document is requested first."""

    #: Each operation names its errors.
    DEFAULT_ERROR_RESPONSE_NAME = None

    def __init__(self, app: Flask, version: str) -> None:
        self._descriptions: list[Callable[[], None]] = []
        self._body: dict[str, Any] | None = None
        self._lock = threading.Lock()
        app.config.update(API_TITLE="Framemill", API_VERSION=version, OPENAPI_VERSION="3.1.0")
        super().__init__(app, spec_kwargs={"info": {"description": _DESCRIPTION}})
        self.ma_plugin.converter.add_attribute_function(_text_types)

    def describe(self, description: Callable[[], None]) -> None:
        """Call a function, which adds to the document, before it is written."""
        self._descriptions.append(description)

    def document(self) -> dict[str, Any]:
        """Return the document."""
        with self._lock:
            if self._body is None:
                self._body = self._written()
            return self._body

    def _written(self) -> dict[str, Any]:
        for name, scheme in _SECURITY_SCHEMES.items():
            self.spec.components.security_scheme(name, scheme)
        for description in self._descriptions:
            description()
        body: dict[str, Any] = _with_plain_choices(self.spec.to_dict())
        operations = [operation for item in body["paths"].values() for operation in _operations(item).values()]
        # The tags of the operations, in place of the names of blueprints.
        tags = dict.fromkeys(tag for operation in operations for tag in operation["tags"])
        return {**body, "tags": [{"name": tag} for tag in tags]}


def _text_types(converter: Any, field: Any, ret: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    """Return the types of a number or flag that may also be a text."""
    types = next((types for kind, types in _TEXT_TYPES.items() if isinstance(field, kind)), None)
    if types is None or not isinstance(getattr(field, "root", None), TextSchema):
        return {}
    return {"type": [*types, "string", *(["null"] if field.allow_none else [])]}


def _with_plain_choices(part: Any) -> Any:
    """Return a part of the document in which null stands beside the choices of a field.

    Generators of clients make one type of ``anyOf: [choices, null]``, but several of choices that include null.
    """
    if isinstance(part, list):
        return [_with_plain_choices(item) for item in part]
    if not isinstance(part, dict):
        return part
    choices = part.get("enum")
    if isinstance(choices, list) and None in choices:
        choice = {"enum": [value for value in choices if value is not None]}
        names = [name for name in part.get("type", ()) if name != "null"]
        choice |= {"type": names[0] if len(names) == 1 else names} if names else {}
        rest = {name: value for name, value in part.items() if name not in ("enum", "type")}
        return {**rest, "anyOf": [choice, {"type": "null"}]}
    return {name: _with_plain_choices(value) for name, value in part.items()}


def register_document(app: Flask, api: Api) -> None:
    """Serve the document."""
    blueprint = Blueprint("openapi", __name__)

    @blueprint.get(PATH)
    def document() -> Response:
        """Return the document as it is now: a server without keys needs none."""
        body = {**api.document(), "servers": [{"url": request.script_root or "/"}]}
        if _is_open():
            body["paths"] = {path: _without_keys(item) for path, item in body["paths"].items()}
        return Response(json.dumps(body, sort_keys=False), mimetype="application/json")

    app.register_blueprint(blueprint)


def _is_open() -> bool:
    try:
        return auth.is_open()
    except Unavailable:
        return False


def _operations(item: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {method: operation for method, operation in item.items() if method != "parameters"}


def _without_keys(item: dict[str, Any]) -> dict[str, Any]:
    """Return a path whose operations also work without a key."""
    free = {
        method: {**operation, "security": [*operation["security"], {}]}
        for method, operation in _operations(item).items()
        if operation["security"] and NEEDS_KEY not in operation
    }
    return {**item, **free}
