"""The routes of workers over HTTP. A worker ends, or calls without a pause, at most answers it does not expect: each
route answers 200 with a body it knows, whatever happened, and trouble that may pass is answered late."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, current_app, jsonify

from app import auth, waiting
from app.extensions import dispatcher, objects, store
from app.protocols.aime.endpoints.served import endpoints, json_body
from app.protocols.aime.endpoints.spec import Endpoint
from app.protocols.aime.inputs.checking import data_uri
from app.protocols.aime.workers import pulling, sweeper
from app.protocols.aime.workers.results import store_outputs
from jobs.callers import Role
from jobs.errors import ExecutionError, FramemillError, JobNotFound, RunTimeout, Unavailable
from jobs.record import Job
from jobs.requests.custom import EndpointRequest
from jobs.states import JobState
from jobs.store.api_keys import KeyRing

logger = logging.getLogger(__name__)
blueprint = Blueprint("aime_workers", __name__)

#: Trouble that may pass is answered after this, seconds: a worker asks again at once.
TROUBLE_PAUSE_S = 3.0
#: A worker that names an unknown type of job gives up after four such answers.
UNKNOWN_PAUSE_S = 1.0
#: A result is kept on trying to be stored for so long, seconds: less than a worker waits for the answer.
STORE_PATIENCE_S = 40.0

NOT_AUTHORIZED = "Worker not authorized!"


@blueprint.post("/worker_check_server_status")
def check_server_status() -> Response:
    """Whether the server knows the worker's type of job and key."""
    sent = json_body()
    served = endpoints().of_job_type(str(sent.get("job_type")))
    try:
        known = bool(served) and _authorized(served, sent)
    except Unavailable:
        known = True  # it will be asked again
    facts = {"logged_in": known, "job_type_present": bool(served), "key_valid": known}
    if not served:
        return jsonify({"cmd": "warning", "msg": _no_queue(sent), **facts})
    if not known:
        return jsonify({"cmd": "error", "msg": NOT_AUTHORIZED, **facts})
    return jsonify({"cmd": "ok", **facts})


@blueprint.post("/worker_login")
def login() -> Response:
    """A worker says that it has been started. What it had before is given to others."""
    sent = json_body()
    about = {**_dict(sent.get("worker_parameters"))}
    about |= {f"model_{key}": value for key, value in _dict(sent.get("model_parameters")).items()}
    about |= {"worker_version": about.get("version"), "version": about.get("interface_version")}
    served = endpoints().of_job_type(str(about.get("job_type")))
    try:
        if not served:
            return jsonify({"success": False, "error_msg": _no_queue(about)})
        if not _authorized(served, about):
            return jsonify({"success": False, "error_msg": NOT_AUTHORIZED})
        pulling.restart(_worker(served, about))
    except FramemillError as exc:
        return jsonify({"success": False, "error_msg": exc.message})
    version = current_app.config["API_VERSION"]
    timeout_s = round(served[0].request_timeout)
    return jsonify({"success": True, "request_timeout": timeout_s, "api_server_version": version})


@blueprint.post("/worker_job_request")
def job_request() -> Response:
    """The long poll for jobs."""
    sent = json_body()
    version = {"api_server_version": current_app.config["API_VERSION"]}
    served = endpoints().of_job_type(str(sent.get("job_type")))
    if not served:
        time.sleep(UNKNOWN_PAUSE_S)
        return jsonify({"cmd": "warning", "msg": _no_queue(sent), **version})
    begun = time.monotonic()
    try:
        if not _authorized(served, sent):
            return jsonify({"cmd": "error", "msg": NOT_AUTHORIZED, **version})
        worker = _worker(served, sent)
        if "version" not in sent and not pulling.slots_of(worker):
            return jsonify({"cmd": "error", "msg": f"worker {worker.name} needs to login first", **version})
        sweeper.start()
        jobs = pulling.next_jobs(worker, pulling.batch_of(sent), _poll_s(served[0], sent), waiting.hung_up())
        given = [data for job in jobs if (data := _job_data(job)) is not None]
    except Exception as exc:
        _log(exc, "a worker's call for a job failed")
        time.sleep(max(0.0, TROUBLE_PAUSE_S - (time.monotonic() - begun)))
        return jsonify({"cmd": "no_job", **version})
    if not given:
        return jsonify({"cmd": "no_job", **version})
    endpoint = _endpoint_of(jobs[0], served)
    descriptions = {
        "input_descriptions": {name: dict(one.described) for name, one in endpoint.inputs.items()},
        "progress_output_descriptions": {name: dict(one.described) for name, one in endpoint.progress_outputs.items()},
        "final_output_descriptions": {name: dict(one.described) for name, one in endpoint.outputs.items()},
    }
    # As older workers call them.
    descriptions["progress_descriptions"] = descriptions["progress_output_descriptions"]
    descriptions["output_descriptions"] = descriptions["final_output_descriptions"]
    return jsonify({"cmd": "job", "endpoint_name": endpoint.name, **descriptions, "job_data": given, **version})


