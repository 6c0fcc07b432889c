"""Previews of running jobs, and the ``preview`` parameter of event streams."""

from __future__ import annotations

from flask import Response, request

from app.access import auth, links
from app.downloads import set_file_headers
from app.extensions import store
from app.fields import query_of
from app.openapi.blueprint import Blueprint
from app.openapi.parameters import IF_NONE_MATCH
from jobs.errors import InvalidRequest, NoPreview, Problem
from jobs.job_view import JOBS_PATH
from jobs.store import previews

blueprint = Blueprint("previews", __name__, url_prefix=JOBS_PATH, tag="Framemill: jobs")
auth.protect(blueprint)

#: Values of ``?preview=`` of a stream: no previews, links to new previews, or links and the pictures themselves.
NONE, LINKS, DATA = "0", "1", "data"
PARAMETER = {
    "in": "query",
    "name": "preview",
    "schema": {"type": "string", "enum": [NONE, LINKS, DATA], "default": NONE},
}


@blueprint.route("/<job_id>/preview", methods=["GET"])
@blueprint.doc(parameters=[IF_NONE_MATCH, *links.PARAMETERS], security=links.SECURITY)
@blueprint.file(200, "The newest picture.", "image/*", ETag="Changes with each.", Preview_Step="Its step.")
@blueprint.alt_response(304, description="No newer picture than the one in `If-None-Match`.")
@blueprint.error(404, "Unknown id, or no preview now; the code says which.")
@links.followed_by_links
def get_preview(job_id: str) -> Response:
    """Show the intermediate result of a running job. Each request makes previews for some more seconds."""
    job = auth.visible_job(job_id)
    if not job.state.is_terminal:
        previews.ask(store(), job_id)
    newest = previews.newest(store(), job_id)
    if newest is None:
        raise NoPreview(f"the job is {job.state}: " + ("it has no preview" if job.state.is_terminal else "none yet"))
    response = Response(newest.content)
    set_file_headers(response, newest.media_type, f"{job_id}-preview")
    response.set_etag(f"{newest.attempt}-{newest.step}")
    response.headers["Preview-Step"] = str(newest.step)
    response.cache_control.private = True
    response.cache_control.no_cache = True  # a browser revalidates; the usual response is 304
    response.make_conditional(request)
    return response


def requested_mode() -> str:
    """Return ``?preview=`` of a stream. Raises: InvalidRequest."""
    value = query_of(request).get("preview", NONE)
    if value not in (NONE, LINKS, DATA):
        raise InvalidRequest(Problem("preview", "must be 1 (links), data (the pictures themselves) or 0", value))
    return value
