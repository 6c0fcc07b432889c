"""Describe the endpoints in the OpenAPI document of the server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from werkzeug.routing import Rule as Route

from app.openapi.answers import EVENT_STREAM, EVENTS
from app.openapi.blueprint import OF_PAGES
from app.openapi.document import NEEDS_KEY, Api
from app.protocols.aime import answers
from app.protocols.aime.endpoints.spec import IMPLICIT, MEDIA, Endpoint, Endpoints, Input, Rule

#: Heading of the operations that do not belong to one endpoint.
TAG = "AIME API server"
_JSON, _FORM = "application/json", "application/x-www-form-urlencoded"
_TYPES: dict[str, dict[str, Any]] = {
    "string": {"type": "string"}, "text_context": {"type": "string"}, "integer": {"type": "number"},
    "float": {"type": "number"}, "bool": {"type": "boolean"}, "json": {}, "chat_context": {}, "selection": {},
    "image_list": {"type": "array", "items": {"type": "string", "description": "data URI"}},
    **{kind: {"type": "string", "description": "data URI"} for kind in MEDIA},
}  # fmt: skip
_WAIT = {
    "description": "false: the response is the job's id, not its result.",
    "anyOf": [
        {"type": ["boolean", "null"]},
        {"type": "string", "pattern": "^([Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee])$"},
    ],
}
_IDS = ("job_id", "key", "client_session_auth_key")
_KEYS: list[dict[str, list[str]]] = [{"aimeKey": []}, {"aimeSession": []}, {"bearer": []}]
_UNAVAILABLE = "Redis or the object store does not respond; `Retry-After` says when to try again."


def content(schema: Any, media_type: str = _JSON) -> dict[str, Any]:
    """Return the description of a body."""
    return {media_type: {"schema": schema}}


def response(text: str, schema: Any, media_type: str = _JSON) -> dict[str, Any]:
    """Return the description of a response."""
    return {"description": text, "content": content(schema, media_type)}


def refusals(schema: Any) -> dict[str, Any]:
    """Return the descriptions of what is refused to browsers."""
    return {str(status): response(text, schema) for status, text in OF_PAGES.items()}


def describe_endpoints(api: Api, endpoints: Endpoints) -> None:
    """Add the paths of every endpoint, and those that all endpoints share."""
    for endpoint in endpoints.by_name.values():
        _Description(api, endpoint).add()
    for path, operation in _shared_operations().items():
        _add(api, path, TAG, {"get": operation, "post": operation})


def _add(api: Api, path: str, tag: str, operations: Mapping[str, Mapping[str, Any]]) -> None:
    """Add the operations of a path, with ids made of the path and the methods."""
    name = "_".join(part for part in path.split("/") if part)
    described = {
        method: {
            "tags": [tag],
            "operationId": f"aime_{name}_{method}",
            "security": [],
            **operation,
            "responses": {**refusals(answers.AimeErrorAnswer), **operation["responses"]},
        }
        for method, operation in operations.items()
    }
    api.spec.path(rule=Route(path), operations=described)


class _Description:
    """The description of one endpoint."""

    def __init__(self, api: Api, endpoint: Endpoint) -> None:
        self._api, self._endpoint, self._tag = api, endpoint, f"AIME: {endpoint.title}"

    def add(self) -> None:
        """Add its paths to the document."""
        name = self._endpoint.name
        self._add("", self._submit)
        self._add("/progress", self._progress)
        self._add("/cancel", self._cancel)
        for path in ("login", "client_login"):
            operation = {
                "summary": "Open a session",
                "parameters": _parameters(("key", "user")),
                "responses": {"200": response("The session; `success` tells the outcome.", answers.AimeSessionAnswer)},
            }
            _add(self._api, f"/{name}/{path}", self._tag, {"get": operation, "post": operation})
        described = {
            "summary": "Describe the endpoint with its parameters and workers",
            "responses": {
                "200": response("The endpoint.", answers.AimeEndpointAnswer),
                "503": response("Redis does not respond.", answers.AimeTextErrorAnswer),
            },
        }
        for path in (f"/api/endpoints/{name}", f"/api/{name}"):
            _add(self._api, path, self._tag, {"get": described, "post": described})

    def _add(self, path: str, make_operation: Any) -> None:
        methods = [method.lower() for method in self._endpoint.methods]
        operations = {method: self._with_errors(make_operation(method)) for method in methods}
        _add(self._api, f"/{self._endpoint.name}{path}", self._tag, operations)

    def _with_errors(self, operation: dict[str, Any]) -> dict[str, Any]:
        """Add what all operations with keys have in common."""
        error = answers.AimeErrorAnswer
        ended = {"oneOf": [answers.AimeEndedAnswer, error]}
        own_keys = {NEEDS_KEY: True} if self._endpoint.client_keys else {}
        errors = {
            "400": response("Invalid inputs, each named; or the queue is full; or the job has no result.", ended),
            "401": response("The key is missing or unknown.", error),
            "402": response("The job is unknown, the key is for other endpoints, or its limit is reached.", error),
            "413": response("The body is too large.", error),
            "503": response(_UNAVAILABLE, error),
        }
        return {**operation, "security": _KEYS, **own_keys, "responses": {**operation["responses"], **errors}}

    def _submit(self, method: str) -> dict[str, Any]:
        inputs = {name: _input(spec) for name, spec in self._endpoint.inputs.items()}
        as_text = {name: _input(spec, as_text=True) for name, spec in self._endpoint.inputs.items()}
        credentials = {name: {"type": ["string", "null"]} for name, kind in IMPLICIT.items() if kind == "string"}
        required = [name for name, spec in self._endpoint.inputs.items() if spec.required]
        implicit = {**credentials, "wait_for_result": _WAIT}
        if method == "get":
            described: dict[str, Any] = {
                "parameters": [
                    {"in": "query", "name": name, "schema": schema, "required": name in required}
                    for name, schema in {**as_text, **_as_text(implicit)}.items()
                ]
            }
        else:
            body = {"type": "object", "properties": {**inputs, **implicit}, "additionalProperties": False}
            form = {"type": "object", "properties": {**as_text, **_as_text(implicit)}, "additionalProperties": False}
            if required:
                body["required"] = form["required"] = required
            example = {name: _example(spec) for name, spec in self._endpoint.inputs.items() if name in required}
            example["wait_for_result"] = False
            accepted = {**content(body), **content(form, _FORM)}
            accepted = {name: {**one, "example": example} for name, one in accepted.items()}
            described = {"requestBody": {"content": accepted}}
        either = {"oneOf": [self._result(), answers.AimeAcceptedAnswer]}
        return {
            "summary": "Submit a job; the response is its result, unless wait_for_result is false",
            **described,
            "responses": {
                "200": response("The result, or the job's id.", either),
                "408": response("Never read: the client has closed its connection.", answers.AimeErrorAnswer),
            },
        }

    def _progress(self, method: str) -> dict[str, Any]:
        done = {
            "type": "object",
            "properties": {
                "success": {"const": True},
                "job_id": {"type": "string"},
                "ep_version": {"type": ["integer", "null"]},
                "job_state": {"const": "done"},
                "job_result": self._result(),
            },
            "required": ["success", "job_id", "ep_version", "job_state", "job_result"],
            "additionalProperties": False,
        }
        progress = {"oneOf": [answers.AimeProgressAnswer, done]}
        return {
            "summary": "Return the progress of a job, and its result when done",
            **_named_job(method),
            "responses": {"200": response("The progress, or the result.", progress)},
        }

    def _cancel(self, method: str) -> dict[str, Any]:
        return {
            "summary": "Cancel a job",
            **_named_job(method),
            "responses": {"200": response("The job.", answers.AimeCancelledAnswer)},
        }

    def _result(self) -> dict[str, Any]:
        """Return the schema of a result: what its worker or the server's model returns can be of any type."""
        outputs: dict[str, Any] = {name: {} for name in self._endpoint.outputs}
        times = ("start_time", "start_time_compute", "result_received_time", "compute_duration", "total_duration")
        measured = ("arrival_time", "finished_time", "pending_duration", "preprocessing_duration")
        return {
            "type": "object",
            "properties": {
                **{name: {"type": "number"} for name in (*times, *measured)},
                "auth": {},
                "worker_interface_version": {},
                **outputs,
                "success": {"const": True},
                "job_id": {"type": "string"},
                "ep_version": {"type": ["integer", "null"]},
            },
            "required": ["success", "job_id", "ep_version", *times],
            "additionalProperties": False,
        }