@blueprint.post("/worker_job_progress")
def job_progress() -> Response:
    """Progress of one job or several. The answers tell of those that were canceled."""
    body = json_body(several=True)
    answers = [_guarded(_progress_of, one) for one in (body if isinstance(body, list) else [body])]
    return jsonify(answers)


@blueprint.post("/worker_job_result")
def job_result() -> tuple[Response, int]:
    """The result of a job. One that is late, double or of nobody is answered with a warning, so that it is not sent
    again; only when it could not be stored is the worker to repeat it."""
    body = json_body(several=True)
    results = body if isinstance(body, list) else [body]
    deadline = time.monotonic() + STORE_PATIENCE_S
    answer: dict[str, Any] = {"cmd": "ok"}
    for one in results:
        while True:
            try:
                answer = _result_of(one) if isinstance(one, dict) else _warning("not an object")
                break
            except Unavailable as exc:
                if time.monotonic() > deadline:
                    return jsonify({"cmd": "error", "error_msg": exc.message, "msg": exc.message}), 503
                time.sleep(1.0)
    return jsonify(answer), 200


def _progress_of(sent: dict[str, Any]) -> dict[str, Any]:
    job, attempt, served = _job_of(sent)
    if job is None or not _authorized(served, sent):
        return {"success": True, "cmd": "ok"} if job is None else {"success": False, "error_msg": NOT_AUTHORIZED}
    progress, data = sent.get("progress"), _dict(sent.get("progress_data"))
    step = int(progress) if isinstance(progress, int | float) and 0 <= progress < 1e9 else 0
    endpoint = _endpoint_of(job, served)
    if store().progress(job.job_id, attempt, "computing", min(step, 100), 100, None):
        kept = {name: data[name] for name in endpoint.progress_outputs if data.get(name) is not None}
        noted = {"progress": progress if isinstance(progress, int | float) else 0, "progress_data": kept}
        store().keep_worker_progress(job.job_id, noted, endpoint.job_inactivity_timeout)
        overdue_s = pulling.renew(job)
        if overdue_s is None or overdue_s < 0:
            return {"success": True, "cmd": "ok"}
        store().fail(job.job_id, attempt, code=RunTimeout.code, message=str(RunTimeout()), slot=job.slot or "")
        return {"success": True, "cmd": "ok", "job_id": sent["job_id"], "canceled": True}
    if job.state.is_terminal and pulling.is_held(job, attempt):
        pulling.renew(job)
        return {"success": True, "cmd": "ok", "job_id": sent["job_id"], "canceled": True}
    return {"success": True, "cmd": "ok"}


