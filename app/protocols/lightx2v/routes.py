"""The routes that only LightX2V has."""

from __future__ import annotations

from pathlib import PurePosixPath

from flask import Flask, Response, jsonify, request
from flask_smorest import Api, Blueprint

from app import auth, errors, waiting
from app import submit as submitting
from app.downloads import send_object
from app.events import Listener
from app.extensions import dispatcher, models, objects, settings, store
from app.fields import body_of
from app.protocols.lightx2v import creating, schemas, shared, views
from jobs.errors import DuplicateJob, Forbidden, InvalidRequest, ObjectNotFound, Problem, QueueFull
from jobs.record import Job
from jobs.states import JobState
from jobs.store import queries

blueprint = Blueprint(
    "lightx2v", __name__, description="LightX2V's service protocol; more of it under Jobs and Service"
)
auth.protect(blueprint)

#: Longest wait of the synchronous route, seconds.
MAX_SYNC_S = 3600.0
#: A client that hung up is noticed so soon, seconds.
GONE_CHECK_S = 1.0

_BODY = {"application/json": {"schema": {"$ref": "#/components/schemas/LightX2VTask"}}}
_FORM = {"multipart/form-data": {"schema": {"$ref": "#/components/schemas/LightX2VTask"}}}
_ACCEPTED = "Accepted: `task_id`, `task_status` and the output's path."
_SENT = {"requestBody": {"content": {**_BODY, **_FORM}}}
_TIMES = [
    {"in": "query", "name": name, "schema": {"type": "number", "default": default}}
    for name, default in (("timeout_seconds", 600), ("poll_interval_seconds", 0.5))
]


def register(app: Flask, api: Api) -> None:
    """Add the routes, and take part in those of the native API (which must be registered already)."""
    api.spec.components.schema("LightX2VTask", schema=schemas.LightX2VTaskSchema)
    api.register_blueprint(blueprint)
    shared.register(app)


@blueprint.route("/v1/tasks/video", methods=["POST"])
@blueprint.doc(**_SENT)
@blueprint.response(200, description=_ACCEPTED)
@blueprint.alt_response(503, description="The queue is full.")
def create_video() -> Response:
    """Create a video task."""
    return creating.create(video=True)


@blueprint.route("/v1/tasks/form", methods=["POST"])
@blueprint.doc(requestBody={"content": _FORM})
@blueprint.response(200, description=_ACCEPTED)
@blueprint.alt_response(503, description="The queue is full.")
def create_form() -> Response:
    """Create a video task by a form with the part `image_file`, as older versions do."""
    return creating.create(video=True, old=True, form=True, needs_file=True)


@blueprint.route("/v1/tasks/video/form", methods=["POST"])
@blueprint.doc(requestBody={"content": _FORM})
@blueprint.response(200, description=_ACCEPTED)
@blueprint.alt_response(503, description="The queue is full.")
def create_video_form() -> Response:
    """Create a video task by a form with the part `image_file`."""
    return creating.create(video=True, form=True, needs_file=True)


@blueprint.route("/v1/tasks/image", methods=["POST"])
@blueprint.doc(**_SENT)
@blueprint.response(200, description=_ACCEPTED)
@blueprint.alt_response(503, description="The queue is full.")
def create_image() -> Response:
    """Create an image task."""
    return creating.create(video=False)


@blueprint.route("/v1/tasks/image/form", methods=["POST"])
@blueprint.doc(requestBody={"content": _FORM})
@blueprint.response(200, description=_ACCEPTED)
@blueprint.alt_response(503, description="The queue is full.")
def create_image_form() -> Response:
    """Create an image task by a form; the part `image_file` may be left out."""
    return creating.create(video=False, form=True)


@blueprint.route("/v1/tasks/image/sync", methods=["POST"])
@blueprint.doc(**_SENT, parameters=_TIMES)
@blueprint.response(200, description="The image.")
@blueprint.alt_response(409, description="The task was cancelled meanwhile.")
@blueprint.alt_response(503, description="The queue is full.")
@blueprint.alt_response(504, description="Not done in time; the task is stopped.")
def create_image_sync() -> Response:
    """Create an image task and wait for the image. A client that hangs up stops its task."""
    timeout_s = _seconds("timeout_seconds", 600.0)
    _seconds("poll_interval_seconds", 0.5)  # nothing is polled here
    sent = body_of(request)
    try:
        job, _ = creating.submit(sent, video=False)
    except QueueFull as exc:
        return creating.full(exc)
    except DuplicateJob as exc:
        return creating.used(exc)
    with waiting.listening(job.job_id) as listener:
        job = _wait(store().get(job.job_id), listener, timeout_s)
    if job.state is JobState.SUCCEEDED:
        response = send_object(objects(), job.outputs[0], name="result")
        response.headers["X-Task-Id"] = job.job_id
        return response
    if job.state is JobState.CANCELLED:
        return errors.render("conflict", "Task cancelled", 409)
    if not job.state.is_terminal:
        dispatcher().cancel(job.job_id)
        return errors.render("unavailable", f"not done within {timeout_s:g} s; task {job.job_id} was stopped", 504)
    error = job.error or {}
    return errors.render(error.get("code", "job_failed"), error.get("message", "the task failed"), 500)


