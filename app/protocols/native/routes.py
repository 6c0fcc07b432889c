"""The routes of the native API: each a few lines over ``jobs`` and ``tasks.dispatch``."""

from __future__ import annotations

from typing import Any

from flask import Response, current_app, jsonify, request
from flask_smorest import Api, Blueprint

from app import attachments, auth, waiting
from app import submit as submitting
from app.downloads import send_object
from app.extensions import dispatcher, objects, settings, store
from app.fields import body_of, load
from app.protocols.native import admin, models, previews, schemas, streams, views, webhooks
from jobs.errors import InvalidRequest, NotReady, ObjectNotFound, Problem, ResultExpired
from jobs.forecast import Forecast
from jobs.record import Job, Output
from jobs.states import JobState
from jobs.store import queries
from jobs.view import iso, job_view, links

tasks_blueprint = Blueprint("tasks", __name__, url_prefix="/v1/tasks", description="Jobs")
service_blueprint = Blueprint("service", __name__, url_prefix="/v1", description="Service")

auth.protect(tasks_blueprint)
auth.protect(service_blueprint)

_JSON_OR_FORM = {
    "requestBody": {
        "content": {
            media: {"schema": {"$ref": "#/components/schemas/Submit"}}
            for media in ("application/json", "multipart/form-data")
        }
    }
}
_INDEX = [{"in": "query", "name": "index", "schema": {"type": "integer", "default": 0}}]


def register(api: Api) -> None:
    api.spec.components.schema("Submit", schema=schemas.SubmitSchema)
    api.register_blueprint(tasks_blueprint)
    api.register_blueprint(models.blueprint)
    api.register_blueprint(service_blueprint)
    api.register_blueprint(previews.blueprint)
    api.register_blueprint(admin.blueprint)
    api.register_blueprint(webhooks.blueprint)


def _view(job: Job, forecast: Forecast | None = None) -> dict[str, Any]:
    return job_view(job, forecast or submitting.forecast_of(job), objects())


def _job(job_id: str) -> Job:
    return auth.visible(store().get(job_id))


@tasks_blueprint.route("/", methods=["POST"])
@tasks_blueprint.doc(**_JSON_OR_FORM)
@tasks_blueprint.response(200, description="Accepted: from here on the job is not lost. The answer is its status.")
@tasks_blueprint.alt_response(422, description="Invalid fields, each named with its rule; nothing was queued.")
@tasks_blueprint.alt_response(429, description="Too many jobs wait; Retry-After says when to try again.")
def submit() -> Response:
    """Submit a job; `?wait=` or `Prefer: wait=` seconds answers when it is over."""
    sent = body_of(request)
    wait_s = waiting.wanted_wait_s()
    uploads = {name: value for name, value in sent.items() if isinstance(value, bytes)}
    values, unknown = load(schemas.SUBMIT, {**sent, **dict.fromkeys(uploads, attachments.UNSTORED)})
    pictures = attachments.take(values, uploads)
    warnings = [f"unknown field {name!r} was ignored" for name in unknown if name not in uploads]
    warnings += [f"unused file {name!r} was ignored" for name in sorted(uploads.keys() - pictures.used)]
    prepared = submitting.prepare(
        values, pictures, warnings,
        preview=bool(values.get("preview")), webhook=webhooks.wanted(values, auth.caller()),
    )  # fmt: skip
    job, forecast = submitting.accept(prepared, wait_s)
    response = jsonify(_view(job, forecast))
    response.headers["Location"] = links(job.job_id)["status"]
    return response


@tasks_blueprint.route("/", methods=["GET"])
@tasks_blueprint.doc(parameters=[{"in": "query", "name": n, "schema": {"type": t}} for n, t in
                                 (("state", "string"), ("limit", "integer"), ("after", "string"))])  # fmt: skip