def _result_of(sent: dict[str, Any]) -> dict[str, Any]:
    job, attempt, served = _job_of(sent)
    if job is None:
        return _warning("unknown job")
    if not _authorized(served, sent):
        return {"success": False, "error_msg": NOT_AUTHORIZED}
    if job.state is not JobState.RUNNING or job.attempt != attempt:
        store().release(job.job_id, attempt, slot=job.slot or "")  # canceled: its worker has stopped
        return _warning(f"the job is {job.state} and takes no result of this run")
    endpoint, slot = _endpoint_of(job, served), job.slot or ""
    if sent.get("error") and "error" not in endpoint.outputs:
        message = str(sent["error"])
        store().fail(job.job_id, attempt, code=ExecutionError.code, message=message, slot=slot)
        dispatcher().announce("task-failed", job.job_id, exception=message[:200])
        return {"cmd": "ok"}
    outputs, result = store_outputs(endpoint, job, attempt, sent, objects())
    run_s = max(0.0, time.time() - (job.started_at_ms or 0) / 1000)
    if not store().complete(job.job_id, attempt, slot=slot, run_s=run_s, outputs=outputs, result=result):
        return _warning("the job takes no result of this run any more")
    dispatcher().announce("task-succeeded", job.job_id, result=f"{len(outputs)} files", runtime=run_s)
    return {"cmd": "ok"}


def _job_of(sent: dict[str, Any]) -> tuple[Job | None, int, list[Endpoint]]:
    """The job that a worker names, and the attempt that it was given."""
    job_id, _, attempt = str(sent.get("job_id", "")).partition("#")
    try:
        job = store().get(job_id)
    except JobNotFound:
        return None, 0, []
    served = [one for one in endpoints().by_name.values() if one.model == job.request.model and one.job_type]
    if not served or not attempt.isdecimal():
        return None, 0, []
    return job, int(attempt), served


def _job_data(job: Job) -> dict[str, Any] | None:
    """What a worker is given of a job; None when an input is gone, and the job has failed."""
    assert isinstance(job.request, EndpointRequest)
    data = dict(job.request.params)
    try:
        for name, key in job.request.media.items():
            data[name] = data_uri(b"".join(objects().read(key)), objects().stat(key).media_type)
    except FramemillError as exc:
        message = f"the input could not be read: {exc.message}"
        store().fail(job.job_id, job.attempt, code=ExecutionError.code, message=message, slot=job.slot or "")
        return None
    times = {"start_time": job.created_at_ms / 1000, "start_time_compute": (job.started_at_ms or 0) / 1000}
    return {**data, "job_id": f"{job.job_id}#{job.attempt}", **times}


def _endpoint_of(job: Job, served: list[Endpoint]) -> Endpoint:
    return next((one for one in served if one.protocol == job.protocol), served[0])


def _worker(served: list[Endpoint], sent: dict[str, Any]) -> pulling.Worker:
    return pulling.Worker.of(str(sent.get("auth") or "worker")[:200], served[0].job_type, served, sent)


def _authorized(served: list[Endpoint], sent: dict[str, Any]) -> bool:
    """Whether the call shows the key of its type of job, or a worker's key of the server. Raises: Unavailable."""
    key = sent.get("auth_key")
    if served and served[0].worker_key and served[0].knows_worker(key):
        return True
    caller = KeyRing(store()).authenticate(key) if isinstance(key, str) and key else None
    if caller is not None:
        return caller.role is Role.WORKER and (not caller.models or served[0].model in caller.models)
    return bool(served) and not served[0].worker_key and auth.is_open()


def _poll_s(endpoint: Endpoint, sent: dict[str, Any]) -> float:
    wanted = sent.get("request_timeout")
    timeout_s = endpoint.request_timeout
    if isinstance(wanted, int | float) and 0 < wanted < timeout_s:
        timeout_s = wanted
    return pulling.POLL_SHARE * timeout_s


def _guarded(handle: Callable[[dict[str, Any]], dict[str, Any]], one: Any) -> dict[str, Any]:
    """An answer for one item, also when something broke: a worker whose progress fails once sends none any more."""
    try:
        return handle(one if isinstance(one, dict) else {})
    except Exception as exc:
        _log(exc, "progress was not noted")
        return {"success": True, "cmd": "ok"}


def _log(exc: Exception, what: str) -> None:
    logger.warning(what, exc_info=not isinstance(exc, FramemillError), extra={"error": repr(exc)})


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _warning(why: str) -> dict[str, Any]:
    return {"cmd": "warning", "msg": why}


def _no_queue(sent: dict[str, Any]) -> str:
    return f"No job queue for job_type: {str(sent.get('job_type'))[:80]}"
