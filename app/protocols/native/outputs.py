"""Download the files of a finished job."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flask import Response, request

from app import waiting
from app.access import auth, links
from app.downloads import finished_job, send_object
from app.extensions import objects
from app.fields import query_of
from app.openapi.blueprint import Blueprint, View
from app.openapi.parameters import PREFER, WAIT
from jobs.errors import InvalidRequest, ObjectNotFound, Problem
from jobs.job_view import JOBS_PATH
from jobs.record import Job, Output

blueprint = Blueprint("outputs", __name__, url_prefix=JOBS_PATH, tag="Framemill: jobs")
auth.protect(blueprint)

_INDEX = {
    "in": "query",
    "name": "index",
    "description": "Which output; counts from 0.",
    "schema": {"type": "integer", "minimum": 0, "default": 0},
}


def _answers(text: str, *parameters: Mapping[str, Any]) -> Callable[[View], View]:
    """Document the responses of a route that sends a file."""

    def document(view: View) -> View:
        for decorator in (
            blueprint.doc(security=links.SECURITY),
            blueprint.download(text, _INDEX, *parameters, *links.PARAMETERS),
            blueprint.error(409, "The job has no result, or none yet."),
            blueprint.error(410, "The files of the job have expired."),
            blueprint.error(422, "There is no output with this index, or a parameter is wrong."),
        ):
            view = decorator(view)
        return view

    return document


@blueprint.route("/<job_id>/result", methods=["GET"])
@_answers("The file.", WAIT, PREFER)
@blueprint.error(404, "Unknown id, or the file is no longer stored; the code says which.")
@links.leads_to_output
def get_result(job_id: str) -> Response:
    """Download an output. With `?wait=` (seconds), respond when the job has finished or the time has passed."""
    if wait_s := waiting.requested_wait_s():
        with waiting.listening(job_id) as listener:
            waiting.wait_until_over(auth.visible_job(job_id), wait_s, listener)
    job, index = _requested(job_id)
    return _send(job, job.outputs[index], f"{job_id}-{index}")


@blueprint.route("/<job_id>/thumbnail", methods=["GET"])
@_answers("A small WebP or JPEG; for a video, its first frame.")
@blueprint.error(404, "Unknown id, or the output has no thumbnail.")
@links.followed_by_links
def get_thumbnail(job_id: str) -> Response:
    """Download the thumbnail of an output."""
    job, index = _requested(job_id)
    return _send(job, job.outputs[index].thumbnail, f"{job_id}-{index}-thumbnail")


@blueprint.route("/<job_id>/poster", methods=["GET"])
@_answers("The first frame of a video in full size, as WebP or JPEG.")
@blueprint.error(404, "Unknown id, or the output has no poster.")
@links.followed_by_links
def get_poster(job_id: str) -> Response:
    """Download the poster of a video."""
    job, index = _requested(job_id)
    return _send(job, job.outputs[index].poster, f"{job_id}-{index}-poster")


def _requested(job_id: str) -> tuple[Job, int]:
    """Return the job and the index of the output that ``?index=`` names.

    Raises:
        JobNotFound, NotReady, ResultExpired, InvalidRequest.
    """
    job = finished_job(job_id)
    index = query_of(request).get("index", "0")
    if not index.isdecimal() or int(index) >= len(job.outputs):
        raise InvalidRequest(Problem("index", f"must be between 0 and {len(job.outputs) - 1}", index))
    return job, int(index)


def _send(job: Job, output: Output | None, name: str) -> Response:
    if output is None:
        raise ObjectNotFound("this output has no such file: images have no poster, and THUMBNAIL_PX=0 makes neither")
    try:
        return send_object(objects(), output, name=name, expires_at_ms=job.expires_at_ms)
    except ObjectNotFound:
        raise ObjectNotFound("the output was removed from the object store") from None
