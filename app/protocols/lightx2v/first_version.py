"""The routes of LightX2V's first server, below ``/v1/local/video/generate``, which some of its scripts still call.

Their words differ from those of later versions: a refused task is a 200 with ``error``, and every task that has ended
is ``completed``.
"""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify, request
from marshmallow import INCLUDE, fields

from app.access import auth
from app.extensions import dispatcher
from app.fields import Flag, Text, TextSchema, body_of, load
from app.methods import changes_state
from app.openapi.answers import ANY_OBJECT, Answer, doc
from app.openapi.blueprint import JSON, Blueprint
from app.protocols.lightx2v import answers, schemas, views
from app.protocols.lightx2v.profile import is_single
from app.protocols.lightx2v.service import service_state
from app.protocols.lightx2v.submit import REFUSALS, submit_task
from app.protocols.lightx2v.tasks import list_response
from jobs.errors import JobNotFound, RateLimited

blueprint = Blueprint(
    "lightx2v-first", __name__, url_prefix="/v1/local/video/generate", tag="LightX2V", prefix="lightx2v_first_"
)  # fmt: skip
auth.protect(blueprint)

#: Field of a new task that later versions do not have. An id is always unique here.
_UNIQUE = "task_id_must_unique"


class LightX2VFirstTaskSchema(schemas.LightX2VTaskSchema):
    """A task of the first version."""

    task_id_must_unique = Flag(metadata={"description": "No effect: a used `task_id` is always refused."})


class LightX2VTaskIdSchema(TextSchema):
    """The task that is asked for."""

    class Meta:
        unknown = INCLUDE

    task_id = Text(required=True, metadata={"description": "The id of the task."})


class LightX2VFirstStatusAnswer(Answer):
    """The state of a task; with `completed`, also the fields of the list."""

    class Meta:
        unknown = INCLUDE

    task_status = fields.String(**doc(enum=["processing", "completed", "not_found"]))
    success = fields.Boolean(**doc(optional=True))
    error = fields.String(**doc(null=True, optional=True))


_TASK_ID = LightX2VTaskIdSchema()


@blueprint.route("", methods=["POST"])
@blueprint.body(LightX2VFirstTaskSchema, {"task_id": "task-1", "prompt": "a red circle"}, JSON)
@blueprint.response(200, ANY_OBJECT, description="Accepted: as of `/v1/tasks/`. Refused: `error` has the reason.")
@blueprint.error(429, "The key submits too fast; `Retry-After` has the seconds to wait.")
def create_task() -> Response:
    """Create a video task."""
    body = {name: value for name, value in body_of(request).items() if name != _UNIQUE}
    try:
        submitted = submit_task(body, video=True, old=True)
    except RateLimited:
        raise
    except REFUSALS as exc:
        return jsonify({"error": exc.message})
    return jsonify(views.created_task(submitted.job, submitted.forecast, single=True))


@blueprint.route("/service_status", methods=["GET"])
@blueprint.response(200, answers.LightX2VServiceAnswer, description="As of `/v1/service/status`.")
def get_service_status() -> Response:
    """Show whether the service is busy."""
    return jsonify(service_state())


@blueprint.route("/get_all_tasks", methods=["GET"])
@blueprint.response(
    200,
    {"type": "object", "additionalProperties": {"$ref": "#/components/schemas/LightX2VListedAnswer"}},
    description="The newest tasks that have finished, by id.",
)
def get_all_tasks() -> Response:
    """List finished tasks."""
    return list_response(single=True)


@blueprint.route("/task_status", methods=["POST"])
@blueprint.body(LightX2VTaskIdSchema, {"task_id": "task-1"}, JSON)
@blueprint.response(200, LightX2VFirstStatusAnswer, description="The state; of an unknown id `not_found`.")
def get_task_status() -> Response:
    """Read the state of a task."""
    values: dict[str, Any] = load(_TASK_ID, body_of(request))[0]
    try:
        job = auth.visible_job(values["task_id"])
    except JobNotFound:
        return jsonify({"task_status": "not_found"})
    if not job.state.is_terminal:
        return jsonify({"task_status": "processing"})
    return jsonify({"task_status": "completed", **views.listed_task(job, single=True)})


@blueprint.route("/stop_running_task", methods=["GET"])
@blueprint.response(200, answers.LightX2VStoppedAnswer, description="The tasks that were stopped.")
@changes_state
def stop_running_task() -> Response:
    """Stop what runs, as `DELETE /v1/tasks/running`; the script that LightX2V ships calls this older address."""
    return jsonify(views.stopped_tasks(dispatcher().cancel_all(auth.caller(), waiting=is_single())))
