"""Describe the endpoints in the OpenAPI document of the server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask_smorest import Api
from werkzeug.routing import Rule as Route

from app.protocols.aime.endpoints.spec import IMPLICIT, MEDIA, Endpoint, Endpoints, Input

_TYPES: dict[str, dict[str, Any]] = {
    "string": {"type": "string"}, "text_context": {"type": "string"}, "integer": {"type": "integer"},
    "float": {"type": "number"}, "bool": {"type": "boolean"}, "json": {}, "chat_context": {}, "selection": {},
    "image_list": {"type": "array", "items": {"type": "string", "description": "data URI"}},
    **{kind: {"type": "string", "description": "data URI"} for kind in MEDIA},
}  # fmt: skip
_IDS = {"job_id": "string", "key": "string", "client_session_auth_key": "string"}


def describe_endpoints(api: Api, endpoints: Endpoints) -> None:
    """Add the paths of every endpoint."""
    for endpoint in endpoints.by_name.values():
        _describe(api, endpoint)


def _describe(api: Api, endpoint: Endpoint) -> None:
    tags = [endpoint.title]
    api.spec.tag({"name": endpoint.title, "description": endpoint.description})
    operations = {
        "": {"post": _submit_operation(endpoint, tags)},
        "/progress": {"get": _query_operation("Return the progress of a job, and its result when done", tags, _IDS)},
        "/login": {"get": _query_operation("Open a session", tags, {"key": "string", "user": "string"})},
        "/cancel": {"post": _query_operation("Cancel a job", tags, _IDS)},
    }
    for path, operation in operations.items():
        api.spec.path(rule=Route(f"/{endpoint.name}{path}"), operations=operation)


def _submit_operation(endpoint: Endpoint, tags: list[str]) -> dict[str, Any]:
    inputs = {name: _input(spec) for name, spec in endpoint.inputs.items()}
    inputs |= {name: dict(_TYPES[kind]) for name, kind in IMPLICIT.items()}
    required = [name for name, spec in endpoint.inputs.items() if spec.required and spec.default is None]
    schema: dict[str, Any] = {"type": "object", "properties": inputs, "additionalProperties": False}
    if required:
        schema["required"] = required
    outputs = {name: dict(_TYPES[spec.type]) for name, spec in endpoint.outputs.items()}
    result = {"type": "object", "properties": {"success": {"type": "boolean"}, "job_id": {"type": "string"}, **outputs}}
    return {
        "tags": tags,
        "summary": "Submit a job; the response is its result, unless wait_for_result is false",
        "requestBody": {"content": {"application/json": {"schema": schema}}},
        "responses": {
            "200": {"description": "The result, or the job's id.", "content": {"application/json": {"schema": result}}},
            "400": {"description": "Invalid inputs, each named; or the queue is full; or the job has no result."},
            "401": {"description": "The key is missing or unknown."},
            "402": {"description": "The key is for other endpoints, or its limit is reached."},
        },
    }


def _query_operation(summary: str, tags: list[str], names: Mapping[str, str]) -> dict[str, Any]:
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