@tasks_blueprint.response(200, description="One page, newest first; `next` is the `after` of the next one.")
def list_tasks() -> Response:
    """List jobs."""
    values, _ = load(schemas.LIST, request.args)
    jobs, after, total = queries.list_jobs(
        store(), key_id=auth.caller().scope, state=values.get("state"), limit=values["limit"], after=values.get("after")
    )
    forecasts = store().forecast(*(job.job_id for job in jobs))
    tasks = [_view(job, forecast) for job, forecast in zip(jobs, forecasts, strict=True)]
    return jsonify({"tasks": tasks, "total": total, "next": after})


@tasks_blueprint.route("/running", methods=["DELETE"])
@tasks_blueprint.response(200, description="The ids that were stopped.")
def cancel_running() -> Response:
    """Stop every job that is being computed."""
    stopped = dispatcher().cancel_all(auth.caller())
    return jsonify(
        {
            "stop_status": "success" if stopped else "do_nothing",
            "reason": "Task stopped successfully." if stopped else "No running task found.",
            "cancelled": stopped,
        }
    )


@tasks_blueprint.route("/<job_id>", methods=["GET"])
@tasks_blueprint.route("/<job_id>/status", methods=["GET"])
@tasks_blueprint.response(200, description="Where the job is.")
@tasks_blueprint.alt_response(404, description="Unknown id.")
def status(job_id: str) -> Response:
    """Where a job is: state, step, place in the queue, seconds left, error, outputs.

    `?wait=` seconds: answers when its state changes, or after that time.
    """
    job, wait_s = _job(job_id), waiting.wanted_wait_s()
    return jsonify(_view(waiting.wait(job, wait_s)))


@tasks_blueprint.route("/<job_id>/events", methods=["GET"])
@tasks_blueprint.doc(parameters=[previews.PARAMETER])
@tasks_blueprint.response(200, description="Server-sent events until the job is over; `Last-Event-ID` replays.")
@tasks_blueprint.alt_response(404, description="Unknown id.")
def events(job_id: str) -> Response:
    """Follow a job; `preview=1` has previews made meanwhile, `preview=data` also sends them within the events."""
    return streams.stream(_view, job=_job(job_id), preview=previews.wanted())


@tasks_blueprint.route("/<job_id>/result", methods=["GET"])
@tasks_blueprint.doc(parameters=_INDEX)
@tasks_blueprint.response(200, description="The file, with its own media type. Range requests are answered.")
@tasks_blueprint.alt_response(404, description="Unknown id, or no result (yet); the code tells which.")
def result(job_id: str) -> Response:
    """Fetch an output."""
    job, index = _wanted(job_id)
    return _send(job, job.outputs[index], f"{job_id}-{index}")


@tasks_blueprint.route("/<job_id>/thumbnail", methods=["GET"])
@tasks_blueprint.doc(parameters=_INDEX)
@tasks_blueprint.response(200, description="A small WebP or JPEG; of a video, its first frame.")
@tasks_blueprint.alt_response(404, description="Unknown id, no result (yet), or it has no thumbnail.")
def thumbnail(job_id: str) -> Response:
    """Fetch the thumbnail of an output."""
    job, index = _wanted(job_id)
    return _send(job, job.outputs[index].thumbnail, f"{job_id}-{index}-thumbnail")


@tasks_blueprint.route("/<job_id>/poster", methods=["GET"])
@tasks_blueprint.doc(parameters=_INDEX)
@tasks_blueprint.response(200, description="The first frame of a video in full size, WebP or JPEG.")
@tasks_blueprint.alt_response(404, description="Unknown id, no result (yet), or it has no poster.")
def poster(job_id: str) -> Response:
    """Fetch the poster of a video."""
    job, index = _wanted(job_id)
    return _send(job, job.outputs[index].poster, f"{job_id}-{index}-poster")


def _wanted(job_id: str) -> tuple[Job, int]:
    """A job, and the number of the output that ``?index=`` names.

    Raises:
        JobNotFound, NotReady, ResultExpired, InvalidRequest.
    """
    job = _job(job_id)
    if job.removed_at_ms:
        raise ResultExpired(f"the files of this job were removed at {iso(job.removed_at_ms)}")
    if job.state is not JobState.SUCCEEDED:
        raise NotReady(f"the job is {job.state}: {'it has no result' if job.state.is_terminal else 'no result yet'}")
    index = request.args.get("index", "0")
    if not index.isdecimal() or int(index) >= len(job.outputs):
        raise InvalidRequest(Problem("index", f"must be 0 to {len(job.outputs) - 1}", index))
    return job, int(index)


