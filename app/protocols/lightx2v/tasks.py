"""List, watch, fetch and stop tasks. Jobs of other protocols with the same key are tasks here, too."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from flask import Response, jsonify

from app import errors
from app.access import auth
from app.bodies.json_output import json_body, json_response
from app.downloads import finished_job, send_object
from app.extensions import current_jobs, dispatcher, objects, settings, store
from app.openapi.blueprint import Blueprint
from app.protocols.lightx2v import answers, views
from app.protocols.lightx2v.profile import is_single
from app.submit import forecast_of
from jobs.errors import JobNotFound, NotReady, ObjectNotFound
from jobs.store import listing, queries
from jobs.store.listing import JobFilter

blueprint = Blueprint("lightx2v-tasks", __name__, url_prefix="/v1", tag="LightX2V", prefix="lightx2v_")
auth.protect(blueprint)

#: Most tasks in the list.
MAX_LISTED = 1000


@blueprint.route("/tasks/", methods=["GET"])
@blueprint.response(
    200,
    {"type": "object", "additionalProperties": {"$ref": "#/components/schemas/LightX2VListedAnswer"}},
    description="The newest 1000 tasks by id; in profile `single` those that have finished.",
)
def get_tasks() -> Response:
    """List tasks."""
    return list_response(single=is_single())


def list_response(*, single: bool) -> Response:
    """Return the response with the newest tasks of the caller that this service runs, oldest first.

    The text of a task is kept until the task changes: clients ask for the whole list again and again.
    """
    service_slot = settings().web.service_slot
    ids = listing.first_ids(store(), JobFilter(key_id=auth.caller().scope), limit=MAX_LISTED)
    tasks = [_listed(job_id, texts, single) for job_id, texts in reversed(queries.listed_texts(store(), ids))]
    shown = [
        task.text for task in tasks if (not service_slot or service_slot in task.slots) and (not single or task.is_over)
    ]
    return json_response(b"{" + b",".join(shown) + b"}\n")


class _ListedTask(NamedTuple):
    #: ``"<id>":{…}``.
    text: bytes
    slots: tuple[str | None, ...]
    is_over: bool


@lru_cache(maxsize=4 * MAX_LISTED)
def _listed(job_id: str, texts: tuple[str | None, ...], single: bool) -> _ListedTask:
    job = queries.listed_job(job_id, texts)
    member = json_body({job_id: views.listed_task(job, single=single)})
    return _ListedTask(member.strip()[1:-1], (job.slot, job.pin), job.state.is_terminal)


@blueprint.route("/tasks/<task_id>/status", methods=["GET"])
@blueprint.response(
    200,
    {"oneOf": [answers.LightX2VStatusAnswer, answers.LightX2VUnknownTaskAnswer]},
    description="The status of the task; in profile `single` of an unknown id: `not_found`.",
)
@blueprint.error(404, "Unknown id.")
def get_task_status(task_id: str) -> Response:
    """Read the status of a task."""
    try:
        job = auth.visible_job(task_id)
    except JobNotFound:
        if is_single():
            return jsonify({"status": "not_found", "task_id": task_id})
        raise
    forecast, single = forecast_of(job), is_single()
    body = current_jobs().body(
        job, ("lightx2v", forecast), lambda: json_body(views.task_status(job, forecast, single=single))
    )
    return json_response(body)


@blueprint.route("/tasks/<task_id>/result", methods=["GET"])
@blueprint.download("The file.")
@blueprint.error(404, "Unknown id, or no result (yet); the code says which.")
@blueprint.error(410, "The files of the task have expired.")
def get_task_result(task_id: str) -> Response:
    """Download the output of a task."""
    try:
        job = finished_job(task_id)
    except NotReady as exc:
        return errors.render(exc.code, exc.message, 404)
    if not job.outputs:
        raise ObjectNotFound("this task has no output")
    response = send_object(objects(), job.outputs[0], name=task_id, expires_at_ms=job.expires_at_ms)
    views.set_file_name(response, job)
    return response


@blueprint.route("/tasks/<task_id>", methods=["DELETE"])
@blueprint.response(
    200,
    answers.LightX2VCancelledAnswer,
    description="`stop_status` is `do_nothing` if the task had finished before.",
)
@blueprint.error(404, "Unknown id.")
def cancel_task(task_id: str) -> Response:
    """Stop a task: a waiting task never runs, a running one ends within a step."""
    auth.visible_job(task_id)
    job, changed = dispatcher().cancel(task_id)
    return jsonify(views.cancelled_task(job, changed=changed))


@blueprint.route("/tasks/running", methods=["DELETE"])
@blueprint.response(200, answers.LightX2VStoppedAnswer, description="The tasks that were stopped.")
def cancel_running_tasks() -> Response:
    """Stop what is computed; in profile `single` the accepted task, in whatever stage it is."""
    return jsonify(views.stopped_tasks(dispatcher().cancel_all(auth.caller(), waiting=is_single())))


@blueprint.route("/tasks/all/running", methods=["DELETE"])
@blueprint.response(200, answers.LightX2VStoppedAnswer, description="The tasks that were stopped.")
def cancel_all_tasks() -> Response:
    """Stop every task that has not finished, waiting tasks included."""
    return jsonify(views.all_tasks_stopped(dispatcher().cancel_all(auth.caller(), waiting=True)))
