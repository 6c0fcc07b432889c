"""Show the input images of a job."""

from __future__ import annotations

from flask import Response, request

from app.access import auth
from app.downloads import set_file_headers
from app.extensions import objects
from app.openapi.blueprint import Blueprint
from app.openapi.parameters import IF_NONE_MATCH
from jobs.errors import ObjectNotFound
from jobs.job_view import JOBS_PATH

blueprint = Blueprint("inputs", __name__, url_prefix=JOBS_PATH, tag="Framemill: jobs")
auth.protect(blueprint)

_MEDIA_TYPES = {
    "png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp", "gif": "image/gif",
    "mp4": "video/mp4", "webm": "video/webm", "wav": "audio/wav", "mp3": "audio/mpeg", "ogg": "audio/ogg",
    "m4a": "audio/mp4",
}  # fmt: skip


@blueprint.route("/<job_id>/inputs/<name>", methods=["GET"])
@blueprint.doc(parameters=[IF_NONE_MATCH])
@blueprint.file(200, "The file, as it was stored.", "image/*", "video/*", "audio/*", ETag="Changes with the file.")
@blueprint.alt_response(304, description="The client has this file, as `If-None-Match` says.")
@blueprint.error(404, "Unknown id, the job has no such input, or it is no longer stored; the code says which.")
def get_input(job_id: str, name: str) -> Response:
    """Download an input of a job: `image`, `mask`, `video`, `images-0`, `mix-0` and so on."""
    key = auth.visible_job(job_id).request.named_inputs.get(name)
    if key is None:
        raise ObjectNotFound("the job has no such input")
    try:
        response = Response(objects().read(key))
    except ObjectNotFound:
        raise ObjectNotFound("the input was removed from the object store") from None
    suffix = key.rpartition(".")[2]
    set_file_headers(response, _MEDIA_TYPES.get(suffix, ""), f"{job_id}-{name}.{suffix}")
    response.set_etag(key.rpartition("/")[2].partition(".")[0])
    response.cache_control.private = True
    response.cache_control.no_cache = True
    response.make_conditional(request)
    return response
