"""The routes of the native API: each a few lines over ``jobs`` and ``tasks.dispatch``."""

from __future__ import annotations

import dataclasses
from typing import Any

from flask import Response, current_app, jsonify, request
from flask_smorest import Api, Blueprint
from werkzeug.exceptions import BadRequest

from app import inputs
from app.downloads import send_object
from app.protocols.native import schemas, views
from jobs import queries, requests
from jobs.errors import InvalidRequest, MalformedBody, NotReady, ObjectNotFound, Problem
from jobs.models import ModelRegistry
from jobs.objects import ObjectStore
from jobs.record import Job, check_job_id
from jobs.settings import Settings
from jobs.slots import Slot
from jobs.states import JobState
from tasks import dispatch
from tasks.celery_app import store

tasks_blueprint = Blueprint("tasks", __name__, url_prefix="/v1/tasks", description="Jobs")
service_blueprint = Blueprint("service", __name__, url_prefix="/v1", description="Service and models")

_JSON_OR_FORM = {
    "requestBody": {
        "content": {
            media: {"schema": {"$ref": "#/components/schemas/Submit"}}
            for media in ("application/json", "multipart/form-data")
        }
    }
}
#: Stands for an image that is only stored once everything else is known to be right.
_UNSTORED = "inputs/unstored"


def register(api: Api) -> None:
    api.spec.components.schema("Submit", schema=schemas.SubmitSchema)
    api.register_blueprint(tasks_blueprint)
    api.register_blueprint(service_blueprint)


def _settings() -> Settings:
    settings: Settings = current_app.config["FRAMEMILL"]
    return settings


def _models() -> ModelRegistry:
    registry: ModelRegistry = current_app.config["FRAMEMILL_MODELS"]
    return registry


def _objects() -> ObjectStore:
    objects: ObjectStore = current_app.config["FRAMEMILL_OBJECTS"]
    return objects


def _view(job: Job) -> dict[str, Any]:
    return views.job_view(job, queries.forecast(store(), job), _objects())


def _sent() -> dict[str, Any]:
    """The fields of a JSON body or of a form; an uploaded file is bytes under its name."""
    if request.mimetype in ("multipart/form-data", "application/x-www-form-urlencoded"):
        files = {name: file.read() for name, file in request.files.items() if file.filename}
        return {**request.form.to_dict(), **files}
    try:
        body = request.get_json(force=True, silent=False) if request.get_data(cache=True) else {}
    except (BadRequest, RecursionError) as exc:
        raise MalformedBody(Problem("body", "must be JSON")) from exc
    if not isinstance(body, dict):
        raise MalformedBody(Problem("body", "must be a JSON object"))
    return body


@tasks_blueprint.route("/", methods=["POST"])
@tasks_blueprint.doc(**_JSON_OR_FORM)
@tasks_blueprint.response(200, description="Accepted: from here on the job is not lost. The answer is its status.")
@tasks_blueprint.alt_response(422, description="Invalid fields, each named with its rule; nothing was queued.")
@tasks_blueprint.alt_response(429, description="Too many jobs wait; Retry-After says when to try again.")
def submit() -> Response:
    """Submit a job."""
    sent = _sent()
    image = sent.get("image")
    if isinstance(image, bytes):
        sent["image"] = _UNSTORED
    values, unknown = schemas.load(schemas.SubmitSchema(), sent)
    if values.get("image"):
        image, values["image"] = image if isinstance(image, bytes) else values["image"], _UNSTORED
    job_id = check_job_id(values["task_id"]) if values.get("task_id") else None
    resolved, warnings = requests.resolve(_models(), values)
    pin = _known_slot(values["slot"], resolved.model) if values.get("slot") else None
    if values.get("image"):
        assert image is not None
        key = inputs.store_image(image, settings=_settings(), objects=_objects())
        resolved = dataclasses.replace(resolved, image=key)
    warnings += [f"unknown field {name!r} was ignored" for name in unknown]
    job = dispatch.submit(resolved, job_id=job_id, warnings=warnings, pin=pin)
    response = jsonify(_view(job))
    response.headers["Location"] = views.links(job.job_id)["status"]
    return response


