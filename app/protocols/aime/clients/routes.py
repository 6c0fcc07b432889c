"""The routes of clients: submitting, polling, logging in, and what endpoints there are."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

from flask import Blueprint, Response, jsonify, make_response, request

from app import waiting
from app.extensions import dispatcher, objects, store
from app.protocols.aime.clients import requests, streams, views
from app.protocols.aime.clients.access import (
    BAD_KEY,
    Refused,
    caller_of,
    check_endpoint,
    client_of,
    count_request,
    uncount_request,
)
from app.protocols.aime.clients.access import login as begin_session
from app.protocols.aime.clients.states import STATES, why
from app.protocols.aime.endpoints.served import allow_origins, endpoints
from app.protocols.aime.endpoints.spec import Endpoint
from app.protocols.aime.inputs.checking import BadInputs
from app.protocols.aime.workers import sweeper
from app.protocols.aime.workers.results import final_result
from app.submit import accept
from jobs.errors import Forbidden, FramemillError, InvalidRequest, NotFound, QueueFull, ServiceBusy, Unavailable
from jobs.record import Job
from jobs.states import JobState
from jobs.store import queries
from jobs.store.client_state import SESSION_TTL_S

logger = logging.getLogger(__name__)
blueprint = Blueprint("aime", __name__)
blueprint.after_request(allow_origins)

#: A client that waits for its result and hung up is noticed so soon, seconds.
GONE_CHECK_S = 5.0
_UNKNOWN_JOB = "unknown job_id"

View = Callable[..., Response]


def answering(view: Callable[..., Any]) -> View:
    """Give a view its endpoint, and every error the protocol's shape."""

    @wraps(view)
    def answer(name: str) -> Response:
        endpoint = endpoints().by_name[name]
        if request.method not in endpoint.methods:
            body = {
                "description": "Method Not Allowed",
                "status": 405,
                "message": f"use {' or '.join(endpoint.methods)}",
            }
            response = make_response(jsonify(body), 405)
            response.headers["Allow"] = ", ".join(endpoint.methods)
            return response
        try:
            return make_response(view(endpoint))
        except Exception as exc:
            error, status = _explained(endpoint, exc)
            response = make_response(
                jsonify({"success": False, "error": error, "ep_version": endpoint.version}), status
            )
            if status == 503:
                response.headers["Retry-After"] = "2"
            return response

    return answer


def _explained(endpoint: Endpoint, exc: Exception) -> tuple[list[str] | str, int]:
    """What is wrong, as the protocol says it: a list, but one text when the endpoint takes no job at all."""
    if isinstance(exc, Refused):
        return [exc.message], exc.status
    if isinstance(exc, BadInputs):
        return exc.problems, 400
    if isinstance(exc, InvalidRequest):
        own = {field: name for name, field in endpoint.own.fields.items()} if endpoint.own else {}
        return [f"{own.get(one.field, one.field)}: {one.rule}" for one in exc.problems], 400
    if isinstance(exc, QueueFull | ServiceBusy):
        return exc.message, 400
    if isinstance(exc, Forbidden | NotFound):
        return [exc.message], 402
    if isinstance(exc, Unavailable):
        return [exc.message], 503
    logger.error("request failed", exc_info=exc)
    return ["an internal error; the server's log has the details"], 500


def _sent() -> tuple[dict[str, Any], bool]:
    """The fields of a request, and whether all of them are texts. Raises: BadInputs."""
    if request.method == "GET" or request.mimetype == "application/x-www-form-urlencoded":
        return {**request.args.to_dict(), **request.form.to_dict()}, True
    try:
        body = json.loads(request.get_data(cache=True) or b"{}")
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise BadInputs(["the body must be a JSON object"])
    return body, False


@blueprint.route("/<endpoint:name>", methods=["GET", "POST"])
@answering
def submit(endpoint: Endpoint) -> Any:
    """Submit a job; the answer is its result, unless ``wait_for_result`` is false."""
    sweeper.start()
    sent, as_text = _sent()
    client = client_of(endpoints(), endpoint, sent, request.remote_addr or "")
    wait = sent.get("wait_for_result")
    if wait is not None and not isinstance(wait, bool):
        if str(wait).lower() not in ("true", "false"):
            raise BadInputs(["wait_for_result: must be true or false"])
        wait = str(wait).lower() == "true"
    prepared = requests.prepare(endpoint, sent, client, as_text=as_text)
    count_request(endpoint, client)
    try:
        if wait is False:
            job = accept(prepared).job
            answer = {"success": True, "job_id": job.job_id, "ep_version": endpoint.version}
            return _with_cookie(jsonify(answer), endpoint, job)
        with waiting.listening(prepared.job_id) as listener:
            job = accept(prepared).job
            gone = waiting.hung_up()
            while not job.state.is_terminal and not gone():
                job = waiting.wait_until_over(job, GONE_CHECK_S, listener)
    except FramemillError:
        uncount_request(endpoint, client)
        raise
    if job.state is JobState.SUCCEEDED:
        return _with_cookie(jsonify(final_result(endpoint, job, objects())), endpoint, job)
    body, status = views.ended(endpoint, job, why(job), word=STATES[job.state])
    return jsonify(body), status


