"""Create tasks."""

from __future__ import annotations

from collections.abc import Callable

from flask import Response, jsonify, request

from app import errors, waiting
from app.access import auth
from app.downloads import send_object
from app.events.hub import Listener
from app.extensions import dispatcher, objects, store
from app.fields import body_of, query_of
from app.openapi.blueprint import FORM, JSON, Blueprint, View
from app.openapi.parameters import IDEMPOTENCY_KEY
from app.protocols.lightx2v import answers, schemas, uploading, views
from app.protocols.lightx2v.profile import is_single
from app.protocols.lightx2v.submit import REFUSALS, refusal_response, submit_task
from jobs.errors import InvalidRequest, Problem
from jobs.record import Job
from jobs.states import JobState

blueprint = Blueprint("lightx2v-create", __name__, url_prefix="/v1/tasks", tag="LightX2V", prefix="lightx2v_")
auth.protect(blueprint)

#: Longest wait of the synchronous route, seconds.
MAX_SYNC_S = 3600.0
#: Interval of the checks whether the client has closed its connection, seconds.
HUNG_UP_CHECK_S = 1.0

_TIMES = [
    {"in": "query", "name": name, "description": text,
     "schema": {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_SYNC_S, "default": default}}
    for name, text, default in (
        ("timeout_seconds", "The task is stopped after so many seconds.", 600),
        ("poll_interval_seconds", "Ignored: this server does not poll.", 0.5),
    )
]  # fmt: skip
_EXAMPLE = {"prompt": "a red circle", "infer_steps": 4, "seed": 7}


def _creates(*media_types: str) -> Callable[[View], View]:
    """Document the bodies and refusals that all routes of this module have in common."""
    all_schemas = {JSON: schemas.LightX2VTaskSchema, FORM: schemas.LightX2VFormSchema}

    def document(view: View) -> View:
        for decorator in (
            blueprint.doc(parameters=[IDEMPOTENCY_KEY]),
            *(blueprint.body(all_schemas[name], _EXAMPLE, name) for name in media_types),
            blueprint.error(400, "The body is not a JSON object; in profile `single` also: the service is busy."),
            blueprint.error(409, "The id is taken; in profile `single` this is 400."),
            blueprint.error(429, "The key submits too fast; `Retry-After` has the seconds to wait."),
            blueprint.error(503, "The queue is full, or Redis does not respond; `Retry-After` says when to try again."),
        ):
            view = decorator(view)
        return view

    return document


_accepted = blueprint.response(200, answers.LightX2VCreatedAnswer, description="Accepted.")


@blueprint.route("/", methods=["POST"])
@_creates(JSON, FORM)
@_accepted
def create_task() -> Response:
    """Create a video task, as older versions do."""
    return _create(video=True, old=True)


@blueprint.route("/video", methods=["POST"])
@_creates(JSON, FORM)
@_accepted
def create_video() -> Response:
    """Create a video task."""
    return _create(video=True)


@blueprint.route("/form", methods=["POST"])
@_creates(FORM)
@_accepted
def create_form() -> Response:
    """Create a video task by a form with the part `image_file`, as older versions do."""
    return _create(video=True, old=True, form=True, needs_file=True)


@blueprint.route("/video/form", methods=["POST"])
@_creates(FORM)
@_accepted
def create_video_form() -> Response:
    """Create a video task by a form with the part `image_file`."""
    return _create(video=True, form=True, needs_file=True)


@blueprint.route("/image", methods=["POST"])
@_creates(JSON, FORM)
@_accepted
def create_image() -> Response:
    """Create an image task."""
    return _create(video=False)


@blueprint.route("/image/form", methods=["POST"])
@_creates(FORM)
@_accepted
def create_image_form() -> Response:
    """Create an image task by a form; the part `image_file` is optional."""
    return _create(video=False, form=True)


@blueprint.route("/image/sync", methods=["POST"])
@blueprint.doc(parameters=[*_TIMES, IDEMPOTENCY_KEY])
@_creates(JSON, FORM)
@blueprint.file(
    200, "The image; with `presigned_url`, that it was uploaded.", "image/*", or_json=answers.LightX2VUploadedAnswer,
    X_Task_Id="The id of the task.",
)  # fmt: skip
@blueprint.error(409, "The id is taken, or the task was cancelled meanwhile.")
@blueprint.error(500, "The task failed.")
@blueprint.error(502, "The image could not be uploaded; the task is completed.")
@blueprint.error(504, "Not finished in time; the task was stopped.")
def create_image_sync() -> Response:
    """Create an image task and respond with the image, or upload it to `presigned_url`.

    The task is stopped if the client closes its connection.
    """
    timeout_s = _seconds("timeout_seconds", 600.0)
    _seconds("poll_interval_seconds", 0.5)  # checked only: this server does not poll
    body = body_of(request)
    try:
        job = submit_task(body, video=False, uploads=True).job
    except REFUSALS as exc:
        return refusal_response(exc)
    with waiting.listening(job.job_id) as listener:
        job = _wait(store().get(job.job_id), listener, timeout_s)
    if job.state is JobState.SUCCEEDED:
        response = _image_response(job, uploading.link_of(body))
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
    if needs_file and isinstance(body.get("image_file", ""), str):
        raise InvalidRequest(Problem("image_file", "is required as a part of the form"))
    try:
        submitted = submit_task(body, video=video, old=old, form=form)
    except REFUSALS as exc:
        return refusal_response(exc)
    return jsonify(views.created_task(submitted.job, submitted.forecast, single=is_single()))


def _image_response(job: Job, url: str) -> Response:
    """Return the response with the image of a job, or the one that says that it was uploaded to a link."""
    if not url:
        return send_object(objects(), job.outputs[0], name="result")
    try:
        uploading.upload_image(job, url)
    except uploading.UploadFailed as exc:
        return errors.render("upload_failed", f"{exc}; GET /v1/tasks/{job.job_id}/result has the image", 502)
    return jsonify(views.uploaded_task(job, url))


def _seconds(name: str, default: float) -> float:
    """Return a time of the query in seconds. Raises: InvalidRequest."""
    text = query_of(request).get(name, "")
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
