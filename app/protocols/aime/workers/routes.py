"""The routes of workers over HTTP.

A worker exits, or repeats its call without a pause, after most responses that it does not expect. So each route
returns status 200 with a body that workers know, whatever happens, and delays its response to temporary errors.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from flask import Blueprint, Response, current_app, jsonify, request
from werkzeug.exceptions import HTTPException

from app import waiting
from app.errors import status_of
from app.extensions import objects
from app.protocols.aime.endpoints.served import endpoints
from app.protocols.aime.endpoints.spec import Endpoint
from app.protocols.aime.inputs.media import data_uri
from app.protocols.aime.workers import pulling, reports, sweeper
from app.protocols.aime.workers.access import NOT_AUTHORIZED, checked_by, name_in
from app.protocols.aime.workers.bodies import TooMuch, call_of, progress_of, results_of
from app.protocols.aime.workers.reports import endpoint_of, progress_reply, store_result, update_progress, warning
from jobs.errors import (
    ExecutionError,
    FramemillError,
    HostRefused,
    InvalidRequest,
    OriginRefused,
    Unauthorized,
    Unavailable,
)
from jobs.record import Job
from jobs.requests.custom import EndpointRequest

logger = logging.getLogger(__name__)
blueprint = Blueprint("aime_workers", __name__)

#: Delay of a response to a temporary error, seconds: the worker repeats its call at once.
ERROR_DELAY_S = 3.0
#: Delay of a response to an unknown job type, seconds: the worker gives up after four of them.
UNKNOWN_TYPE_DELAY_S = 1.0
#: Storing a result is retried this long, seconds; a worker waits longer for the response.
STORE_RETRY_S = 40.0


@blueprint.errorhandler(HostRefused)
@blueprint.errorhandler(OriginRefused)
@blueprint.errorhandler(InvalidRequest)
@blueprint.errorhandler(Unauthorized)
def _refuse(exc: FramemillError) -> tuple[Response, int]:
    """Render a refusal before the call is looked at with the names that workers of all versions read."""
    if request.path == "/worker_job_request":
        time.sleep(ERROR_DELAY_S)  # a worker that has the wrong name of this server, or key, repeats its call at once
    body = {"success": False, "cmd": "error", "msg": exc.message, "error_msg": exc.message}
    return jsonify(body), status_of(exc)


@blueprint.errorhandler(HTTPException)
def _refuse_request(exc: HTTPException) -> tuple[Response, int]:
    """Render the refusal of a request that is no HTTP, such as one whose body breaks off."""
    message = exc.description or exc.name
    return jsonify({"success": False, "cmd": "error", "msg": message, "error_msg": message}), exc.code or 500


@blueprint.post("/worker_check_server_status")
def check_server_status() -> Response:
    """Return whether the server knows the worker's job type and key."""
    fields = call_of(request)
    served = _served_endpoints(fields)
    try:
        is_authorized = bool(served) and checked_by(served, fields) is not None
    except Unavailable:
        is_authorized = True  # it is checked again with each job request
    status = {"logged_in": is_authorized, "job_type_present": bool(served), "key_valid": is_authorized}
    if not served:
        return jsonify({"cmd": "warning", "msg": _unknown_job_type(fields), **status})
    if not is_authorized:
        return jsonify({"cmd": "error", "msg": NOT_AUTHORIZED, **status})
    return jsonify({"cmd": "ok", **status})


@blueprint.post("/worker_login")
def login() -> Response:
    """Register a worker that has started."""
    body = call_of(request)
    fields = {**_dict(body.get("worker_parameters"))}
    fields |= {f"model_{key}": value for key, value in _dict(body.get("model_parameters")).items()}
    fields |= {"worker_version": fields.get("version"), "version": fields.get("interface_version")}
    served = _served_endpoints(fields)
    try:
        if not served:
            return jsonify({"success": False, "error_msg": _unknown_job_type(fields)})
        vouched_by = checked_by(served, fields)
        if vouched_by is None:
            return jsonify({"success": False, "error_msg": NOT_AUTHORIZED})
        pulling.log_in(pulling.introduced(name_in(fields), vouched_by, served[0], fields))
    except FramemillError as exc:
        return jsonify({"success": False, "error_msg": exc.message})
    timeout_s = round(served[0].request_timeout)
    return jsonify({"success": True, "request_timeout": timeout_s, **_version()})


@blueprint.post("/worker_job_request")
def job_request() -> Response:
    """Wait for jobs (long poll)."""
    fields = call_of(request)
    served = _served_endpoints(fields)
    if not served:
        time.sleep(UNKNOWN_TYPE_DELAY_S)
        return jsonify({"cmd": "warning", "msg": _unknown_job_type(fields), **_version()})
    started = time.monotonic()
    try:
        vouched_by = checked_by(served, fields)
        if vouched_by is None:
            return jsonify({"cmd": "error", "msg": NOT_AUTHORIZED, **_version()})
        worker = pulling.introduced(name_in(fields), vouched_by, served[0], fields)
        if "version" not in fields and not worker.is_known:
            return jsonify({"cmd": "error", "msg": f"worker {worker.name} needs to login first", **_version()})
        sweeper.start()
        batch, wait_s = pulling.batch_size_of(fields), _poll_s(served[0], fields)
        jobs = pulling.next_jobs(worker, batch, wait_s, waiting.hung_up())
        job_data = [data for job in jobs if (data := _job_data(job)) is not None]
    except Exception as exc:
        _log_error(exc, "a worker's job request failed")
        time.sleep(max(0.0, ERROR_DELAY_S - (time.monotonic() - started)))
        return jsonify({"cmd": "no_job", **_version()})
    if not job_data:
        return jsonify({"cmd": "no_job", **_version()})
    return jsonify(_offer(endpoint_of(jobs[0].protocol, served), job_data))