@blueprint.route("/<endpoint:name>/progress", methods=["GET", "POST"])
@answering
def progress(endpoint: Endpoint) -> Any:
    """Where a job is; its result when it is done, as often as it is asked for."""
    sweeper.start()
    job = job_of(endpoint, _sent()[0])
    body, status = views.progress(endpoint, job)
    return _with_cookie(make_response(jsonify(body), status), endpoint, job)


@blueprint.route("/<endpoint:name>/cancel", methods=["GET", "POST"])
@answering
def cancel(endpoint: Endpoint) -> Any:
    """Stop a job. Polls of it are answered with 400 from then on."""
    job = job_of(endpoint, {**request.args.to_dict(), **_sent()[0]})
    job, changed = dispatcher().cancel(job.job_id)
    return jsonify({"success": changed, "job_id": job.job_id, "job_state": STATES[job.state]})


def job_of(endpoint: Endpoint | None, sent: dict[str, Any]) -> Job:
    """The job that a caller names, if it is one of the endpoint's and of its own.

    Raises:
        Refused: 402 for an unknown job, 401 for an unknown caller.
    """
    job = queries.find(store(), str(sent.get("job_id") or ""))
    if job is None or not job.protocol.startswith("aime/"):
        raise Refused(_UNKNOWN_JOB if sent.get("job_id") else "job_id is missing", 402)
    own = endpoints().by_name.get(job.protocol.partition("/")[2])
    if own is None or endpoint not in (None, own):
        raise Refused(_UNKNOWN_JOB, 402)
    client = client_of(endpoints(), own, sent, request.remote_addr or "")
    past = job.finished_at_ms and time.time() - job.finished_at_ms / 1000 > own.result_lifetime
    if past or not client.caller.owns(job.key_id):
        raise Refused(_UNKNOWN_JOB, 402)
    return job


@blueprint.route("/<endpoint:name>/login", methods=["GET", "POST"])
@blueprint.route("/<endpoint:name>/client_login", methods=["GET", "POST"])
def login(name: str) -> Response:
    """Begin a session. Always 200; ``success`` tells."""
    endpoint = endpoints().by_name[name]
    key = request.args.get("key")
    try:
        session = begin_session(endpoints(), endpoint, key)
    except FramemillError as exc:
        return jsonify({"success": False, "error": exc.message})
    answer = {"success": True, "ep_version": endpoint.version, "client_session_auth_key": session}
    return jsonify({**answer, "key": key, "user": request.args.get("user")})


@blueprint.route("/api/validate_key", methods=["GET", "POST"])
def validate_key() -> Response:
    """Whether a key is known."""
    try:
        caller_of(endpoints(), request.args.get("key") or "")
    except Unavailable as exc:
        return jsonify({"success": False, "error": exc.message})
    except FramemillError:
        return jsonify({"success": False, "error": BAD_KEY})
    return jsonify({"success": True, "error": None})


@blueprint.route("/api/endpoints", methods=["GET", "POST"])
def list_endpoints() -> tuple[Response, int]:
    """Names of all endpoints, or of those that a key may use."""
    key = request.args.get("key")
    if not key:
        return jsonify({"endpoints": list(endpoints().by_name)}), 200
    names = []
    try:
        caller = caller_of(endpoints(), key)
        for name, endpoint in endpoints().by_name.items():
            try:
                check_endpoint(endpoints(), endpoint, caller, key)
            except Refused:
                continue
            names.append(name)
    except FramemillError as exc:
        return jsonify({"error": exc.message}), getattr(exc, "status", 503)
    return jsonify({"endpoints": names}), 200


@blueprint.route("/api/endpoints/<endpoint:name>", methods=["GET", "POST"])
@blueprint.route("/api/<endpoint:name>", methods=["GET", "POST"])
def describe(name: str) -> tuple[Response, int]:
    """An endpoint with its parameters and workers."""
    try:
        return jsonify(views.endpoint_view(endpoints().by_name[name])), 200
    except Unavailable as exc:
        return jsonify({"error": exc.message}), 503


@blueprint.route("/stream_progress", methods=["GET", "POST"])
def stream_progress() -> Response:
    """Server-sent events of a job until it is over."""
    try:
        job = job_of(None, request.args.to_dict())
    except FramemillError as exc:
        return streams.refused(exc.message)
    return streams.stream(endpoints().by_name[job.protocol.partition("/")[2]], job)


def _with_cookie(response: Response, endpoint: Endpoint, job: Job) -> Response:
    cookie = requests.keep_session(endpoint, job)
    if cookie:
        response.set_cookie(requests.COOKIE, cookie, max_age=SESSION_TTL_S, httponly=True, samesite="Lax")
    return response
