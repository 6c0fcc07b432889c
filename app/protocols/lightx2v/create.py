"""Create tasks."""

from __future__ import annotations

from flask import Response, jsonify, request
from flask_smorest import Blueprint

from app import auth, errors, waiting
from app.downloads import send_object
from app.events.hub import Listener
from app.extensions import dispatcher, objects, store
from app.fields import body_of
from app.protocols.lightx2v import views
from app.protocols.lightx2v.profile import is_single
from app.protocols.lightx2v.submit import REFUSALS, refusal_response, submit_task
from jobs.errors import InvalidRequest, Problem
from jobs.record import Job
from jobs.states import JobState

blueprint = Blueprint("lightx2v-create", __name__, url_prefix="/v1/tasks", description="LightX2V: create tasks")
auth.protect(blueprint)

#: Longest wait of the synchronous route, seconds.
MAX_SYNC_S = 3600.0
#: Interval of the checks whether the client has closed its connection, seconds.
HUNG_UP_CHECK_S = 1.0

_SCHEMA = {"schema": {"$ref": "#/components/schemas/LightX2VTask"}}
_FORM = {"multipart/form-data": _SCHEMA}
_JSON_OR_FORM = {"application/json": _SCHEMA, **_FORM}
_ACCEPTED = "Accepted: `task_id`, `task_status` and the path of the output."
_TIMES = [
    {"in": "query", "name": name, "schema": {"type": "number", "default": default}}
    for name, default in (("timeout_seconds", 600), ("poll_interval_seconds", 0.5))
]


@blueprint.route("/", methods=["POST"])
@blueprint.doc(requestBody={"content": _JSON_OR_FORM})
@blueprint.response(200, description=_ACCEPTED)
@blueprint.alt_response(503, description="The queue is full.")
def create_task() -> Response:
    """Create a video task, as older versions do."""
    return _create(video=True, old=True)


@blueprint.route("/video", methods=["POST"])
@blueprint.doc(requestBody={"content": _JSON_OR_FORM})
@blueprint.response(200, description=_ACCEPTED)
@blueprint.alt_response(503, description="The queue is full.")
def create_video() -> Response:
    """Create a video task."""
    return _create(video=True)


@blueprint.route("/form", methods=["POST"])
@blueprint.doc(requestBody={"content": _FORM})
@blueprint.response(200, description=_ACCEPTED)
@blueprint.alt_response(503, description="The queue is full.")
def create_form() -> Response:
    """Create a video task by a form with the part `image_file`, as older versions do."""
    return _create(video=True, old=True, form=True, needs_file=True)


@blueprint.route("/video/form", methods=["POST"])
@blueprint.doc(requestBody={"content": _FORM})
@blueprint.response(200, description=_ACCEPTED)
@blueprint.alt_response(503, description="The queue is full.")
def create_video_form() -> Response:
    """Create a video task by a form with the part `image_file`."""
    return _create(video=True, form=True, needs_file=True)


@blueprint.route("/image", methods=["POST"])
@blueprint.doc(requestBody={"content": _JSON_OR_FORM})
@blueprint.response(200, description=_ACCEPTED)
@blueprint.alt_response(503, description="The queue is full.")
def create_image() -> Response:
    """Create an image task."""
    return _create(video=False)


@blueprint.route("/image/form", methods=["POST"])
@blueprint.doc(requestBody={"content": _FORM})
@blueprint.response(200, description=_ACCEPTED)
@blueprint.alt_response(503, description="The queue is full.")
def create_image_form() -> Response:
    """Create an image task by a form; the part `image_file` is optional."""
    return _create(video=False, form=True)


@blueprint.route("/image/sync", methods=["POST"])
@blueprint.doc(requestBody={"content": _JSON_OR_FORM}, parameters=_TIMES)
@blueprint.response(200, description="The image.")
@blueprint.alt_response(409, description="The task was cancelled meanwhile.")
@blueprint.alt_response(503, description="The queue is full.")
@blueprint.alt_response(504, description="Not finished in time; the task was stopped.")
def create_image_sync() -> Response:
    """Create an image task and respond with the image. The task is stopped if the client closes its connection."""
    timeout_s = _seconds("timeout_seconds", 600.0)
    _seconds("poll_interval_seconds", 0.5)  # checked only: this server does not poll
    try:
        job = submit_task(body_of(request), video=False).job
    except REFUSALS as exc:
        return refusal_response(exc)
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


def _create(*, video: bool, old: bool = False, form: bool = False, needs_file: bool = False) -> Response:
    body = body_of(request)
    if needs_file and "image_file" not in request.files:
        raise InvalidRequest(Problem("image_file", "is required as a part of the form"))
    try:
        submitted = submit_task(body, video=video, old=old, form=form)
    except REFUSALS as exc:
        return refusal_response(exc)
    return jsonify(views.created_task(submitted.job, submitted.forecast, single=is_single()))


def _seconds(name: str, default: float) -> float:
    """Return a time of the query in seconds. Raises: InvalidRequest."""
    text = request.args.get(name, "")
    try:
        value = float(text) if text else default
    except ValueError:
        value = -1.0
    if not 0 < value <= MAX_SYNC_S:
        raise InvalidRequest(Problem(name, f"must be seconds, more than 0 and at most {MAX_SYNC_S:g}", text))
    return value


class _HungUp(Exception):
    """The client has closed its connection."""


def _wait(job: Job, listener: Listener, timeout_s: float) -> Job:
    """Wait for the end of a job; stop it if its client closes the connection. Return the job as it is then."""
    hung_up = waiting.hung_up()

    def check() -> None:
        if hung_up():
            raise _HungUp

    try:
        return waiting.wait_until_over(job, timeout_s, listener, check, HUNG_UP_CHECK_S)
    except _HungUp:
        return dispatcher().cancel(job.job_id)[0]
