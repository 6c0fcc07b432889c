"""The routes of clients: submit and poll jobs, log in, describe endpoints."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

from flask import Blueprint, Response, jsonify, make_response, request
from werkzeug.exceptions import HTTPException

from app import methods
from app.bodies.json_output import json_response
from app.errors import status_of
from app.extensions import current_jobs, dispatcher, objects
from app.fields import query_of
from app.protocols.aime.clients import blocking, requests, streams, views
from app.protocols.aime.clients.access import (
    BAD_KEY,
    AccessDenied,
    authenticate,
    caller_of_key,
    check_endpoint,
    counted_request,
    open_session,
)
from app.protocols.aime.clients.blocking import with_cookie
from app.protocols.aime.clients.fields import request_fields
from app.protocols.aime.clients.states import STATES
from app.protocols.aime.clients.stored_files import JsonBody
from app.protocols.aime.endpoints.served import endpoints
from app.protocols.aime.endpoints.spec import Endpoint
from app.protocols.aime.inputs.checking import BadInputs
from app.protocols.aime.workers import sweeper
from app.submit import accept
from jobs.errors import (
    Forbidden,
    FramemillError,
    HostRefused,
    InvalidRequest,
    JobNotFound,
    NotFound,
    OriginRefused,
    QueueFull,
    ServiceBusy,
    TooLarge,
    Unavailable,
)
from jobs.record import Job

logger = logging.getLogger(__name__)
blueprint = Blueprint("aime", __name__)

#: Longest progress of a worker with which the response to a poll is kept for the next polls, characters.
MAX_KEPT_CHARS = 16 * 1024
_UNKNOWN_JOB = "unknown job_id"

View = Callable[..., Response]


@blueprint.errorhandler(HostRefused)
@blueprint.errorhandler(OriginRefused)
def _refuse_page(exc: FramemillError) -> tuple[Response, int]:
    """Render the refusal of a browser's page, which comes before any view."""
    return jsonify({"success": False, "error": [exc.message]}), status_of(exc)


def endpoint_view(view: Callable[..., Any]) -> View:
    """Pass the endpoint to a view, and render every error as the protocol does."""

    @methods.changes_state
    @wraps(view)
    def respond(name: str) -> Response:
        endpoint = endpoints().by_name[name]
        if request.method == "OPTIONS":
            return methods.allowed_response([*endpoint.methods, "OPTIONS"])
        if request.method not in endpoint.methods:
            return _method_not_allowed(endpoint)
        try:
            return make_response(view(endpoint))
        except Exception as exc:
            error, status = _error_of(endpoint, exc)
            body = {"success": False, "error": error, "ep_version": endpoint.version}
            response = make_response(jsonify(body), status)
            if status == 503:
                response.headers["Retry-After"] = "2"
            return response

    return respond


def _method_not_allowed(endpoint: Endpoint) -> Response:
    message = f"use {' or '.join(endpoint.methods)}"
    body = {"description": "Method Not Allowed", "status": 405, "message": message}
    response = make_response(jsonify(body), 405)
    response.headers["Allow"] = ", ".join([*endpoint.methods, "OPTIONS"])
    return response


def _error_of(endpoint: Endpoint, exc: Exception) -> tuple[list[str] | str, int]:
    """Return the error and HTTP status: a list of texts, but one text when the endpoint accepts no job at all."""
    if isinstance(exc, AccessDenied):
        return [exc.message], exc.status
    if isinstance(exc, BadInputs):
        return exc.problems, 400
    if isinstance(exc, HTTPException):  # the client hung up in the middle of its body
        return [exc.description or exc.name], exc.code or 500
    if isinstance(exc, InvalidRequest):
        fields = endpoint.local_model.fields if endpoint.local_model else {}
        input_names = {field: name for name, field in fields.items()}
        problems = [f"{input_names.get(problem.field, problem.field)}: {problem.rule}" for problem in exc.problems]
        return problems, 413 if isinstance(exc, TooLarge) else 400
    if isinstance(exc, QueueFull | ServiceBusy):
        return exc.message, 400
    if isinstance(exc, Forbidden | NotFound):
        return [exc.message], 402
    if isinstance(exc, Unavailable):
        return [exc.message], 503
    logger.error("request failed", exc_info=exc)
    return ["an internal error; the server's log has the details"], 500


@blueprint.route("/<endpoint:name>", methods=["GET", "POST", "OPTIONS"])
@endpoint_view
def submit(endpoint: Endpoint) -> Any:
    """Submit a job; the response is its result, unless ``wait_for_result`` is false."""
    sweeper.start()
    digest = hashlib.sha256()
    fields, as_text = request_fields(endpoint, digest)
    client = authenticate(endpoints(), endpoint, fields, request.remote_addr or "")
    if _wait_for_result(fields):
        return blocking.respond(endpoint, fields, client, digest, as_text=as_text)
    prepared = requests.prepare(endpoint, fields, client, as_text=as_text)
    with counted_request(endpoint, client):
        job = accept(prepared).job
    body = {"success": True, "job_id": job.job_id, "ep_version": endpoint.version}
    return with_cookie(jsonify(body), endpoint, job)


def _wait_for_result(fields: dict[str, Any]) -> bool:
    value = fields.get("wait_for_result")
    if value is None or isinstance(value, bool):
        return value is not False
    if str(value).lower() not in ("true", "false"):
        raise BadInputs(["wait_for_result: must be true or false"])
    return str(value).lower() == "true"


