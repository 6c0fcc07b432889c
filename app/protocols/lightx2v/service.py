"""The service as a whole: busy or idle, the queue, what it serves, and files by their paths."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from flask import Response, jsonify

from app import fleet
from app.access import auth
from app.downloads import send_object
from app.extensions import models, objects, settings, store
from app.openapi.blueprint import Blueprint
from app.protocols.lightx2v import answers, views
from app.protocols.lightx2v.profile import capacity, is_single
from jobs.errors import Forbidden, ObjectNotFound
from jobs.record import Job
from jobs.states import JobState
from jobs.store import queries

blueprint = Blueprint("lightx2v-service", __name__, url_prefix="/v1", tag="LightX2V", prefix="lightx2v_")
auth.protect(blueprint)


@blueprint.route("/service/status", methods=["GET"])
@blueprint.response(
    200, answers.LightX2VServiceAnswer, description="`idle` if a task that is sent now would start at once; counters."
)
def get_service_status() -> Response:
    """Show whether the service is busy."""
    return jsonify(service_state())


def service_state() -> dict[str, Any]:
    """Return the state of the service as the caller sees it."""
    now = capacity()
    active = auth.visible_ids(now.active)
    current = queries.find(store(), active[0]) if active else None
    counts = queries.counts(store())
    queue_size = 0 if is_single() else settings().scheduling.max_waiting
    return views.service_view(now, active, current, counts, queue_size)


@blueprint.route("/tasks/queue/status", methods=["GET"])
@blueprint.response(200, answers.LightX2VQueueAnswer, description="How many tasks are processed and wait.")
def get_queue_status() -> Response:
    """Show how full the queue is."""
    now = capacity()
    active = auth.visible_ids(now.active)
    return jsonify(views.queue_counters(active, now.waiting, settings().scheduling.max_waiting))


@blueprint.route("/service/metadata", methods=["GET"])
@blueprint.response(200, answers.LightX2VMetadataAnswer, description="Number of slots, and models.")
def get_metadata() -> Response:
    """Show what the service serves."""
    slots = fleet.now(settings().web.service_slot).slots
    names = models().names()
    video = next((spec.name for spec in models() if any(kind.is_video for kind in spec.kinds)), None)
    model = video or (names[0] if names else "")
    return jsonify({"nproc_per_node": len(slots), "model_cls": model, "model_path": model, "models": names})


@blueprint.route("/files/download/<path:file_path>", methods=["GET"])
@blueprint.download("The file.")
@blueprint.error(403, "The key may not do this, or the path leads outside of the outputs.")
@blueprint.error(404, "No output has this path (yet).")
def download_file(file_path: str) -> Response:
    """Download an output by the path that its task was given."""
    parts = [part for part in file_path.replace("\\", "/").split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Forbidden("Access to this file is not allowed")
    job = _job_with_path("/".join(parts))
    if job is None or job.state is not JobState.SUCCEEDED or not job.outputs or job.removed_at_ms:
        raise ObjectNotFound(f"File not found: {file_path[:200]}")
    name = PurePosixPath(parts[-1]).stem
    response = send_object(objects(), job.outputs[0], name=name, expires_at_ms=job.expires_at_ms)
    views.set_file_name(response, job)
    return response


def _job_with_path(path: str) -> Job | None:
    """Return the caller's job whose output has this path: one that the client chose, else one made of the id."""
    job_id = queries.job_id_of_path(store(), auth.caller().key_id, path)
    job = queries.find(store(), job_id or path.rpartition(".")[0])
    return job if job and auth.caller().owns(job.key_id) and views.file_path(job) == path else None
