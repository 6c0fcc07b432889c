"""Compares the responses of an app with its OpenAPI document, field by field."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

import jsonschema_rs
from flask import Flask, Response, request

from app import extensions
from app.access.unrouted import owner_of_request
from app.openapi.document import Api
from app.protocols.aime.endpoints.served import ENDPOINTS

#: Routes that are not part of the API: pages and their parts, sockets, and the document itself.
PAGES = re.compile(
    r"/(docs|openapi\.json|ws|console)\b.*|/a1111/|/<endpoint:name>/demo|/<aime_page:address>|/api/demo/<name>"
)
#: Mismatches of all apps.
_misfits: list[str] = []
#: Document of an app, by its endpoints: other settings do not change it.
_documents: dict[str, Document] = {}


def watch(app: Flask) -> None:
    """Compare every response of an app; :func:`take_misfits` returns the mismatches."""

    @app.after_request
    def compare(response: Response) -> Response:
        _misfits.extend(document_of(app).misfits(response))
        return response


def take_misfits() -> list[str]:
    """Return the mismatches since the last call."""
    found = list(_misfits)
    _misfits.clear()
    return found


def document_of(app: Flask) -> Document:
    """Return the document of an app."""
    name = repr(extensions.of(app).adapters[ENDPOINTS])
    if name not in _documents:
        api: Api = app.extensions["flask-smorest"]["apis"][""]["ext_obj"]
        _documents[name] = Document(json.loads(json.dumps(api.document())))
    return _documents[name]


def path_of(rule: str, names: dict[str, Any]) -> str:
    """Return the path of a route in the document; ``names``: the arguments of the view."""
    return re.sub(r"<(?:[^:<>]+:)?([^<>]+)>", r"{\1}", rule.replace("<endpoint:name>", str(names.get("name"))))


class Document:
    """An OpenAPI document."""

    def __init__(self, body: dict[str, Any]) -> None:
        self.body = body

    def misfits(self, response: Response) -> list[str]:
        """Return the mismatches in the response to the current request."""
        rule = request.url_rule
        if request.method in ("OPTIONS", "HEAD") or (rule and PAGES.fullmatch(rule.rule)) or owner_of_request():
            return []
        call = f"{request.method} {request.path} → {response.status_code}"
        if response.status_code == 408:  # nobody reads it: the client has closed its connection
            return []
        if response.status_code == 405:  # belongs to the path, not to an operation
            return [] if response.allow else [f"{call}: without Allow"]
        if rule is None:
            content = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorAnswer"}}}
        else:
            path = path_of(rule.rule, request.view_args or {})
            operation = self.body["paths"].get(path, {}).get(request.method.lower())
            if operation is None:
                return [f"{call}: the operation is not documented"]
            described = operation["responses"].get(str(response.status_code))
            if described is None:
                return [f"{call}: the status is not documented: {_short(response)}"]
            content = described.get("content")
        return [f"{call}: {misfit}" for misfit in self._body_misfits(response, content)]

    def _body_misfits(self, response: Response, content: dict[str, Any] | None) -> list[str]:
        if content is None:
            has_body = response.status_code != 304 and response.get_data()
            return ["a body is not documented"] if has_body else []
        media_type = response.mimetype or ""
        wildcard = media_type.partition("/")[0] + "/*"
        described = content.get(media_type) or content.get(wildcard)
        if described is None:
            return [f"the media type {media_type} is not documented"]
        if media_type != "application/json" or response.direct_passthrough or response.is_streamed:
            return []
        errors = self._validator(json.dumps(described["schema"])).iter_errors(response.get_json())
        return [f"{'/'.join(map(str, error.instance_path))}: {error.message[:500]}" for error in errors]

    @cache  # noqa: B019  (documents live as long as the tests)
    def _validator(self, schema: str) -> Any:
        return jsonschema_rs.Draft202012Validator({**json.loads(schema), "components": self.body["components"]})


def _short(response: Response) -> str:
    return "a stream" if response.is_streamed or response.direct_passthrough else response.get_data(as_text=True)[:300]