def _offer(endpoint: Endpoint, job_data: list[dict[str, Any]]) -> dict[str, Any]:
    descriptions = {
        "input_descriptions": {name: dict(spec.declaration) for name, spec in endpoint.inputs.items()},
        "progress_output_descriptions": {
            name: dict(spec.declaration) for name, spec in endpoint.progress_outputs.items()
        },
        "final_output_descriptions": {name: dict(spec.declaration) for name, spec in endpoint.outputs.items()},
    }
    # The names that older workers know.
    descriptions["progress_descriptions"] = descriptions["progress_output_descriptions"]
    descriptions["output_descriptions"] = descriptions["final_output_descriptions"]
    return {"cmd": "job", "endpoint_name": endpoint.name, **descriptions, "job_data": job_data, **_version()}


@blueprint.post("/worker_job_progress")
def job_progress() -> Response:
    """Store the progress of one or several jobs; the responses name those that were canceled."""
    try:
        items = progress_of(request)
    except TooMuch as exc:
        logger.warning("a worker's progress is too large", extra={"error": exc.message})
        return jsonify([{**progress_reply(), "success": False, **warning(exc.message)}])
    return jsonify([_update_progress_safely(fields) for fields in items])


@blueprint.post("/worker_job_result")
def job_result() -> tuple[Response, int]:
    """Store the result of one or several jobs.

    The response to a late, repeated, unknown or unreadable result is a warning, so that the worker does not send it
    again; it repeats only a result that could not be stored. A job whose result is too large fails.
    """
    try:
        with results_of(request) as results:
            return _store_results(results)
    except TooMuch as exc:
        logger.warning("a worker's result is too large", extra={"error": exc.message})
        return _store_results([exc.fields], f"the result of worker {exc.fields.get('auth', '')}: {exc.message}")
    except InvalidRequest as exc:
        logger.warning("a worker's result cannot be read", extra={"error": exc.message})
        return jsonify(warning(exc.message)), 200
    except Unavailable as exc:
        return _try_again(exc)


def _store_results(results: list[Any], problem: str = "") -> tuple[Response, int]:
    """Store results, or fail their jobs for this problem."""
    deadline = time.monotonic() + STORE_RETRY_S
    response: dict[str, Any] = {"cmd": "ok"}
    for fields in results:
        while True:
            try:
                response = store_result(fields, problem) if isinstance(fields, dict) else warning("not an object")
                break
            except Unavailable as exc:
                if time.monotonic() > deadline:
                    return _try_again(exc)
                time.sleep(1.0)
    return jsonify(response), 200


def _try_again(exc: Unavailable) -> tuple[Response, int]:
    return jsonify({"cmd": "error", "error_msg": exc.message, "msg": exc.message}), 503


def _update_progress_safely(fields: Any) -> dict[str, Any]:
    """Return a response even after an error: a worker whose progress call fails once sends no progress any more."""
    try:
        return update_progress(fields if isinstance(fields, dict) else {})
    except Exception as exc:
        _log_error(exc, "progress was not stored")
        return progress_reply()


def _job_data(job: Job) -> dict[str, Any] | None:
    """Return a job as its worker receives it; None if an input is missing, which fails the job."""
    assert isinstance(job.request, EndpointRequest)
    data = dict(job.request.params)
    try:
        for name, key in job.request.media.items():
            data[name] = data_uri(b"".join(objects().read(key)), objects().stat(key).media_type)
    except FramemillError as exc:
        message = f"the input could not be read: {exc.message}"
        reports.fail(job.job_id, job.attempt, job.slot or "", ExecutionError.code, message)
        return None
    times = {"start_time": job.created_at_ms / 1000, "start_time_compute": (job.started_at_ms or 0) / 1000}
    return {**data, "job_id": f"{job.job_id}#{job.attempt}", **times}


def _served_endpoints(fields: dict[str, Any]) -> list[Endpoint]:
    return endpoints().of_job_type(str(fields.get("job_type")))


def _poll_s(endpoint: Endpoint, fields: dict[str, Any]) -> float:
    requested = fields.get("request_timeout")
    timeout_s = endpoint.request_timeout
    if isinstance(requested, int | float) and 0 < requested < timeout_s:
        timeout_s = requested
    return pulling.POLL_SHARE * timeout_s


def _version() -> dict[str, str]:
    return {"api_server_version": current_app.config["API_VERSION"]}


def _log_error(exc: Exception, message: str) -> None:
    logger.warning(message, exc_info=not isinstance(exc, FramemillError), extra={"error": repr(exc)})


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _unknown_job_type(fields: dict[str, Any]) -> str:
    return f"No job queue for job_type: {str(fields.get('job_type'))[:80]}"