@blueprint.route("/<endpoint:name>/progress", methods=["GET", "POST", "OPTIONS"])
@endpoint_view
def progress(endpoint: Endpoint) -> Any:
    """Return the progress of a job, and its result once it has finished."""
    sweeper.start()
    job, reported = _visible_job(endpoint, request_fields(endpoint)[0])
    if views.is_reported(job) and len(reported) <= MAX_KEPT_CHARS:
        make = lambda: _json_of(views.progress(endpoint, job, reported))  # noqa: E731
        return with_cookie(json_response(current_jobs().body(job, ("aime", reported), make)), endpoint, job)
    body, status = views.progress(endpoint, job, reported)
    return with_cookie(JsonBody(body, objects()).response(status), endpoint, job)


def _json_of(view: views.View) -> bytes:
    return b"".join(JsonBody(view[0], objects()).parts())


@blueprint.route("/<endpoint:name>/cancel", methods=["GET", "POST", "OPTIONS"])
@endpoint_view
def cancel(endpoint: Endpoint) -> Any:
    """Cancel a job. Polls of it then receive status 400."""
    job = visible_job(endpoint, {**query_of(request), **request_fields(endpoint)[0]})
    job, changed = dispatcher().cancel(job.job_id)
    return jsonify({"success": changed, "job_id": job.job_id, "job_state": STATES[job.state]})


def visible_job(endpoint: Endpoint | None, fields: dict[str, Any]) -> Job:
    """Return the job that a request names, if it belongs to the endpoint (None: any) and to the caller.

    Raises:
        AccessDenied: 402 for an unknown job, 401 for an unknown caller.
    """
    return _visible_job(endpoint, fields)[0]


def _visible_job(endpoint: Endpoint | None, fields: dict[str, Any]) -> tuple[Job, str]:
    """As :func:`visible_job`, and what the worker of the job reported last (JSON; '' for nothing)."""
    job_id = str(fields.get("job_id") or "")
    if not job_id:
        raise AccessDenied("job_id is missing", 402)
    try:
        job, reported = current_jobs().get_with_progress(job_id)
    except JobNotFound:
        raise AccessDenied(_UNKNOWN_JOB, 402) from None
    job_endpoint = endpoints().of_protocol(job.protocol)
    if job_endpoint is None or endpoint not in (None, job_endpoint):
        raise AccessDenied(_UNKNOWN_JOB, 402)
    client = authenticate(endpoints(), job_endpoint, fields, request.remote_addr or "")
    age_s = time.time() - job.finished_at_ms / 1000 if job.finished_at_ms else 0.0
    if age_s > job_endpoint.result_lifetime or not client.caller.owns(job.key_id):
        raise AccessDenied(_UNKNOWN_JOB, 402)
    return job, reported


@blueprint.route("/<endpoint:name>/login", methods=["GET", "POST"])
@blueprint.route("/<endpoint:name>/client_login", methods=["GET", "POST"])
def login(name: str) -> Response:
    """Open a session. The status is always 200; ``success`` tells the outcome."""
    endpoint = endpoints().by_name[name]
    key = request.args.get("key")
    try:
        session = open_session(endpoints(), endpoint, key)
    except FramemillError as exc:
        return jsonify({"success": False, "error": exc.message})
    body = {"success": True, "ep_version": endpoint.version, "client_session_auth_key": session}
    return jsonify({**body, "key": key, "user": request.args.get("user")})


@blueprint.route("/api/validate_key", methods=["GET", "POST"])
def validate_key() -> Response:
    """Return whether a key is valid."""
    try:
        caller_of_key(endpoints(), request.args.get("key") or "")
    except Unavailable as exc:
        return jsonify({"success": False, "error": exc.message})
    except FramemillError:
        return jsonify({"success": False, "error": BAD_KEY})
    return jsonify({"success": True, "error": None})


@blueprint.route("/api/endpoints", methods=["GET", "POST"])
def list_endpoints() -> tuple[Response, int]:
    """List the names of all endpoints, or of those that a key may use."""
    key = request.args.get("key")
    if not key:
        return jsonify({"endpoints": list(endpoints().by_name)}), 200
    names = []
    try:
        caller = caller_of_key(endpoints(), key)
        for name, endpoint in endpoints().by_name.items():
            try:
                check_endpoint(endpoints(), endpoint, caller, key)
            except AccessDenied:
                continue
            names.append(name)
    except FramemillError as exc:
        return jsonify({"error": exc.message}), getattr(exc, "status", 503)
    return jsonify({"endpoints": names}), 200


@blueprint.route("/api/endpoints/<endpoint:name>", methods=["GET", "POST"])
@blueprint.route("/api/<endpoint:name>", methods=["GET", "POST"])
def describe(name: str) -> tuple[Response, int]:
    """Describe an endpoint with its parameters and workers."""
    try:
        return jsonify(views.describe_endpoint(endpoints().by_name[name])), 200
    except Unavailable as exc:
        return jsonify({"error": exc.message}), 503


@blueprint.route("/stream_progress", methods=["GET", "POST"])
def stream_progress() -> Response:
    """Stream the progress of a job as server-sent events until it has finished."""
    try:
        job = visible_job(None, query_of(request))
    except FramemillError as exc:
        return streams.error_stream(exc.message)
    endpoint = endpoints().of_protocol(job.protocol)
    assert endpoint is not None
    return streams.stream(endpoint, job)
