"""Send stored outputs: a whole file or one range of it, with validators that let clients resume and cache."""

from __future__ import annotations

import time

from flask import Response, request
from werkzeug.exceptions import RequestedRangeNotSatisfiable

from app.access import auth
from jobs.errors import NotReady, ResultExpired
from jobs.formats import disposition, served_type
from jobs.job_view import iso
from jobs.objects.base import ObjectStore
from jobs.record import Job, Output
from jobs.states import JobState

#: Policy of files that workers made: if a browser takes one for a page, it is a page that may do nothing.
FILE_POLICY = (
    "sandbox; default-src 'none'; img-src 'self' data:; media-src 'self'; style-src 'unsafe-inline'; "
    "frame-ancestors 'none'"
)
#: Longest time that a client may cache a file, seconds.
YEAR_S = 31_536_000


def finished_job(job_id: str) -> Job:
    """Return a job whose outputs can be fetched.

    Raises:
        JobNotFound, NotReady, ResultExpired.
    """
    job = auth.visible_job(job_id)
    if job.removed_at_ms:
        raise ResultExpired(f"the files of this job were removed at {iso(job.removed_at_ms)}")
    if job.state is not JobState.SUCCEEDED:
        raise NotReady(f"the job is {job.state}: {'it has no result' if job.state.is_terminal else 'no result yet'}")
    return job


def send_object(objects: ObjectStore, output: Output, *, name: str, expires_at_ms: int | None = None) -> Response:
    """Stream an output through this server.

    HEAD, ``If-None-Match`` and a single ``Range`` follow RFC 9110; several ranges in one request get the whole file.
    Cached copies of a file that expires (``expires_at_ms``) expire with it.

    Raises:
        ObjectNotFound: the file is no longer stored.
        RequestedRangeNotSatisfiable: 416.
    """
    size = objects.stat(output.key).size_bytes
    start, end, status = 0, size - 1, 200
    unchanged = request.if_none_match.contains_weak(output.sha256)
    requested = request.range if request.method == "GET" and not unchanged else None
    if requested is not None and requested.units == "bytes" and len(requested.ranges) == 1 and _still_same(output):
        begin, _ = requested.ranges[0]
        # "The last n bytes" of a shorter file are the whole file; Werkzeug refuses that range.
        span = (0, size) if begin is not None and begin <= -size < 0 else requested.range_for_length(size)
        if span is None:
            raise RequestedRangeNotSatisfiable(length=size)
        start, end, status = span[0], span[1] - 1, 206
    without_body = request.method == "HEAD" or unchanged
    body = () if without_body else objects.read(output.key, start, end if status == 206 else None)
    response = Response(body, status, direct_passthrough=True)
    response.content_length = end - start + 1
    response.set_etag(output.sha256)
    response.accept_ranges = "bytes"
    response.cache_control.private = True
    left_s = YEAR_S if expires_at_ms is None else expires_at_ms // 1000 - int(time.time())
    response.cache_control.max_age = max(0, min(YEAR_S, left_s))
    response.cache_control.immutable = True
    suffix = output.key.rsplit(".", 1)[-1]
    set_file_headers(response, output.media_type, f"{name}.{suffix}")
    if status == 206:
        response.content_range.set(start, end + 1, size)
        return response
    response.make_conditional(request)
    return response


def set_file_headers(response: Response, media_type: str, file_name: str) -> None:
    """Let a browser show the file if it is a picture, sound or video, save any other file, and never run one."""
    response.mimetype = served_type(media_type)
    response.headers["Content-Disposition"] = disposition(media_type, file_name)
    response.headers["Content-Security-Policy"] = FILE_POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"


def _still_same(output: Output) -> bool:
    """Return whether ``If-Range`` names this file, so that a range continues the client's download.

    A date or a weak tag never matches: outputs have strong tags and no date.
    """
    condition = request.headers.get("If-Range")
    return condition is None or condition.strip() == f'"{output.sha256}"'
