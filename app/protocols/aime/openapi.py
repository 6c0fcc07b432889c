"""The endpoints in the server's OpenAPI description."""

from __future__ import annotations

from typing import Any

from flask_smorest import Api
from werkzeug.routing import Rule as Route

from app.protocols.aime.endpoints.spec import IMPLICIT, MEDIA, Endpoint, Endpoints, Input, Output

_TYPES: dict[str, dict[str, Any]] = {
    "string": {"type": "string"}, "text_context": {"type": "string"}, "integer": {"type": "integer"},
    "float": {"type": "number"}, "bool": {"type": "boolean"}, "json": {}, "chat_context": {}, "selection": {},
    "image_list": {"type": "array", "items": {"type": "string", "description": "data URI"}},
    **{kind: {"type": "string", "description": "data URI"} for kind in MEDIA},
}  # fmt: skip
_IDS = {"job_id": "string", "key": "string", "client_session_auth_key": "string"}


def describe(api: Api, endpoints: Endpoints) -> None:
    """Add every endpoint, and what all of them share."""
    for endpoint in endpoints.by_name.values():
        _describe(api, endpoint)


def _describe(api: Api, endpoint: Endpoint) -> None:
    tags = [endpoint.title]
    api.spec.tag({"name": endpoint.title, "description": endpoint.description})
    inputs = {name: _input(one) for name, one in endpoint.inputs.items()}
    inputs |= {name: dict(_TYPES[kind]) for name, kind in IMPLICIT.items()}
    required = [name for name, one in endpoint.inputs.items() if one.required and one.default is None]
    schema: dict[str, Any] = {"type": "object", "properties": inputs, "additionalProperties": False}
    if required:
        schema["required"] = required
    outputs = {name: _output(one) for name, one in endpoint.outputs.items()}
    result = {"type": "object", "properties": {"success": {"type": "boolean"}, "job_id": {"type": "string"}, **outputs}}
    submit = {
        "tags": tags,
        "summary": "Submit a job; the answer is its result, unless wait_for_result is false",
        "requestBody": {"content": {"application/json": {"schema": schema}}},
        "responses": {
            "200": {"description": "The result, or the job's id.", "content": {"application/json": {"schema": result}}},
            "400": {"description": "Wrong inputs, each named; or the queue is full; or the job had no result."},
            "401": {"description": "No key, or an unknown one."},
            "402": {"description": "The key is for other endpoints, or its limit is reached."},
        },
    }
    poll = _with_query("Where a job is; its result when it is done", tags, {name: _IDS[name] for name in _IDS})
    login = _with_query("Begin a session", tags, {"key": "string", "user": "string"})
    path = f"/{endpoint.name}"
    api.spec.path(rule=Route(path), operations={"post": submit})
    api.spec.path(rule=Route(f"{path}/progress"), operations={"get": poll})
    api.spec.path(rule=Route(f"{path}/login"), operations={"get": login})
    cancel = _with_query("Stop a job", tags, {name: _IDS[name] for name in _IDS})
    api.spec.path(rule=Route(f"{path}/cancel"), operations={"post": cancel})


def _with_query(summary: str, tags: list[str], names: dict[str, str]) -> dict[str, Any]:
    parameters = [{"in": "query", "name": name, "schema": {"type": kind}} for name, kind in names.items()]
    return {"tags": tags, "summary": summary, "parameters": parameters, "responses": {"200": {"description": "JSON."}}}


def _input(spec: Input) -> dict[str, Any]:
    schema = dict(_TYPES[spec.type])
    for key, value in (
        ("default", spec.default), ("maxLength", spec.max_length), ("minimum", spec.rule.low),
        ("maximum", spec.rule.high), ("multipleOf", spec.rule.align), ("enum", list(spec.rule.supported) or None),
    ):  # fmt: skip
        if value is not None:
            schema[key] = value
    return schema


def _output(spec: Output) -> dict[str, Any]:
    return dict(_TYPES[spec.type])