def _send(job: Job, output: Output | None, name: str) -> Response:
    if output is None:
        raise ObjectNotFound("this output has none: images have no poster, and THUMBNAIL_PX=0 makes neither")
    try:
        return send_object(objects(), output, name=name, expires_at_ms=job.expires_at_ms)
    except ObjectNotFound:
        raise ObjectNotFound("the output was removed from the object store") from None


@tasks_blueprint.route("/<job_id>", methods=["DELETE"])
@tasks_blueprint.doc(parameters=[{"in": "query", "name": "purge", "schema": {"type": "boolean", "default": False}}])
@tasks_blueprint.response(200, description="What really changed.")
@tasks_blueprint.alt_response(404, description="Unknown id.")
def cancel(job_id: str) -> Response:
    """Stop one job: a waiting one never runs, a running one ends within a step.

    `?purge=true`: then delete its record, its outputs, and its inputs unless another job needs them.
    """
    if load(schemas.DELETE, request.args)[0]["purge"]:
        return _purge(job_id)
    _job(job_id)
    job, changed = dispatcher().cancel(job_id)
    reason = "Task stopped successfully." if changed else f"The task is {job.state} already."
    stop_status = "success" if changed else "do_nothing"
    body = {"task_id": job_id, "state": job.state, "changed": changed, "stop_status": stop_status, "reason": reason}
    return jsonify(body)


def _purge(job_id: str) -> Response:
    owner = store().deleted_key(job_id)
    before = owner is not None and auth.caller().owns(owner)
    outcome = "gone" if before else dispatcher().delete(_job(job_id).job_id)
    reason = {"deleted": "The task was deleted.", "held": "The task is deleted when its worker has stopped.",
              "gone": "The task was deleted before."}[outcome]  # fmt: skip
    return jsonify({"task_id": job_id, "deleted": outcome != "held", "changed": outcome != "gone", "reason": reason})


@tasks_blueprint.route("/<job_id>/front", methods=["POST"])
@tasks_blueprint.response(200, description="Its status: the next free slot takes it.")
@tasks_blueprint.alt_response(409, description="It does not wait (any more).")
def front(job_id: str) -> Response:
    """Let a waiting job go before all others; needs an admin's key."""
    auth.admin()
    dispatcher().move_to_front(job_id)
    return jsonify(_view(store().get(job_id)))


@tasks_blueprint.route("/<job_id>/retry", methods=["POST"])
@tasks_blueprint.response(200, description="The status of the new job.")
@tasks_blueprint.alt_response(409, description="It is not over, or it succeeded.")
def retry(job_id: str) -> Response:
    """Send a failed, cancelled or expired job again, as a new one."""
    auth.check_model(_job(job_id).request.model)
    job, forecast = dispatcher().resend(job_id, auth.caller())
    return jsonify(_view(job, forecast))


@service_blueprint.route("/events", methods=["GET"])
@service_blueprint.response(200, description="Server-sent events without end; `Last-Event-ID` replays.")
def all_events() -> Response:
    """Follow all your jobs (with an admin's key: all jobs)."""
    return streams.stream(_view, key_id=auth.caller().scope)


@service_blueprint.route("/service/status", methods=["GET"])
@service_blueprint.response(200, description="Busy or idle, counts by state, every slot.")
def service_status() -> Response:
    """What the whole service does now."""

    def visible(job_id: str) -> bool:
        job = queries.find(store(), job_id) if not auth.caller().is_admin else None
        return auth.caller().is_admin or (job is not None and auth.caller().owns(job.key_id))

    fleet, capacity = queries.fleet(store(), settings().service_slot), submitting.capacity()
    return jsonify(views.service_view(fleet, capacity, current_app.config["API_VERSION"], visible))
