"""The route of previews, and how streams ask for them."""

from __future__ import annotations

from flask import Response, request
from flask_smorest import Blueprint

from app import auth
from app.extensions import store
from jobs.errors import InvalidRequest, NoPreview, Problem
from jobs.store import previews

blueprint = Blueprint("previews", __name__, url_prefix="/v1/tasks", description="Previews")

auth.protect(blueprint)

#: What ``?preview=`` of a stream may be: nothing, links to new previews, or also the pictures themselves.
NONE, LINKS, DATA = "0", "1", "data"
PARAMETER = {
    "in": "query",
    "name": "preview",
    "schema": {"type": "string", "enum": [NONE, LINKS, DATA], "default": NONE},
}


@blueprint.route("/<job_id>/preview", methods=["GET"])
@blueprint.response(200, description="The newest picture; the ETag and Preview-Step change with each.")
@blueprint.alt_response(304, description="Still the same as `If-None-Match` says.")
@blueprint.alt_response(404, description="Unknown id, or no preview now; the code tells which.")
def preview(job_id: str) -> Response:
    """See what a running job has so far. Asking has previews made for some seconds."""
    job = auth.visible(store().get(job_id))
    if not job.state.is_terminal:
        previews.ask(store(), job_id)
    found = previews.newest(store(), job_id)
    if found is None:
        raise NoPreview(f"the job is {job.state}: " + ("it has no preview" if job.state.is_terminal else "none yet"))
    response = Response(found.content, mimetype=found.media_type)
    response.set_etag(f"{found.attempt}-{found.step}")
    response.headers["Preview-Step"] = str(found.step)
    response.cache_control.private = True
    response.cache_control.no_cache = True  # a browser asks again, and is mostly told 304
    response.make_conditional(request)
    return response


def wanted() -> str:
    """``?preview=`` of a stream. Raises: InvalidRequest."""
    value = request.args.get("preview", NONE)
    if value not in (NONE, LINKS, DATA):
        raise InvalidRequest(Problem("preview", "must be 1 (links), data (the pictures themselves) or 0", value))
    return value