def _known_slot(name: str, model: str) -> str:
    slots: list[Slot] = queries.fleet(store()).slots
    fitting = [slot.name for slot in slots if model in slot.models]
    if name not in fitting:
        rule = f"must be a slot that runs {model}: {', '.join(fitting) or 'none is there now'}"
        raise InvalidRequest(Problem("slot", rule, name))
    return name


@tasks_blueprint.route("/", methods=["GET"])
@tasks_blueprint.doc(parameters=[{"in": "query", "name": n, "schema": {"type": t}} for n, t in
                                 (("state", "string"), ("limit", "integer"), ("after", "string"))])  # fmt: skip
@tasks_blueprint.response(200, description="One page, newest first; `next` is the `after` of the next one.")
def list_tasks() -> Response:
    """List jobs."""
    values, _ = schemas.load(schemas.ListSchema(), request.args)
    jobs, after, total = queries.list_jobs(
        store(), state=values.get("state"), limit=values["limit"], after=values.get("after")
    )
    return jsonify({"tasks": [_view(job) for job in jobs], "total": total, "next": after})


@tasks_blueprint.route("/running", methods=["DELETE"])
@tasks_blueprint.response(200, description="The ids that were stopped.")
def cancel_running() -> Response:
    """Stop every job that is being computed."""
    stopped = dispatch.cancel_running()
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
    """Where a job is: state, step, place in the queue, seconds left, error, outputs."""
    return jsonify(_view(store().get(job_id)))


@tasks_blueprint.route("/<job_id>/result", methods=["GET"])
@tasks_blueprint.doc(parameters=[{"in": "query", "name": "index", "schema": {"type": "integer", "default": 0}}])
@tasks_blueprint.response(200, description="The file, with its own media type. Range requests are answered.")
@tasks_blueprint.alt_response(404, description="Unknown id, or no result (yet); the code tells which.")
def result(job_id: str) -> Response:
    """Fetch an output."""
    job = store().get(job_id)
    if job.state is not JobState.SUCCEEDED:
        raise NotReady(f"the job is {job.state}: {'it has no result' if job.state.is_terminal else 'no result yet'}")
    index = request.args.get("index", "0")
    if not index.isdecimal() or int(index) >= len(job.outputs):
        raise InvalidRequest(Problem("index", f"must be 0 to {len(job.outputs) - 1}", index))
    output = job.outputs[int(index)]
    try:
        return send_object(_objects(), output, name=f"{job_id}-{index}")
    except ObjectNotFound:
        raise ObjectNotFound("the output was removed from the object store") from None


@tasks_blueprint.route("/<job_id>", methods=["DELETE"])
@tasks_blueprint.response(200, description="What really changed.")
@tasks_blueprint.alt_response(404, description="Unknown id.")
def cancel(job_id: str) -> Response:
    """Stop one job: a waiting one never runs, a running one ends within a step."""
    job, changed = dispatch.cancel(job_id)
    reason = "Task stopped successfully." if changed else f"The task is {job.state} already."
    stop_status = "success" if changed else "do_nothing"
    body = {"task_id": job_id, "state": job.state, "changed": changed, "stop_status": stop_status, "reason": reason}
    return jsonify(body)


@service_blueprint.route("/service/status", methods=["GET"])
@service_blueprint.response(200, description="Busy or idle, counts by state, every slot.")
def service_status() -> Response:
    """What the whole service does now."""
    return jsonify(views.service_view(queries.fleet(store()), current_app.config["API_VERSION"]))


@service_blueprint.route("/models", methods=["GET"])
@service_blueprint.response(200, description="Models with kinds, defaults and limits.")
def models() -> Response:
    """What can be generated."""
    return jsonify({"models": [spec.to_dict() for spec in _models()]})