def _seconds(name: str, default: float) -> float:
    text = request.args.get(name, "")
    try:
        value = float(text) if text else default
    except ValueError:
        value = -1.0
    if not 0 < value <= MAX_SYNC_S:
        raise InvalidRequest(Problem(name, f"must be seconds, more than 0 and at most {MAX_SYNC_S:g}", text))
    return value


class _Gone(Exception):
    """The client has hung up."""


def _wait(job: Job, listener: Listener, timeout_s: float) -> Job:
    """The job when it is over, its time is up, or its client has gone (it is stopped then)."""
    gone = waiting.hung_up()

    def look() -> None:
        if gone():
            raise _Gone

    try:
        return waiting.wait_until_over(job, timeout_s, listener, look, GONE_CHECK_S)
    except _Gone:
        return dispatcher().cancel(job.job_id)[0]


@blueprint.route("/v1/tasks/queue/status", methods=["GET"])
@blueprint.response(200, description="How many tasks are processed and wait.")
def queue_status() -> Response:
    """How full the queue is."""
    room = submitting.room()
    active = [job_id for job_id in room.active if _visible(job_id)]
    return jsonify(views.queue(active, room.waiting, settings().max_waiting))


def _visible(job_id: str) -> bool:
    if auth.caller().is_admin:
        return True
    job = queries.find(store(), job_id)
    return job is not None and auth.caller().owns(job.key_id)


@blueprint.route("/v1/tasks/all/running", methods=["DELETE"])
@blueprint.response(200, description="The ids that were stopped.")
def cancel_everything() -> Response:
    """Stop every task that is not over, waiting ones too."""
    return jsonify(views.stopped(dispatcher().cancel_all(auth.caller(), waiting=True), everything=True))


@blueprint.route("/v1/local/video/generate/stop_running_task", methods=["GET"])
@blueprint.response(200, description="The ids that were stopped.")
def stop_running_task() -> Response:
    """Stop what runs, as `DELETE /v1/tasks/running`; LightX2V's script calls this old address."""
    stopped = dispatcher().cancel_all(auth.caller(), waiting=creating.is_single())
    return jsonify(views.stopped(stopped, everything=False))


@blueprint.route("/v1/files/download/<path:file_path>", methods=["GET"])
@blueprint.response(200, description="The file. Range requests are answered.")
@blueprint.alt_response(403, description="The path leads outside.")
@blueprint.alt_response(404, description="No output has this name (yet).")
def download(file_path: str) -> Response:
    """Fetch an output by the path that its task was given."""
    parts = [part for part in file_path.replace("\\", "/").split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Forbidden("Access to this file is not allowed")
    job = _job_of("/".join(parts))
    if job is None or job.state is not JobState.SUCCEEDED or not job.outputs or job.removed_at_ms:
        raise ObjectNotFound(f"File not found: {file_path[:200]}")
    name = PurePosixPath(parts[-1]).stem
    response = send_object(objects(), job.outputs[0], name=name, expires_at_ms=job.expires_at_ms)
    shared.as_attachment(response, job)
    return response


def _job_of(path: str) -> Job | None:
    """The caller's job that names its output so: by a path of its own, else by its id."""
    job_id = queries.job_id_of_path(store(), auth.caller().key_id, path)
    job = queries.find(store(), job_id or path.rpartition(".")[0])
    return job if job and auth.caller().owns(job.key_id) and views.file_path(job) == path else None


@blueprint.route("/v1/service/metadata", methods=["GET"])
@blueprint.response(200, description="What serves here.")
def metadata() -> Response:
    """Models and slots in LightX2V's words."""
    fleet = queries.fleet(store(), settings().service_slot)
    names = models().names()
    first = next((spec.name for spec in models() if any(kind.is_video for kind in spec.kinds)), None)
    model = first or (names[0] if names else "")
    return jsonify({"nproc_per_node": len(fleet.slots), "model_cls": model, "model_path": model, "models": names})