def _shared_operations() -> dict[str, dict[str, Any]]:
    """Return the operations of paths without the name of an endpoint."""
    text_error = answers.AimeTextErrorAnswer
    return {
        "/api/validate_key": {
            "summary": "Return whether a key is valid",
            "parameters": _parameters(("key",)),
            "responses": {"200": response("`success` tells the outcome.", answers.AimeKeyAnswer)},
        },
        "/api/endpoints": {
            "summary": "List the names of all endpoints, or of those that a key may use",
            "parameters": _parameters(("key",)),
            "responses": {
                "200": response("The names.", answers.AimeEndpointsAnswer),
                "401": response("The key is unknown.", text_error),
                "503": response("Redis does not respond.", text_error),
            },
        },
        "/stream_progress": {
            "summary": "Stream the progress of a job as server-sent events until it has finished",
            "parameters": _parameters(_IDS),
            "responses": {"200": response("Events; the last one may be an error.", EVENTS, EVENT_STREAM)},
        },
    }


def _named_job(method: str) -> dict[str, Any]:
    """Describe how a request names a job: in the query, or in a body."""
    if method == "get":
        return {"parameters": _parameters(_IDS)}
    body = {"type": "object", "properties": {name: {"type": ["string", "null"]} for name in _IDS}}
    form = {"type": "object", "properties": {name: {"type": "string"} for name in _IDS}}
    return {"requestBody": {"content": {**content(body), **content(form, _FORM)}}}


