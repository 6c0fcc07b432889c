"""Send a stored output: whole or one range, with validators that let clients resume and cache."""

from __future__ import annotations

import time

from flask import Response, request
from werkzeug.exceptions import RequestedRangeNotSatisfiable

from jobs.objects.base import ObjectStore
from jobs.record import Output

#: Longest time a client may keep a copy for, seconds.
YEAR_S = 31_536_000


def send_object(objects: ObjectStore, output: Output, *, name: str, expires_at_ms: int | None = None) -> Response:
    """Stream an output through this server.

    HEAD, ``If-None-Match`` and a single ``Range`` are answered as RFC 9110 says; several ranges in one request
    are answered with the whole file. Copies of a file that expires (``expires_at_ms``) expire with it.

    Raises:
        ObjectNotFound: the file is gone.
        RequestedRangeNotSatisfiable: 416.
    """
    size = objects.stat(output.key).size_bytes
    start, end, status = 0, size - 1, 200
    unchanged = request.if_none_match.contains_weak(output.sha256)
    wanted = request.range if request.method == "GET" and not unchanged else None
    if wanted is not None and wanted.units == "bytes" and len(wanted.ranges) == 1 and _still_same(output):
        begin, _ = wanted.ranges[0]
        # "The last n bytes" of a file that is shorter are all of it, which Werkzeug refuses.
        span = (0, size) if begin is not None and begin <= -size < 0 else wanted.range_for_length(size)
        if span is None:
            raise RequestedRangeNotSatisfiable(length=size)
        start, end, status = span[0], span[1] - 1, 206
    without_body = request.method == "HEAD" or unchanged
    body = () if without_body else objects.read(output.key, start, end if status == 206 else None)
    response = Response(body, status, mimetype=output.media_type, direct_passthrough=True)
    response.content_length = end - start + 1
    response.set_etag(output.sha256)
    response.accept_ranges = "bytes"
    response.cache_control.private = True
    left_s = YEAR_S if expires_at_ms is None else expires_at_ms // 1000 - int(time.time())
    response.cache_control.max_age = max(0, min(YEAR_S, left_s))
    response.cache_control.immutable = True
    suffix = output.key.rsplit(".", 1)[-1]
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Content-Disposition"] = f'inline; filename="{name}.{suffix}"'
    if status == 206:
        response.content_range.set(start, end + 1, size)
        return response
    response.make_conditional(request)
    return response


def _still_same(output: Output) -> bool:
    """``If-Range``: a range only of the file the client began with.

    A date or a weak tag cannot say so: outputs have strong tags and no date.
    """
    condition = request.headers.get("If-Range")
    return condition is None or condition.strip() == f'"{output.sha256}"'
