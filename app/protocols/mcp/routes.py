"""The one route of the protocol."""

from __future__ import annotations

from typing import Any

from flask import Response, request

from app import errors
from app.access import auth
from app.bodies.json_body import json_of
from app.bodies.json_output import json_body, json_response
from app.extensions import settings
from app.openapi.answers import EVENT_STREAM, EVENTS
from app.openapi.blueprint import OF_KEYS, OF_REDIS, Blueprint
from app.openapi.document import Api
from app.openapi.parameters import LAST_EVENT_ID
from app.protocols.mcp import cancelling, methods, tasks, tools, waits
from app.protocols.mcp.answers import McpAnswer, McpErrorAnswer, McpRequestSchema
from app.protocols.mcp.results import error_result
from app.protocols.mcp.schemas import MAX_WAIT_S
from app.protocols.mcp.waits import Wait
from app.protocols.mcp.wire import eras
from app.protocols.mcp.wire.eras import SESSION, Call, SessionGone
from app.protocols.mcp.wire.messages import (
    INTERNAL_ERROR,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    REFUSED,
    STATUS,
    Message,
    RpcError,
    error_message,
    message_of,
    result_message,
)
from app.protocols.mcp.wire.resuming import Place
from app.submit import forecast_of
from jobs.errors import FramemillError, MalformedBody, TooLarge, Unauthorized

PATH = "/mcp"
blueprint = Blueprint(
    "mcp", __name__, url_prefix=PATH, tag="Model Context Protocol", prefix="mcp_", error=McpErrorAnswer,
    common={**OF_KEYS, **OF_REDIS},
)  # fmt: skip
auth.protect(blueprint)

_EXAMPLE = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}


def _header(name: str, text: str) -> dict[str, Any]:
    return {"in": "header", "name": name, "description": text, "schema": {"type": "string"}}


_HEADERS = [
    _header("MCP-Protocol-Version", f"The revision of the protocol: {', '.join(eras.SUPPORTED)}."),
    _header(SESSION, "The session, as the response to `initialize` named it."),
    _header("Mcp-Method", f"Revision {eras.STATELESS}: the method of the body."),
    _header("Mcp-Name", f"Revision {eras.STATELESS}: the tool or task of the body."),
]


def register(api: Api) -> None:
    """Add the routes."""
    api.register_blueprint(blueprint)


@blueprint.route("", methods=["POST"])
@blueprint.doc(parameters=_HEADERS)
@blueprint.body(McpRequestSchema, _EXAMPLE)
@blueprint.response(200, McpAnswer, description="The response to a request.")
@blueprint.alt_response(200, schema=EVENTS, content_type=EVENT_STREAM, description="Progress, then the response.")
@blueprint.alt_response(202, description="A notification or a response was accepted.")
@blueprint.error(400, "The body is no JSON-RPC message, or headers and body differ.")
@blueprint.error(404, "The session or, in the newest revision, the method is unknown.")
def call() -> Response:
    """Send a message of the Model Context Protocol: call a tool, or ask which there are."""
    try:
        message = message_of(json_of(request, settings().web.body_limits))
    except TooLarge:
        raise
    except MalformedBody as exc:
        raise RpcError(PARSE_ERROR, exc.message) from exc
    try:
        current = eras.call_of(message)
    except SessionGone:
        return _error(message, RpcError(INVALID_REQUEST, "Session not found"), 404)
    except RpcError as exc:
        return _error(message, exc, STATUS.get(exc.code, 400))
    if message.request_id is None:
        if message.method == "notifications/cancelled":
            cancelling.cancel_request(current)
        return _accepted()
    try:
        return _response(current)
    except RpcError as exc:
        return _error(message, exc, current.status(exc))
    except FramemillError as exc:
        return _error(message, RpcError(INTERNAL_ERROR, exc.message, {"code": exc.code}), 200)


@blueprint.route("", methods=["GET"])
@blueprint.doc(
    parameters=[*_HEADERS[:2], {**LAST_EVENT_ID, "required": True, "schema": {"type": "string", "minLength": 1}}]
)
@blueprint.response(200, EVENTS, content_type=EVENT_STREAM, description="The rest of the stream.")
@blueprint.error(400, "`Last-Event-ID` is no id of an event of this server.")
@blueprint.error(404, "The job of the stream does not exist any more.")
@blueprint.error(405, "No stream was named: the server sends nothing without a request.")
def resume() -> Response:
    """Go on with the stream of a call whose connection was lost, by the `Last-Event-ID`."""
    last_id = request.headers.get("Last-Event-ID")
    if last_id is None:
        response = _error(Message(), RpcError(INVALID_REQUEST, "this server has no stream of its own; use POST"), 405)
        response.allow.update(("POST", "OPTIONS"))
        return response
    place = Place.read(last_id)
    job = auth.visible_job(place.job_id)
    wait = Wait(job, forecast_of(job), MAX_WAIT_S, makes_job=place.makes_job)
    return waits.stream(place.call(), wait, place.until)


@blueprint.errorhandler(RpcError)
def _rpc_error(exc: RpcError) -> Response:
    return _error(Message(), exc, STATUS.get(exc.code, 400))


@blueprint.errorhandler(FramemillError)
def _refusal(exc: FramemillError) -> Response:
    status = errors.status_of(exc)
    if status == 500:
        raise exc
    response = _error(Message(), RpcError(REFUSED, exc.message, {"code": exc.code}), status)
    if isinstance(exc, Unauthorized):
        response.headers["WWW-Authenticate"] = "Bearer"
    errors.set_retry_after(response, exc)
    return response


def _response(current: Call) -> Response:
    """Return the response to a request. Raises: RpcError, FramemillError."""
    message = current.message
    if message.method == "tools/call":
        return _tool_response(current)
    method = methods.named(current)
    if method is None:
        raise RpcError(METHOD_NOT_FOUND, f"Method not found: {message.method[:80]}")
    response = _result(current, method(current))
    if message.method == "initialize":
        response.headers[SESSION] = eras.new_session()
    return response


def _tool_response(current: Call) -> Response:
    try:
        outcome = tools.run(current)
        if isinstance(outcome, dict):
            return _result(current, outcome)
        if current.has_tasks and outcome.makes_job:
            return _result(current, tasks.created(outcome.job, outcome.forecast))
        return waits.respond(current, outcome)
    except FramemillError as exc:
        return _result(current, error_result(exc))


def _result(current: Call, result: dict[str, Any]) -> Response:
    return json_response(json_body(result_message(current.message.request_id, current.result(result))))


def _error(message: Message, exc: RpcError, status: int) -> Response:
    response = json_response(json_body(error_message(message.request_id, exc)))
    response.status_code = status
    return response


def _accepted() -> Response:
    response = Response(status=202)
    response.headers.remove("Content-Type")
    return response