def _parameters(names: tuple[str, ...]) -> list[dict[str, Any]]:
    return [{"in": "query", "name": name, "schema": {"type": "string"}} for name in names]


def _as_text(schemas: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schemas of implicit inputs in a query or a form."""
    return {name: {"type": "boolean"} if name == "wait_for_result" else {"type": "string"} for name in schemas}


def _input(spec: Input, *, as_text: bool = False) -> dict[str, Any]:
    """Return the schema of an input, in JSON or in a query or form."""
    schema = dict(_TYPES[spec.type])
    rules: tuple[tuple[str, Any], ...] = (
        ("maxLength", spec.max_length), *(_whole_rules if spec.type == "integer" else _number_rules)(spec.rule),
        ("enum", list(spec.rule.supported) or None),
    )  # fmt: skip
    if spec.rule.convert:  # other values are accepted and converted
        schema = {"description": ", ".join(f"{key} {value}" for key, value in rules if value is not None)}
    else:
        schema |= {key: value for key, value in rules if value is not None}
    if spec.default is not None:
        schema["default"] = spec.default
    if not as_text and not spec.required:
        schema = _or_null(schema)
    return schema


def _number_rules(rule: Rule) -> list[tuple[str, Any]]:
    return [("minimum", rule.low), ("maximum", rule.high), ("multipleOf", rule.align)]


def _whole_rules(rule: Rule) -> list[tuple[str, Any]]:
    """Return the rules of a whole number. Fractions are cut off before they are checked, as the original does."""
    rules: list[tuple[str, Any]] = [("description", "Fractions are cut off.")]
    if rule.low is not None:
        rules.append(("minimum", rule.low) if rule.low > 0 else ("exclusiveMinimum", rule.low - 1))
    if rule.high is not None:
        rules.append(("maximum", rule.high) if rule.high < 0 else ("exclusiveMaximum", rule.high + 1))
    return rules


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a value that can also be null, which counts as not sent."""
    if "type" in schema:
        schema["type"] = [schema["type"], "null"]
    if "enum" in schema:
        schema["enum"] = [*schema["enum"], None]
    return schema


def _example(spec: Input) -> Any:
    """Return a value that an input accepts."""
    if spec.rule.supported:
        return spec.rule.supported[0]
    examples: dict[str, Any] = {"integer": 1, "float": 1.0, "bool": True, "json": {}, "chat_context": []}
    value = examples.get(spec.type, "a red circle"[: spec.max_length])
    return spec.rule.low if spec.type in ("integer", "float") and spec.rule.low is not None else value
